"""The grid of pixels on a map that layers are made on: any CRS, aligned on whole pixels, in blocks, with longitude and latitude for all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.transform import Affine

from common.errors import FatalError

Floats = NDArray[np.float64]

METRES_PER_DEGREE = 6378137.0 * math.pi / 180
"""Along the equator: how a resolution in metres becomes one in degrees, for CRS in degrees."""

_LATTICE_M = 400.0
"""Between the points at which projections are computed. A straight line over that distance errs by millimetres on the ground."""
_LATTICE_PIXELS = 32
_MOST_PIXELS = 2**31


@dataclass(frozen=True)
class MapGrid:
    """Pixels on a map, row 0 in the north. `west` and `north` are the outer corner of the first pixel."""

    crs: str
    """As pyproj reads it: `EPSG:32633`."""
    west: float
    north: float
    pixel: float
    """Size of a pixel both ways, in the unit of the CRS."""
    width: int
    height: int

    @property
    def transform(self) -> Affine:
        return Affine(self.pixel, 0.0, self.west, 0.0, -self.pixel, self.north)

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def pixel_m(self) -> float:
        """About the size of a pixel in metres."""
        return self.pixel * unit_m(self.crs)

    def part(self, row: int, column: int, height: int, width: int) -> MapGrid:
        """A piece of this grid; may lie outside of it."""
        return replace(self, west=self.west + column * self.pixel, north=self.north - row * self.pixel, width=width, height=height)

    def parts(self, size: int) -> Iterator[tuple[int, int, MapGrid]]:
        """The pieces of at most `size` pixels each way, with the row and the column at which each begins."""
        for row in range(0, self.height, size):
            for column in range(0, self.width, size):
                yield row, column, self.part(row, column, min(size, self.height - row), min(size, self.width - column))

    def lattice(self) -> Lattice:
        """Longitude and latitude of points on this grid, close enough for bilinear interpolation in between."""
        step = max(1, min(_LATTICE_PIXELS, int(_LATTICE_M / self.pixel_m)))
        rows = np.arange(-(-(self.height - 1) // step) + 1, dtype=float) * step
        columns = np.arange(-(-(self.width - 1) // step) + 1, dtype=float) * step
        x = self.west + (columns + 0.5) * self.pixel
        y = self.north - (rows + 0.5) * self.pixel
        longitude, latitude = _to_degrees(self.crs).transform(*np.meshgrid(x, y))
        if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
            raise FatalError(f"the area lies outside of where {self.crs} is defined")
        return Lattice(step, _unwrapped(longitude), latitude)


@dataclass(frozen=True, eq=False)
class Lattice:
    """Points on every `step`-th pixel of a grid, beginning with the centre of the first; arrays of shape (rows, columns)."""

    step: int
    longitude: Floats
    """Degrees, without a jump at the antimeridian: may be beyond 180."""
    latitude: Floats


def grid_around(longitude: Floats, latitude: Floats, crs: str, resolution_m: float) -> MapGrid:
    """The smallest grid of whole pixels that holds points (the outline of an image, dense), its corners at multiples of the pixel.

    `crs`: anything pyproj reads, or `UTM`: the zone of the middle of the points. Raises FatalError for a CRS that is not known, is not one
    of a map, or does not hold the points.
    """
    if not (math.isfinite(resolution_m) and resolution_m > 0):
        raise FatalError(f"resolution: {resolution_m} is not a number of metres above 0")
    longitude = _unwrapped(longitude)
    name = utm_zone(float(np.mean(longitude)), float(np.mean(latitude))) if crs.strip().upper() == "UTM" else crs.strip()
    pixel = resolution_m / unit_m(name)
    x, y = project(name, longitude, latitude)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise FatalError(f"projection: the image lies outside of where {name} is defined")
    left, right = math.floor(x.min() / pixel), math.ceil(x.max() / pixel)
    bottom, top = math.floor(y.min() / pixel), math.ceil(y.max() / pixel)
    if (right - left) * (top - bottom) > _MOST_PIXELS:
        raise FatalError(f"resolution: {right - left} x {top - bottom} pixels are too many; the CRS or the resolution cannot be meant")
    return MapGrid(name, left * pixel, top * pixel, pixel, right - left, top - bottom)


def project(crs: str, longitude: Floats, latitude: Floats) -> tuple[Floats, Floats]:
    """Coordinates in the CRS of a map, of degrees that do not jump at the antimeridian; infinite where it is not defined."""
    x, y = _from_degrees(crs).transform(longitude, latitude)
    return (_unwrapped(np.asarray(x)) if _known(crs).is_geographic else x), y


def utm_zone(longitude: float, latitude: float) -> str:
    """The EPSG code of the UTM zone (WGS 84) of a place; the exceptions around Norway and Svalbard are not made."""
    zone = int(((longitude + 180) % 360) // 6) + 1
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


@lru_cache(maxsize=64)
def unit_m(crs: str) -> float:
    """Metres to the unit of the horizontal axes of a CRS; of a degree, along the equator."""
    known = _known(crs)
    if known.is_geographic:
        return METRES_PER_DEGREE
    return float(known.axis_info[0].unit_conversion_factor)


@lru_cache(maxsize=64)
def _known(crs: str) -> CRS:
    try:
        known = CRS.from_user_input(crs)
    except ProjError as error:
        raise FatalError(f"projection: '{crs}' is not a CRS that is known: {error}") from None
    if not (known.is_geographic or known.is_projected):
        raise FatalError(f"projection: '{crs}' is neither a projected CRS nor one of longitude and latitude")
    return known


# Transformers may not be shared between threads, hence none is kept with the grid.
def _to_degrees(crs: str) -> Transformer:
    return Transformer.from_crs(_known(crs), "EPSG:4326", always_xy=True)


def _from_degrees(crs: str) -> Transformer:
    return Transformer.from_crs("EPSG:4326", _known(crs), always_xy=True)


def _unwrapped(longitude: Floats) -> Floats:
    """The same longitudes without a jump of 360 degrees, beginning between -180 and 180."""
    if longitude.size == 0:
        return longitude
    first = float(longitude.flat[0])
    return first + (longitude - first + 180.0) % 360.0 - 180.0
