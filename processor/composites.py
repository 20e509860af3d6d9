"""Composites in time: what the last dates of a place measured, kept as a growing file from tile to tile, and the median of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.blocks import Block, Encoding, Inputs, compute
from processor.cog import LayerTags
from processor.grids import Grid
from processor.optical.expressions import Expression, parse_expression
from processor.optical.indices import checked_grow, quality_mask
from processor.optical.masks import CLEAR, grown
from processor.optical.opening import OpticalProduct, grid_for
from processor.optical.product import Band

MAX_DEPTH = 50
_NAME = re.compile(r"(?P<date>\d{8}):(?P<layer>\w+)")


@dataclass(frozen=True)
class Composite:
    """What is wanted."""

    layers: tuple[str, ...]
    """Bands, or spectral indices by name."""
    date: str
    """Of the tile: `YYYYMMDD`."""
    depth: int
    """Dates that take part, this one included."""
    encoding: Encoding
    mask: str = "default"
    """What is left out of each date: classes of SCL, bits of QA_PIXEL, `default`, or empty."""
    grow: int = 0
    area: BaseGeometry | None = None


def write_history(source: OpticalProduct, wanted: Composite, earlier: Path | None, target: Path) -> None:
    """Write what this date measured, clouds left out, before that of `earlier` (the file of the tile before): bands `YYYYMMDD:layer`.

    At most `depth` dates are kept; a date that is there already is replaced. Raises FatalError naming what the product lacks.
    """
    if not 1 <= wanted.depth <= MAX_DEPTH:
        raise FatalError(f"a composite is made of 1 to {MAX_DEPTH} dates, not {wanted.depth}")
    formulas = {layer: _formula(source, layer) for layer in wanted.layers}
    mask = quality_mask(source, wanted.mask) if wanted.mask.strip() else None
    needed = dict.fromkeys(layer for formula in formulas.values() for layer in formula.layers)
    grid = grid_for(source.product.chosen(needed))
    bands = source.product.chosen((*needed, *((source.quality,) if mask else ())))
    old = _kept(earlier, wanted)
    pixels = wanted.encoding

    def function(block: Block) -> NDArray[np.generic]:
        values = np.stack([formula(block.bands) for formula in formulas.values()])
        if mask is not None:
            values[:, grown(mask(block.bands[source.quality]) != CLEAR, wanted.grow)] = np.nan
        return np.concatenate([pixels.pixels(values), *(block.bands[name][np.newaxis] for name in old)])

    inputs = Inputs({**bands, **old}, grid, raw=frozenset({source.quality, *old}), halo=checked_grow(wanted.grow) if mask else 0)
    names = (*(f"{wanted.date}:{layer}" for layer in wanted.layers), *old)
    tags = LayerTags("history", pixels.format.nodata, pixels.scale, pixels.offset, bands=names)
    nodata, dtype = pixels.format.nodata, pixels.format.dtype
    compute(inputs, function, target, tags, dtype=dtype, nodata=nodata, count=len(names), area=wanted.area)


def write_medians(history: Path, wanted: Composite, target: Callable[[str], Path]) -> Iterator[str]:
    """Write the median of each layer of `history` as the COG `target(layer)`, yielding its name before its work begins."""
    dates = history_bands(history)
    with rasterio.open(history) as raster:
        grid = Grid(raster.crs, raster.transform, raster.width, raster.height)
    pixels = wanted.encoding
    for layer in wanted.layers:
        yield layer
        own = {name: band for name, band in dates.items() if name.endswith(f":{layer}")}
        compute(
            Inputs(own, grid),
            lambda block: pixels.pixels(median(list(block.bands.values()))),
            target(layer),
            LayerTags(layer, pixels.format.nodata, pixels.scale, pixels.offset, metadata={"DATES": ",".join(name[:8] for name in own)}),
            dtype=pixels.format.dtype,
            nodata=pixels.format.nodata,
        )


def median(dates: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The median of what is there (arrays of one shape, NaN: nothing), pixel by pixel; NaN where no date has anything."""
    # Not a number is sorted behind all numbers.
    ordered = np.sort(np.stack(dates), axis=0)
    count = np.count_nonzero(~np.isnan(ordered), axis=0)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(dates) - 1)
    middle: NDArray[np.float32] = np.take_along_axis(ordered, low[np.newaxis], 0)[0] + np.take_along_axis(ordered, high[np.newaxis], 0)[0]
    result: NDArray[np.float32] = (middle / 2).astype(np.float32)
    return result


def history_bands(path: Path) -> dict[str, Band]:
    """The bands of a history by `YYYYMMDD:layer`, newest first as they are; raises FatalError where it is none."""
    with rasterio.open(path) as raster:
        names = raster.descriptions
        if not all(name and _NAME.fullmatch(name) for name in names):
            raise FatalError(f"{path.name} is no history of dates: its bands are {', '.join(map(str, names))[:200]}")
        return {
            name: Band(path, scale, offset, nodata, index)
            for index, (name, scale, offset, nodata) in enumerate(
                zip(names, raster.scales, raster.offsets, raster.nodatavals, strict=True), 1
            )
        }


def _kept(earlier: Path | None, wanted: Composite) -> dict[str, Band]:
    """The bands of older dates to keep, as far as they are of the wanted layers and format."""
    if earlier is None:
        return {}
    bands = history_bands(earlier)
    with rasterio.open(earlier) as raster:
        same = raster.dtypes[0] == wanted.encoding.format.dtype and np.allclose(
            (raster.scales[0], raster.offsets[0]), (wanted.encoding.scale, wanted.encoding.offset), rtol=1e-9, atol=1e-12
        )
    if not same:
        raise FatalError(f"{earlier.name} was written with another format (dformat_out): dates of both cannot be put together")
    dates = sorted({name[:8] for name in bands if name[:8] != wanted.date}, reverse=True)[: wanted.depth - 1]
    return {name: bands[name] for date in dates for name in (f"{date}:{layer}" for layer in wanted.layers) if name in bands}


def _formula(source: OpticalProduct, layer: str) -> Expression:
    if layer in source.product.bands:
        return Expression(layer, (layer,))
    return parse_expression(layer, source.letters)
