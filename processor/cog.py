"""Writes Cloud-Optimised GeoTIFFs: the pixels of a raster unchanged, cut to an area or shifted by a constant, block by block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.clipping import area_on_grid, window_of
from processor.statistics import write_statistics

BLOCK = 512
"""Pixels of a block of the COG, each way; see `block_size`."""

_CHUNK = 4 * BLOCK
"""Pixels read and written at once, each way."""

_CACHE_MB = 256
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class LayerTags:
    """What a layer's file says of its pixels. Physical value = pixel * scale + offset."""

    description: str
    nodata: float | None = None
    """None: what the source says."""
    scale: float | None = None
    offset: float | None = None
    categorical: bool = False
    """Classes or flags, not quantities: overviews take the most frequent value instead of the mean."""


@dataclass(frozen=True)
class Shift:
    """A constant to add to every valid pixel; results are kept within `minimum` and the range of the data type."""

    value: int
    minimum: int


def write_cog(source: Path, target: Path, tags: LayerTags, *, area: BaseGeometry | None = None, shift: Shift | None = None) -> None:
    """Write `source` (any raster GDAL reads) as the COG `target`, whole or not at all.

    With `area` (EPSG:4326) the raster is cropped to it along its own grid, and pixels that the area does not touch become no-data.
    Memory is bounded by the block cache, whatever the size. Raises FatalError where the area misses the raster.
    """
    scratch = target.with_name(f".{target.name}.scratch.tif")
    part = target.with_name(f".{target.name}.part.tif")
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB, GDAL_NUM_THREADS=str(_THREADS), GDAL_PAM_ENABLED="NO"):
            _copy_pixels(source, scratch, tags, area, shift)
            with rasterio.open(scratch, "r+") as raster:
                write_statistics(raster)
            rasterio.shutil.copy(scratch, part, driver="COG", **_creation_options(scratch, categorical=tags.categorical))
        part.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def _copy_pixels(source: Path, scratch: Path, tags: LayerTags, area: BaseGeometry | None, shift: Shift | None) -> None:
    """Write the final pixels and tags into a plain tiled TIFF, so that costly sources (JPEG 2000) are decoded once."""
    with ExitStack() as stack:
        raster = stack.enter_context(rasterio.open(source))
        nodata = raster.nodata if raster.nodata is not None else tags.nodata
        outline = area_on_grid(area, raster) if area is not None else None
        window = window_of(outline, raster) if outline is not None else Window(0, 0, raster.width, raster.height)
        if outline is not None and nodata is None:
            raise FatalError(f"{tags.description} has no no-data value: it cannot be cut to an area")
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "dtype": raster.dtypes[0],
            "count": raster.count,
            "width": window.width,
            "height": window.height,
            "crs": raster.crs,
            "transform": raster.window_transform(window),
            "nodata": nodata,
            "tiled": True,
            "blockxsize": BLOCK,
            "blockysize": BLOCK,
            "bigtiff": "IF_SAFER",
        }
        output = stack.enter_context(rasterio.open(scratch, "w", **profile))
        _describe(output, raster, tags)
        for part in _chunks(window):
            pixels: NDArray[Any] = raster.read(window=part)
            if shift is not None:
                pixels = shifted(pixels, shift, nodata)
            if outline is not None:
                outside = geometry_mask([outline], pixels.shape[1:], raster.window_transform(part), all_touched=True)
                pixels[:, outside] = nodata
            output.write(pixels, window=Window(part.col_off - window.col_off, part.row_off - window.row_off, part.width, part.height))


def shifted(pixels: NDArray[Any], shift: Shift, nodata: float | None) -> NDArray[Any]:
    """`pixels` (integers, any shape) plus the shift, in the same type; no-data pixels stay as they are."""
    limits = np.iinfo(pixels.dtype)
    moved = np.clip(pixels.astype(np.int64) + shift.value, max(shift.minimum, limits.min), limits.max).astype(pixels.dtype)
    return moved if nodata is None else np.where(pixels == nodata, pixels, moved)


def _describe(output: Any, raster: Any, tags: LayerTags) -> None:
    names = [tags.description] if raster.count == 1 else [f"{tags.description}_{band}" for band in raster.indexes]
    for band, name in zip(output.indexes, names, strict=True):
        output.set_band_description(band, name)
    if tags.scale is not None or tags.offset is not None:
        output.scales = [1.0 if tags.scale is None else tags.scale] * raster.count
        output.offsets = [0.0 if tags.offset is None else tags.offset] * raster.count


def _chunks(window: Window) -> Iterator[Window]:
    """`window` in pieces that fall on whole blocks of the output."""
    for row in range(0, window.height, _CHUNK):
        for column in range(0, window.width, _CHUNK):
            height, width = min(_CHUNK, window.height - row), min(_CHUNK, window.width - column)
            yield Window(window.col_off + column, window.row_off + row, width, height)


def block_size(width: int, height: int) -> int:
    """`BLOCK`, unless that is just the width of the image or of an overview: such a one counts as strips, not as tiled."""
    levels = [(-(-width // 2**level), -(-height // 2**level)) for level in range(16)]
    widths = {across for across, down in levels if down > BLOCK}
    return next(size for size in (BLOCK, BLOCK // 2, BLOCK * 2) if size not in widths)


def _creation_options(scratch: Path, *, categorical: bool) -> dict[str, Any]:
    with rasterio.open(scratch) as raster:
        dtype, block = raster.dtypes[0], block_size(raster.width, raster.height)
    return {
        "COMPRESS": "ZSTD",
        # STANDARD is TIFF's predictor 2, FLOATING_POINT its predictor 3; neither is made for complex numbers.
        "PREDICTOR": "NO" if dtype.startswith("complex") else "FLOATING_POINT" if dtype.startswith("float") else "STANDARD",
        "BLOCKSIZE": block,
        "OVERVIEWS": "AUTO",
        "OVERVIEW_RESAMPLING": "MODE" if categorical else "AVERAGE",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": str(_THREADS),
    }
