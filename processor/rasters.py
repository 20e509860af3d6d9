"""What a raster file says of itself: grid, footprint, pixel format, and the tags that turn pixels into physical values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import RasterioError
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from common.geometry import split_at_antimeridian

_POINTS = 21
"""On each edge of a footprint: its sides are curves in longitude and latitude."""

_TOLERANCE_DEG = 1e-5
"""A metre: points that say less are left out."""

_DECIMALS = 7
"""Of degrees: a centimetre."""


@dataclass(frozen=True)
class RasterDescription:
    """A raster file, as far as an index needs to know it."""

    bands: int
    dtype: str
    """NumPy name."""
    nodata: float | None
    scale: float
    offset: float
    shape: tuple[int, int]
    """Rows, columns."""
    transform: tuple[float, float, float, float, float, float]
    epsg: int | None
    footprint_wkt: str | None
    """EPSG:4326; None where the raster has no CRS."""

    @property
    def has_scaling(self) -> bool:
        return (self.scale, self.offset) != (1.0, 0.0)


def describe_raster(path: Path) -> RasterDescription:
    """Read the description of `path`; raises FatalError where it is no raster."""
    try:
        with rasterio.open(path) as raster:
            return RasterDescription(
                bands=raster.count,
                dtype=raster.dtypes[0],
                nodata=raster.nodata,
                scale=raster.scales[0],
                offset=raster.offsets[0],
                shape=raster.shape,
                transform=tuple(raster.transform)[:6],
                epsg=raster.crs.to_epsg() if raster.crs else None,
                footprint_wkt=shapely.to_wkt(footprint(raster), rounding_precision=_DECIMALS) if raster.crs else None,
            )
    except RasterioError as error:
        raise FatalError(f"{path.name} is not a raster: {error}") from None


def footprint(raster: Any) -> BaseGeometry:
    """The outline of an open raster in longitude and latitude, its edges densified, split at the antimeridian."""
    steps = np.linspace(0, 1, _POINTS)[:-1]
    zero, one = np.zeros_like(steps), np.ones_like(steps)
    columns = np.concatenate([steps, one, 1 - steps, zero]) * raster.width
    rows = np.concatenate([zero, steps, one, 1 - steps]) * raster.height
    transformer = Transformer.from_crs(raster.crs, "EPSG:4326", always_xy=True)
    longitudes, latitudes = transformer.transform(*apply(raster.transform, columns, rows))
    outline: BaseGeometry = split_at_antimeridian(Polygon(zip(longitudes, latitudes, strict=True)))
    return outline.simplify(_TOLERANCE_DEG)


def apply(transform: Any, x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """An affine transform of arrays: from (column, row) to coordinates, or back with its inverse."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * x + b * y + c, d * x + e * y + f
