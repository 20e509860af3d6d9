"""Heights above the WGS 84 ellipsoid, from any raster or VRT or from tiles of one degree, for grids on a map and for single points.

What a DEM tells is above a geoid, which is added here (`processor.sar.geoid`). Where it has no height, there is an error that says where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError
from processor.sar.compiled import compiled, compiled_parallel, parallel_range
from processor.sar.dem_files import DemFiles
from processor.sar.geoid import Geoid
from processor.sar.map_grid import Lattice

Floats = NDArray[np.float64]
Heights = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Sampled(Protocol):
    """A grid of points in any order that is smooth: of a map, or of an image."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def pixel_m(self) -> float:
        """About the distance of its points."""

    def lattice(self) -> Lattice:
        """Some of its points."""


class MissingDemError(FatalError):
    """The DEM has no height at a place."""


@dataclass(frozen=True)
class Dem:
    """A digital elevation model, heights interpolated bilinearly between the centres of its pixels."""

    files: DemFiles
    geoid: Geoid
    """What its heights are above."""
    missing_is_sea: bool = False
    """Where it has no height, it is 0 above the geoid (Copernicus DEM has no tiles at sea), instead of an error."""

    @property
    def description(self) -> str:
        """For the metadata of what is made with it."""
        return f"{self.files.name}, heights above {self.geoid.name}"

    def on_grid(self, grid: Sampled, needed: Mask | None = None) -> Heights:
        """Metres above the ellipsoid at the centres of the pixels, shape `grid.shape`; memory is a few times that of the result.

        Where `needed` (same shape) is False, a missing height is no error but not a number; without it every height is needed.
        Raises MissingDemError, and TemporaryError where a server does not answer.
        """
        lattice = grid.lattice()
        window = self.files.read(lattice.longitude, lattice.latitude, grid.pixel_m)
        rows, columns = window.place(lattice.longitude, lattice.latitude)
        undulation = self.geoid.undulation(lattice.longitude, lattice.latitude)
        heights = np.empty(grid.shape, np.float32)
        _sample_grid(window.heights, rows, columns, undulation, lattice.step, self._sea, heights)
        self._check(heights, lattice, needed)
        return heights

    def at(self, longitude: Floats, latitude: Floats) -> Floats:
        """Metres above the ellipsoid at points given in degrees, any shape; they should be near each other: all between is read.

        Raises as `on_grid`.
        """
        window = self.files.read(longitude, latitude, 0.0)
        rows, columns = window.place(longitude, latitude)
        heights = np.empty(rows.size)
        _sample_points(window.heights, rows.ravel(), columns.ravel(), self._sea, heights)
        heights = heights.reshape(rows.shape) + self.geoid.undulation(longitude, latitude)
        missing = ~np.isfinite(heights)
        if missing.any():
            index = np.unravel_index(int(np.argmax(missing)), missing.shape)
            self._refuse(float(np.asarray(longitude)[index]), float(np.asarray(latitude)[index]))
        return heights

    @property
    def _sea(self) -> float:
        return 0.0 if self.missing_is_sea else np.nan

    def _check(self, heights: Heights, lattice: Lattice, needed: Mask | None) -> None:
        missing = ~np.isfinite(heights)
        if needed is not None:
            missing &= needed
        if missing.any():
            row, column = np.unravel_index(int(np.argmax(missing)), missing.shape)
            # The nearest point of the lattice: a few hundred metres away.
            node = round(int(row) / lattice.step), round(int(column) / lattice.step)
            self._refuse(float(lattice.longitude[node]), float(lattice.latitude[node]))

    def _refuse(self, longitude: float, latitude: float) -> None:
        longitude = (longitude + 180) % 360 - 180
        where = f"{abs(latitude):.3f} {'N' if latitude >= 0 else 'S'}, {abs(longitude):.3f} {'E' if longitude >= 0 else 'W'}"
        raise MissingDemError(f"the DEM has no height at {where}: {self.files.lack(longitude, latitude)}")


@compiled
def _bilinear(dem: Heights, row: float, column: float, missing: float) -> float:
    """The height at a place; up to one pixel outside of the window it is that of the edge."""
    last_row, last_column = dem.shape[0] - 1, dem.shape[1] - 1
    if not (-1 <= row <= last_row + 1 and -1 <= column <= last_column + 1):
        return missing
    row, column = min(max(row, 0.0), float(last_row)), min(max(column, 0.0), float(last_column))
    i, j = int(row), int(column)
    i1, j1 = min(i + 1, last_row), min(j + 1, last_column)
    v, u = row - i, column - j
    a, b, c, d = dem[i, j], dem[i, j1], dem[i1, j], dem[i1, j1]
    if np.isnan(a):
        a = missing
    if np.isnan(b):
        b = missing
    if np.isnan(c):
        c = missing
    if np.isnan(d):
        d = missing
    return float((1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d))


@compiled_parallel
def _sample_grid(
    dem: Heights, lattice_rows: Floats, lattice_columns: Floats, undulation: Floats, step: int, missing: float, heights: Heights
) -> None:
    """Heights of all pixels; places in the DEM and undulations are bilinear between the lattice points."""
    for row in parallel_range(heights.shape[0]):
        i = min(row // step, max(lattice_rows.shape[0] - 2, 0))
        i1 = min(i + 1, lattice_rows.shape[0] - 1)
        v = (row - i * step) / step
        for column in range(heights.shape[1]):
            j = min(column // step, max(lattice_rows.shape[1] - 2, 0))
            j1 = min(j + 1, lattice_rows.shape[1] - 1)
            u = (column - j * step) / step
            a, b, c, d = (1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v
            y = a * lattice_rows[i, j] + b * lattice_rows[i, j1] + c * lattice_rows[i1, j] + d * lattice_rows[i1, j1]
            x = a * lattice_columns[i, j] + b * lattice_columns[i, j1] + c * lattice_columns[i1, j] + d * lattice_columns[i1, j1]
            n = a * undulation[i, j] + b * undulation[i, j1] + c * undulation[i1, j] + d * undulation[i1, j1]
            heights[row, column] = _bilinear(dem, y, x, missing) + n


@compiled_parallel
def _sample_points(dem: Heights, rows: Floats, columns: Floats, missing: float, heights: Floats) -> None:
    for index in parallel_range(rows.size):
        heights[index] = _bilinear(dem, rows[index], columns[index], missing)
