"""Taking away the edge of an image: SAR images and mosaics have pixels there that are only partly covered."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.cog import LayerTags, chunks, gdal_settings, new_cog
from processor.grids import grid_of
from processor.optical.masks import grown


def write_eroded(source: Path, target: Path, nodata: float, pixels: int) -> None:
    """Write `source` with the outermost `pixels` set to `nodata` as the COG `target` (which may be `source`), whole or not at all.

    The edge is that of the convex hull of what is not `nodata`: gaps within stay as they are. Along the sides of the raster, where the
    image goes on, nothing is taken away. Raises FatalError where nothing is left.
    """
    if pixels < 0:
        raise FatalError(f"{pixels} iterations of erosion make no sense")
    with gdal_settings(), rasterio.open(source) as raster:
        hull = _hull(raster, nodata)
        left = 0
        tags = LayerTags(target.stem, bands=tuple(name or "" for name in raster.descriptions))
        with new_cog(target, grid_of(raster).profile(raster.dtypes[0], raster.count, nodata), tags) as output:
            for window in chunks(raster.width, raster.height):
                values: NDArray[Any] = raster.read(window=window)
                values[:, eroded_edge(hull, window, (raster.height, raster.width), pixels)] = nodata
                left += int(np.count_nonzero(~_empty(values[0], nodata)))
                output.write(values, window=window)
            if left == 0:
                raise FatalError(f"{source.name} empty")


def eroded_edge(hull: BaseGeometry, window: Window, shape: tuple[int, int], pixels: int) -> NDArray[np.bool_]:
    """Which pixels of `window` (of an image of `shape`) lie outside of `hull` (columns, rows) or within `pixels` (3 x 3 steps) of that."""
    left, top = max(0, window.col_off - pixels), max(0, window.row_off - pixels)
    right, bottom = min(shape[1], window.col_off + window.width + pixels), min(shape[0], window.row_off + window.height + pixels)
    outside = geometry_mask([hull], (bottom - top, right - left), rasterio.Affine(1, 0, left, 0, 1, top))
    row, column = window.row_off - top, window.col_off - left
    edge: NDArray[np.bool_] = grown(outside, pixels)[row : row + window.height, column : column + window.width]
    return edge


def _hull(raster: Any, nodata: float) -> BaseGeometry:
    """The convex hull of all valid pixels of the first band, in columns and rows; raises FatalError where there are none."""
    corners: list[NDArray[np.float64]] = []
    for window in chunks(raster.width, raster.height):
        valid = ~_empty(raster.read(1, window=window), nodata)
        rows = np.flatnonzero(valid.any(axis=1))
        if rows.size:
            first = valid[rows].argmax(axis=1) + window.col_off
            last = valid.shape[1] - valid[rows, ::-1].argmax(axis=1) + window.col_off
            corners += [np.column_stack([x, rows + window.row_off + dy]) for x in (first, last) for dy in (0, 1)]
    if not corners:
        raise FatalError(f"{Path(raster.name).name} empty")
    hull: BaseGeometry = shapely.MultiPoint(np.concatenate(corners)).convex_hull
    return hull


def _empty(pixels: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    empty: NDArray[np.bool_] = np.isnan(pixels) if math.isnan(nodata) else pixels == nodata
    return empty
