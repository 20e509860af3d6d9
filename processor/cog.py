"""Writes Cloud-Optimised GeoTIFFs: the pixels of a raster unchanged, cut to an area or shifted by a constant, block by block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.features import geometry_mask
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.clipping import area_on_grid, window_of
from processor.statistics import write_statistics

BLOCK = 512
"""Pixels of a block of the COG, each way; see `block_size`."""

CHUNK = 4 * BLOCK
"""Pixels read and written at once, each way."""

_CACHE_BYTES = 256 * 2**20
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
    bands: tuple[str, ...] = ()
    """Names of the bands; empty: the description, numbered where there are several."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Further tags of the file."""


@dataclass(frozen=True)
class Shift:
    """A constant to add to every valid pixel; results are kept within `minimum` and the range of the data type."""

    value: int
    minimum: int


def write_cog(
    source: Path | str,
    target: Path,
    tags: LayerTags,
    *,
    area: BaseGeometry | None = None,
    shift: Shift | None = None,
    block: int | None = None,
) -> None:
    """Write `source` (any raster GDAL reads) as the COG `target`, whole or not at all.

    With `area` (EPSG:4326) the raster is cropped to it along its own grid, and pixels that the area does not touch become no-data.
    Memory is bounded by the block cache, whatever the size. Raises FatalError where the area misses the raster.
    """
    with gdal_settings(), rasterio.open(source) as raster:
        nodata = raster.nodata if raster.nodata is not None else tags.nodata
        outline = area_on_grid(area, raster) if area is not None else None
        window = window_of(outline, raster) if outline is not None else Window(0, 0, raster.width, raster.height)
        if outline is not None and nodata is None:
            raise FatalError(f"{tags.description} has no no-data value: it cannot be cut to an area")
        profile: dict[str, Any] = {
            "dtype": raster.dtypes[0],
            "count": raster.count,
            "width": window.width,
            "height": window.height,
            "crs": raster.crs,
            "transform": raster.window_transform(window),
            "nodata": nodata,
        }
        with new_cog(target, profile, tags, block=block) as output:
            for part in chunks(window.width, window.height):
                there = Window(window.col_off + part.col_off, window.row_off + part.row_off, part.width, part.height)
                pixels: NDArray[Any] = raster.read(window=there)
                if shift is not None:
                    pixels = shifted(pixels, shift, nodata)
                if outline is not None:
                    outside = geometry_mask([outline], pixels.shape[1:], raster.window_transform(there), all_touched=True)
                    pixels[:, outside] = nodata
                output.write(pixels, window=part)


@contextmanager
def new_cog(target: Path, profile: dict[str, Any], tags: LayerTags, *, block: int | None = None) -> Iterator[Any]:
    """A raster open for writing (dtype, count, width, height, crs, transform, nodata of `profile`) that becomes the COG `target`.

    Write it in the windows that `chunks` gives. At the end it gets statistics, overviews and compression; nothing is left of a failure.
    """
    scratch = target.with_name(f".{target.name}.scratch.tif")
    part = target.with_name(f".{target.name}.part.tif")
    plain = {"driver": "GTiff", "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "bigtiff": "IF_SAFER"}
    try:
        with gdal_settings():
            # Plain first: costly sources are decoded once, and statistics, overviews and pixels all come from the same file.
            with rasterio.open(scratch, "w+", **profile, **plain) as output:
                _describe(output, tags)
                yield output
            options = _creation_options(profile, block)
            # Uncompressed as the scratch file is, it is read past the block cache: less memory, less copying.
            with rasterio.Env(GTIFF_DIRECT_IO=True):
                with rasterio.open(scratch, "r+") as output:
                    write_statistics(output)
                    # Here they stay uncompressed: the COG driver would compress and decompress a set of its own on the way.
                    factors = _overview_factors(output.width, output.height, options["BLOCKSIZE"])
                    if factors:
                        output.build_overviews(factors, Resampling.mode if tags.categorical else Resampling.average)
                rasterio.shutil.copy(scratch, part, driver="COG", **options)
        part.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def chunks(width: int, height: int, size: int = CHUNK) -> Iterator[Window]:
    """An image in windows of `size` pixels each way that fall on whole blocks of the file."""
    for row in range(0, height, size):
        for column in range(0, width, size):
            yield Window(column, row, min(size, width - column), min(size, height - row))


def gdal_settings() -> Any:
    """The environment of GDAL for bounded work: to be entered with `with`."""
    return rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES, GDAL_NUM_THREADS=str(_THREADS), GDAL_PAM_ENABLED="NO")


def shifted(pixels: NDArray[Any], shift: Shift, nodata: float | None) -> NDArray[Any]:
    """`pixels` (integers, any shape) plus the shift, in the same type; no-data pixels stay as they are."""
    limits = np.iinfo(pixels.dtype)
    moved = np.clip(pixels.astype(np.int64) + shift.value, max(shift.minimum, limits.min), limits.max).astype(pixels.dtype)
    return moved if nodata is None else np.where(pixels == nodata, pixels, moved)


def _describe(output: Any, tags: LayerTags) -> None:
    names = tags.bands or ((tags.description,) if output.count == 1 else tuple(f"{tags.description}_{band}" for band in output.indexes))
    for band, name in zip(output.indexes, names, strict=True):
        output.set_band_description(band, name)
    if tags.scale is not None or tags.offset is not None:
        output.scales = [1.0 if tags.scale is None else tags.scale] * output.count
        output.offsets = [0.0 if tags.offset is None else tags.offset] * output.count
    output.update_tags(**tags.metadata)


def block_size(width: int, height: int) -> int:
    """`BLOCK`, unless that is just the width of the image or of an overview: such a one counts as strips, not as tiled."""
    levels = [(-(-width // 2**level), -(-height // 2**level)) for level in range(16)]
    widths = {across for across, down in levels if down > BLOCK}
    return next(size for size in (BLOCK, BLOCK // 2, BLOCK * 2) if size not in widths)


def _overview_factors(width: int, height: int, block: int) -> list[int]:
    """Halved until an overview fits into a block."""
    factors: list[int] = []
    while max(width, height) > block * 2 ** len(factors):
        factors.append(2 ** (len(factors) + 1))
    return factors


def _creation_options(profile: dict[str, Any], block: int | None) -> dict[str, Any]:
    dtype = str(np.dtype(profile["dtype"]))
    return {
        "COMPRESS": "ZSTD",
        # STANDARD is TIFF's predictor 2, FLOATING_POINT its predictor 3; neither is made for complex numbers.
        "PREDICTOR": "NO" if dtype.startswith("complex") else "FLOATING_POINT" if dtype.startswith("float") else "STANDARD",
        "BLOCKSIZE": block or block_size(profile["width"], profile["height"]),
        "OVERVIEWS": "AUTO",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": str(_THREADS),
    }
