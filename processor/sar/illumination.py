"""The terrain as a GRD image sees it: the area that each of its pixels shows, and where terrain is lain over or in shadow.

Terrain flattening: D. Small, "Flattening gamma: radiometric terrain correction for SAR imagery", IEEE Trans. Geosci. Remote Sens. 49, 2011.
The terrain is cut into facets; the area of each, seen from the satellite (gamma0) or on the ground (sigma0), goes to the pixels in whose
range it lies, unless it is in shadow; then

    flattened value = beta0 * A_beta / A,    A_beta = slant range spacing x azimuth spacing of the pixel.

The facets lie on a grid of the image's lines and of the slant range of the point of the ellipsoid below (the *foot*), so that those of one
line share one plane of zero Doppler: area is spread along range only, exactly and without holes, and what hides what is found by walking
along the line. Layover and shadow: Schreier, "SAR geocoding: data and systems", 1993, chapter 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from processor.sar import ellipsoid
from processor.sar.compiled import compiled, compiled_parallel, parallel_range
from processor.sar.dem import Dem
from processor.sar.geometry import ground_points
from processor.sar.grd_geometry import GrdGeometry, nearest_record, polynomial
from processor.sar.map_grid import Lattice
from processor.sar.places import positions
from processor.sar.radar_grid import SPEED_OF_LIGHT_M_S

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]
Flags = NDArray[np.uint8]

_ROWS = 256
"""Lines of the grid that are worked on at once."""
_LATTICE = 16


class Seen(IntFlag):
    """What becomes of a piece of terrain in the image."""

    CLEAR = 0
    LAYOVER = 1
    SHADOW = 2


@dataclass(frozen=True)
class FootGrid:
    """Lines of the image (averaged over `looks`), and slant ranges of points of the ellipsoid."""

    first_range_m: float
    step_m: float
    columns: int
    rows: int
    looks: int
    """Lines of the image to a row. Row 0 begins with line 0: edges of rows are at line row * looks - 1/2."""


@dataclass(frozen=True, eq=False)
class Illumination:
    """What the terrain does to an image."""

    grid: FootGrid
    area: Pixels
    """Of each pixel (of the means over looks), over A_beta; 0 where nothing is illuminated. Empty if not asked for."""
    seen: Flags
    """`Seen` on the edges of rows: shape (rows + 1, columns)."""

    def flags_at(self, foot_line: Floats, foot_range: Floats) -> Flags:
        """`Seen` of terrain by its foot (arrays of one shape); CLEAR outside of the image."""
        result = np.zeros(foot_line.shape, np.uint8)
        grid = self.grid
        _take_flags(self.seen, foot_line, foot_range, grid.looks, grid.first_range_m, grid.step_m, result)
        return result


@dataclass(frozen=True)
class _RowPart:
    """Edges of some rows of a foot grid, as a DEM is read for them."""

    grid: FootGrid
    first_row: int
    rows: int
    geometry: GrdGeometry

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows + 1, self.grid.columns

    @property
    def pixel_m(self) -> float:
        return self.grid.step_m * 1.5

    def lattice(self) -> Lattice:
        """Places on the ellipsoid, on every 16th edge and column."""
        rows = np.arange(-(-self.rows // _LATTICE) + 1, dtype=float) * _LATTICE
        columns = np.arange(-(-(self.grid.columns - 1) // _LATTICE) + 1, dtype=float) * _LATTICE
        line = (self.first_row + rows) * self.grid.looks - 0.5
        slant = self.grid.first_range_m + columns * self.grid.step_m
        lines, slants = np.meshgrid(line, slant, indexing="ij")
        radar = self.geometry.grid
        points = ground_points(self.geometry.orbit, radar, lines, radar.sample(slants * (2 / SPEED_OF_LIGHT_M_S)), 0.0)
        longitude, latitude, _ = ellipsoid.geodetic(points)
        return Lattice(_LATTICE, longitude[0, 0] + (longitude - longitude[0, 0] + 180) % 360 - 180, latitude)


def illuminate(
    geometry: GrdGeometry, dem: Dem, looks: tuple[int, int], heights: tuple[float, float], *, across_sight: bool = True, areas: bool = True
) -> Illumination:
    """Of an image averaged over `looks` (lines, samples), with terrain between two `heights` (metres above the ellipsoid).

    `across_sight`: areas are those seen from the satellite (for gamma0), else those on the ground (for sigma0). Without `areas` only
    layover and shadow are found. Where the DEM has no height, there is no terrain.
    """
    lines, samples = geometry.grid.lines // looks[0], geometry.grid.samples // looks[1]
    grid = _foot_grid(geometry, looks, lines, heights)
    area = np.zeros((lines, samples) if areas else (0, 0), np.float32)
    seen = np.zeros((lines + 1, grid.columns), np.uint8)
    conversions = geometry.conversions
    ranges = conversions.times, conversions.origins, conversions.to_ground, conversions.to_slant
    for first in range(0, lines, _ROWS):
        part = _RowPart(grid, first, min(_ROWS, lines - first), geometry)
        lattice = part.lattice()
        found = dem.on_grid(part, np.zeros(part.shape, np.bool_))
        places, feet = positions(lattice, found), positions(lattice, np.zeros(part.shape, np.float32))
        slant, nadir = np.empty(part.shape), np.empty(part.shape)
        edges = (first + np.arange(part.rows + 1, dtype=np.float64)) * looks[0] - 0.5
        times: Floats = geometry.first_line_s + edges * geometry.grid.line_interval_s
        satellites = geometry.orbit.position(times)
        _see(places, satellites, slant, nadir, seen[first : first + part.rows + 1])
        if areas:
            target, spacing = area[first : first + part.rows], geometry.sample_spacing_m * looks[1]
            offset = (looks[1] - 1) / 2 * geometry.sample_spacing_m
            along = (grid.first_range_m, grid.step_m, spacing, offset)
            _spread(places, feet, satellites, slant, seen[first : first + part.rows + 1], times, ranges, along, across_sight, target)
    return Illumination(grid, area, seen)


def _foot_grid(geometry: GrdGeometry, looks: tuple[int, int], rows: int, heights: tuple[float, float]) -> FootGrid:
    # A foot is nearer than its terrain below the ellipsoid, and farther than that above it, by at most the height.
    first = geometry.nearest_m + min(heights[0], 0.0) - 200.0
    last = geometry.farthest_m + max(heights[1], 0.0) + 200.0
    # At the near range of IW a metre of slant range is two on the ground: facets no larger than pixels.
    step = geometry.sample_spacing_m * looks[1] * 0.5
    return FootGrid(first, step, int((last - first) / step) + 2, rows, looks[0])


@compiled_parallel
def _see(places: Floats, satellites: Floats, slant: Floats, nadir: Floats, seen: Flags) -> None:
    """Slant ranges, cosines of the angle from the nadir, and what hides what along each line."""
    rows, columns = slant.shape
    for row in parallel_range(rows):
        sx, sy, sz = satellites[row, 0], satellites[row, 1], satellites[row, 2]
        height = (sx * sx + sy * sy + sz * sz) ** 0.5
        # Outwards: what stands higher in the sky nearer by hides; what was farther already, is lain over.
        lowest, farthest = 2.0, -1.0
        for column in range(columns):
            dx, dy, dz = places[row, column, 0] - sx, places[row, column, 1] - sy, places[row, column, 2] - sz
            distance = (dx * dx + dy * dy + dz * dz) ** 0.5
            cosine = -(sx * dx + sy * dy + sz * dz) / (height * distance)
            slant[row, column], nadir[row, column] = distance, cosine
            flags = 0
            if cosine == cosine:
                if cosine > lowest:
                    flags = 2
                else:
                    lowest = cosine
                    if distance < farthest:
                        flags = 1
                    farthest = max(farthest, distance)
            seen[row, column] = flags
        nearest = 1e30
        for column in range(columns - 1, -1, -1):
            if slant[row, column] == slant[row, column] and not seen[row, column] & 2:
                if slant[row, column] > nearest:
                    seen[row, column] |= 1
                nearest = min(nearest, slant[row, column])


@compiled_parallel
def _spread(
    places: Floats,
    feet: Floats,
    satellites: Floats,
    slant: Floats,
    seen: Flags,
    times: Floats,
    ranges: tuple[Floats, Floats, Floats, Floats],
    along: tuple[float, float, float, float],
    across_sight: bool,
    area: Pixels,
) -> None:
    """The areas of the facets between two edges, spread over the pixels between their slant ranges, over A_beta of the pixels."""
    record_times, origins, to_ground, to_slant = ranges
    first_range, step, spacing, offset = along
    for row in parallel_range(area.shape[0]):
        record = nearest_record(record_times, (times[row] + times[row + 1]) / 2)
        sums = np.zeros(area.shape[1])
        before = np.nan
        for column in range(slant.shape[1]):
            middle = (slant[row, column] + slant[row + 1, column]) / 2
            # Edges of pixel j are at j and j + 1 here.
            here = (polynomial(to_ground, record, middle - origins[record]) - offset) / spacing + 0.5
            hidden = column > 0 and (seen[row, column] & 2 or seen[row + 1, column] & 2 or seen[row, column - 1] & 2)
            if column > 0 and not hidden and here == here and before == before:
                piece = _facet(places, satellites, row, column, across_sight)
                if piece > 0:
                    _share(min(before, here), max(before, here), piece, sums)
            before = here
        left = polynomial(to_slant, record, offset - spacing / 2)
        for pixel in range(sums.size):
            right = polynomial(to_slant, record, (pixel + 0.5) * spacing + offset)
            column = min(max(((left + right) / 2 - first_range) / step, 0.0), slant.shape[1] - 1.0)
            area[row, pixel] = sums[pixel] / ((right - left) * _azimuth_step(feet, row, int(column)))
            left = right


@compiled
def _facet(places: Floats, satellites: Floats, row: int, column: int, across_sight: bool) -> float:
    """The area of the quadrangle between two edges and two columns; 0 if it turns away from the satellite."""
    ax = places[row + 1, column, 0] - places[row, column - 1, 0]
    ay = places[row + 1, column, 1] - places[row, column - 1, 1]
    az = places[row + 1, column, 2] - places[row, column - 1, 2]
    bx = places[row + 1, column - 1, 0] - places[row, column, 0]
    by = places[row + 1, column - 1, 1] - places[row, column, 1]
    bz = places[row + 1, column - 1, 2] - places[row, column, 2]
    nx, ny, nz = (ay * bz - az * by) / 2, (az * bx - ax * bz) / 2, (ax * by - ay * bx) / 2
    if nx * places[row, column, 0] + ny * places[row, column, 1] + nz * places[row, column, 2] < 0:
        nx, ny, nz = -nx, -ny, -nz
    dx = satellites[row, 0] - places[row, column, 0]
    dy = satellites[row, 1] - places[row, column, 1]
    dz = satellites[row, 2] - places[row, column, 2]
    towards = (nx * dx + ny * dy + nz * dz) / (dx * dx + dy * dy + dz * dz) ** 0.5
    if not towards > 0:
        return 0.0
    return float(towards if across_sight else (nx * nx + ny * ny + nz * nz) ** 0.5)


@compiled
def _share(low: float, high: float, piece: float, sums: Floats) -> None:
    """Spread `piece` evenly over [low, high] of pixels [j, j + 1]."""
    first, last = int(np.floor(low)), int(np.floor(high))
    if first == last or high - low < 1e-9:
        if 0 <= first < sums.size:
            sums[first] += piece
        return
    density = piece / (high - low)
    for pixel in range(max(first, 0), min(last, sums.size - 1) + 1):
        sums[pixel] += density * (min(high, pixel + 1.0) - max(low, float(pixel)))


@compiled
def _azimuth_step(feet: Floats, row: int, column: int) -> float:
    """Between two edges, on the ellipsoid."""
    dx = feet[row + 1, column, 0] - feet[row, column, 0]
    dy = feet[row + 1, column, 1] - feet[row, column, 1]
    dz = feet[row + 1, column, 2] - feet[row, column, 2]
    return float((dx * dx + dy * dy + dz * dz) ** 0.5)


@compiled_parallel
def _take_flags(seen: Flags, foot_line: Floats, foot_range: Floats, looks: int, first_range: float, step: float, result: Flags) -> None:
    for row in parallel_range(result.shape[0]):
        for column in range(result.shape[1]):
            edge = (foot_line[row, column] + 0.5) / looks + 0.5
            place = (foot_range[row, column] - first_range) / step + 0.5
            if edge >= 0 and edge < seen.shape[0] and place >= 0 and place < seen.shape[1]:
                result[row, column] = seen[int(edge), int(place)]
