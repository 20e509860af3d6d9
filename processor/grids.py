"""Grids of pixels: CRS, transform and size; and those that hold an area at a given resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.windows import Window
from rasterio.windows import transform as window_transform

from common.errors import FatalError

MAX_PIXELS = 2**32
"""Of one layer: a resolution that is wrong by a factor is refused before it fills a disk."""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie. `crs`, `transform`, `width` and `height` are named as rasterio names them."""

    crs: Any
    transform: Affine
    width: int
    height: int

    @property
    def pixel_size(self) -> float:
        """Width of a pixel in units of the CRS."""
        return math.hypot(self.transform.a, self.transform.d)

    def window(self, window: Window) -> Grid:
        """The part of the grid in `window`."""
        return Grid(self.crs, window_transform(window, self.transform), int(window.width), int(window.height))

    def scaled(self, pixel_size: float) -> Grid:
        """The same area in pixels of another size, the last ones whole. Raises FatalError for a size that cannot be meant."""
        factor = pixel_size / self.pixel_size
        if not 1e-3 < factor < 1e4:
            raise FatalError(f"pixels of {pixel_size:g} do not go with a grid of {self.pixel_size:g}")
        a, b, c, d, e, f = tuple(self.transform)[:6]
        width, height = (max(1, math.ceil(size / factor - 1e-6)) for size in (self.width, self.height))
        return Grid(self.crs, Affine(a * factor, b * factor, c, d * factor, e * factor, f), width, height)

    def profile(self, dtype: str, count: int, nodata: float | None) -> dict[str, Any]:
        """Of a raster on this grid."""
        return {
            "dtype": dtype,
            "count": count,
            "width": self.width,
            "height": self.height,
            "crs": self.crs,
            "transform": self.transform,
            "nodata": nodata,
        }

    def warp_options(self) -> dict[str, Any]:
        """Of a `WarpedVRT` onto this grid."""
        return {"crs": self.crs, "transform": self.transform, "width": self.width, "height": self.height}


def grid_of(raster: Any) -> Grid:
    """The grid of an open raster."""
    return Grid(raster.crs, raster.transform, raster.width, raster.height)


def aligned_grid(crs: Any, bounds: tuple[float, float, float, float], resolution: float, *, centred: bool = False) -> Grid:
    """The smallest grid of square pixels that holds `bounds` (left, bottom, right, top in `crs`), its edges at multiples of `resolution`;
    `centred`: the centres of its pixels.

    Tiles put on such grids fit each other pixel by pixel. Raises FatalError for a size that cannot be meant.
    """
    if not (math.isfinite(resolution) and resolution > 0) or not all(map(math.isfinite, bounds)):
        raise FatalError(f"a resolution of {resolution:g} makes no grid")
    # What is within a millionth of a pixel of a multiple lies on it: the bounds come out of a projection.
    half = 0.5 if centred else 0.0
    left, bottom = (math.floor(value / resolution + half + 1e-6) for value in bounds[:2])
    right, top = (math.ceil(value / resolution + half - 1e-6) for value in bounds[2:])
    width, height = max(1, right - left), max(1, top - bottom)
    if width * height > MAX_PIXELS:
        raise FatalError(f"a resolution of {resolution:g} makes a raster of {width} x {height} pixels: in units of the CRS, is it right?")
    return Grid(crs, Affine(resolution, 0, (left - half) * resolution, 0, -resolution, (top - half) * resolution), width, height)


def parse_crs(text: str) -> Any:
    """A CRS by its authority's code (`EPSG:32631`), nothing else: no files, no downloads. Raises FatalError."""
    authority, _, code = text.partition(":")
    try:
        if authority.upper() in ("EPSG", "ESRI") and code.isdigit() and len(code) <= 9:
            return CRS.from_authority(authority.upper(), code)
    except CRSError:
        pass
    raise FatalError(f"'{text[:60]}' is not a CRS such as EPSG:32631")
