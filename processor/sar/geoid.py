"""Geoid undulation: what turns a height above the geoid (a DEM of EGM96 or EGM2008 heights) into one above the WGS 84 ellipsoid.

The grids of EGM96 and EGM2008 come with the program (`geoids/`, with their sources). PROJ without its grids leaves such heights unchanged
and only warns, so it is not asked: where there is no undulation there is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from common.errors import ConfigurationError, FatalError
from processor.sar.gdal import quiet_gdal

Floats = NDArray[np.float64]

ELLIPSOID = "ellipsoid"
"""Of a DEM whose heights are above the ellipsoid already."""

_FOLDER = Path(__file__).with_name("geoids")
_OURS = {"egm96": "egm96_15.tif", "egm2008": "egm2008_10.tif"}
_HIGHEST_M = 120.0
"""No undulation on Earth is larger: what is, is no geoid grid."""


@dataclass(frozen=True)
class Geoid:
    """A grid of undulations.

    `egm96` is within 0.015 m of the values NGA publishes; `egm2008` within 0.03 m (rms; 1.3 m at one place in the Andes) of its model.
    """

    name: str
    path: Path | None
    """None: the ellipsoid, undulation 0."""

    def undulation(self, longitude: Floats, latitude: Floats) -> Floats:
        """Height of the geoid above the ellipsoid in metres, at degrees (WGS 84; broadcast), by cubic convolution.

        Raises FatalError where the grid ends, or has no value.
        """
        longitude, latitude = np.broadcast_arrays(np.asarray(longitude, float), np.asarray(latitude, float))
        if self.path is None:
            return np.zeros(longitude.shape)
        grid = _open(self.path)
        x, y = grid.place(longitude, latitude)
        inside = (x >= 0) & (x <= grid.width - (0 if grid.goes_round else 1)) & (y >= 0) & (y <= grid.height - 1)
        if not inside.all():
            raise FatalError(f"geoid {self.name} has no value at {_place(longitude, latitude, ~inside)}")
        values = _cubic(*grid.read(y), x, y)
        known = np.abs(values) <= _HIGHEST_M
        if not known.all():
            raise FatalError(f"geoid {self.name} has no value at {_place(longitude, latitude, ~known)}")
        return values


def open_geoid(name: str) -> Geoid:
    """`egm96`, `egm2008`, `ellipsoid` (heights are above it already), or a raster file of undulations in longitude and latitude (such as
    `us_nga_egm08_25.tif` of PROJ). Raises ConfigurationError."""
    key = name.strip().lower()
    if key == ELLIPSOID:
        return Geoid(ELLIPSOID, None)
    path = _FOLDER / _OURS[key] if key in _OURS else Path(name)
    if key not in _OURS and not path.is_file():
        raise ConfigurationError(f"geoid '{name}' is neither {', '.join(_OURS)}, {ELLIPSOID} nor a file")
    _open(path)
    return Geoid(key if key in _OURS else path.name, path)


@dataclass(frozen=True)
class _Grid:
    """A raster of undulations in longitude and latitude, values at the centres of its pixels."""

    path: Path
    west: float
    north: float
    step_x: float
    step_y: float
    """Degrees; positive."""
    width: int
    height: int
    scale: float
    offset: float

    @property
    def goes_round(self) -> bool:
        return abs(self.width * self.step_x - 360.0) < self.step_x / 2

    def place(self, longitude: Floats, latitude: Floats) -> tuple[Floats, Floats]:
        """Column and row, where whole numbers are centres of pixels."""
        x = ((longitude - self.west) % 360.0) / self.step_x
        return x, (self.north - latitude) / self.step_y

    def read(self, y: Floats) -> tuple[NDArray[np.float32], int]:
        """The rows around `y` with three columns more than there are, and the number of the first row."""
        if y.size == 0:
            return np.zeros((4, 4), np.float32), 0
        first = max(0, int(np.floor(y.min())) - 1)
        last = min(self.height, int(np.floor(y.max())) + 3)
        with quiet_gdal(), rasterio.open(self.path) as raster:
            rows = raster.read(1, window=Window(0, first, self.width, last - first), masked=True)
        values = rows.astype(np.float32).filled(np.nan) * np.float32(self.scale) + np.float32(self.offset)
        return np.pad(values, ((0, 0), (1, 2)), mode="wrap" if self.goes_round else "edge"), first


@lru_cache(maxsize=8)
def _open(path: Path) -> _Grid:
    try:
        with quiet_gdal(), rasterio.open(path) as raster:
            transform, crs = raster.transform, raster.crs
            if (crs is not None and not crs.is_geographic) or transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
                raise ConfigurationError(f"geoid {path.name} is no raster in longitude and latitude with north at its top")
            return _Grid(
                path,
                west=transform.c + transform.a / 2,
                north=transform.f + transform.e / 2,
                step_x=transform.a,
                step_y=-transform.e,
                width=raster.width,
                height=raster.height,
                scale=raster.scales[0],
                offset=raster.offsets[0],
            )
    except RasterioError as error:
        raise ConfigurationError(f"geoid {path.name} cannot be read: {error}") from None


def _cubic(rows: NDArray[np.float32], first: int, x: Floats, y: Floats) -> Floats:
    """Cubic convolution (Keys 1981, IEEE Trans. ASSP 29, a = -1/2); at the first and last row the row is repeated."""
    column, row = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    # The pad has one column to the west and two to the east; of a grid that goes round, x may be its width.
    column = np.minimum(column, rows.shape[1] - 4)
    across, down = _weights(x - column), _weights(y - row)
    result = np.zeros(x.shape)
    for i in range(4):
        line = np.clip(row - 1 + i - first, 0, rows.shape[0] - 1)
        for j in range(4):
            result += down[i] * across[j] * rows[line, column + j]
    return result


def _weights(t: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    return (
        ((-t + 2) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((-3 * t + 4) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )


def _place(longitude: Floats, latitude: Floats, where: NDArray[np.bool_]) -> str:
    index = np.unravel_index(int(np.argmax(where)), where.shape)
    return f"longitude {longitude[index]:.4f}, latitude {latitude[index]:.4f}"
