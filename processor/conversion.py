"""Rasters in another data type: one range of values mapped onto another, linearly, block by block."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from common.errors import FatalError
from common.messages import RasterFormat
from processor.cog import LayerTags, chunks, gdal_settings, new_cog
from processor.grids import grid_of


def write_converted(source: Path, target: Path, range_in: tuple[float, float], wanted: RasterFormat, *, block: int | None = None) -> None:
    """Write every band of `source` as `converted` to the COG `target` (which may be `source`), whole or not at all."""
    _check_nodata(wanted)
    with gdal_settings(), rasterio.open(source) as raster:
        tags = LayerTags(raster.descriptions[0] or target.stem, bands=tuple(name or "" for name in raster.descriptions))
        profile = grid_of(raster).profile(wanted.dtype, raster.count, wanted.nodata)
        with new_cog(target, profile, tags, block=block) as output:
            for window in chunks(raster.width, raster.height):
                output.write(converted(raster.read(window=window), range_in, wanted, raster.nodata), window=window)


def converted(pixels: NDArray[Any], range_in: tuple[float, float], wanted: RasterFormat, nodata: float | None) -> NDArray[Any]:
    """`pixels` (any shape) with `range_in` mapped onto the range of `wanted`, as `gdal_translate -scale` does.

    Rounded to the nearest integer (halves away from zero) and kept within what the data type holds: values beyond the range go beyond it.
    What is no-data (`nodata`, or not a number) becomes the no-data value; other than with GDAL, integers that are not never do.
    """
    _check_nodata(wanted)
    low, high = range_in
    if not (math.isfinite(low) and math.isfinite(high) and low != high):
        raise FatalError(f"the range {low:g}..{high:g} cannot be mapped: two different finite numbers are expected")
    scale = (wanted.max_value - wanted.min_value) / (high - low)
    offset = wanted.min_value - low * scale
    empty = np.isnan(pixels) if nodata is None or math.isnan(nodata) else np.isnan(pixels) | (pixels == nodata)
    dtype = np.dtype(wanted.dtype)
    if np.iscomplexobj(pixels) and not np.issubdtype(dtype, np.complexfloating):
        raise FatalError(f"complex pixels cannot be written as {dtype}")
    wide = pixels.astype(np.complex128 if np.iscomplexobj(pixels) else np.float64) * scale + offset
    if np.issubdtype(dtype, np.integer):
        return _as_integers(wide, empty, dtype, wanted.nodata)
    with np.errstate(over="ignore"):
        result: NDArray[Any] = wide.astype(dtype)
    result[empty] = wanted.nodata
    return result


def _check_nodata(wanted: RasterFormat) -> None:
    dtype = np.dtype(wanted.dtype)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        if not (limits.min <= wanted.nodata <= limits.max and wanted.nodata == int(wanted.nodata)):
            raise FatalError(f"the no-data value {wanted.nodata:g} is no {dtype}")


def _as_integers(values: NDArray[Any], empty: NDArray[np.bool_], dtype: np.dtype[Any], nodata: float) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    values[empty] = 0
    result = np.clip(np.trunc(values + np.copysign(0.5, values)), limits.min, limits.max).astype(dtype)
    # The neighbour nearer to zero, as far as there is one: a valid pixel is not lost for a step of the scale.
    result[(result == nodata) & ~empty] = nodata + (1 if nodata <= 0 else -1)
    result[empty] = nodata
    integers: NDArray[Any] = result
    return integers
