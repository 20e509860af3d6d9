"""A formula over the bands of a product as a layer, clouds left out where that is asked for; and the mask of those clouds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.blocks import Block, Encoding, Inputs, compute
from processor.cog import LayerTags
from processor.optical.expressions import parse_expression
from processor.optical.masks import CLEAR, MASKED, NODATA, QA_DEFAULT, SCL_DEFAULT, Mask, grown, qa_mask, scl_mask
from processor.optical.opening import OpticalProduct, grid_for

MAX_GROW = 200
"""Pixels; masks are grown within the blocks that are computed."""


@dataclass(frozen=True)
class IndexLayer:
    """What is wanted."""

    formula: str
    encoding: Encoding
    mask: str = ""
    """Classes or bits to leave out; `default` for the usual ones, empty for none."""
    grow: int = 0
    resolution: float = 0.0
    """0: that of the finest band."""
    area: BaseGeometry | None = None


def write_index(source: OpticalProduct, layer: IndexLayer, target: Path) -> None:
    """Write the layer as the COG `target`; raises FatalError naming the bands that are missing or what is wrong with the formula."""
    expression = parse_expression(layer.formula, source.letters)
    mask = quality_mask(source, layer.mask) if layer.mask.strip() else None
    bands = source.product.chosen((*expression.layers, *((source.quality,) if mask else ())))
    grid = grid_for(source.product.chosen(expression.layers), layer.resolution)
    inputs = Inputs(bands, grid, raw=frozenset({source.quality}), halo=checked_grow(layer.grow) if mask else 0)

    def function(block: Block) -> NDArray[np.generic]:
        values = expression(block.bands)
        if mask is not None:
            values[grown(mask(block.bands[source.quality]) != CLEAR, layer.grow)] = np.nan
        return layer.encoding.pixels(values)

    pixels = layer.encoding
    tags = LayerTags(layer.formula[:80], pixels.format.nodata, pixels.scale, pixels.offset, metadata={"FORMULA": expression.text})
    compute(inputs, function, target, tags, dtype=pixels.format.dtype, nodata=pixels.format.nodata, area=layer.area)


def quality_mask(source: OpticalProduct, names: str) -> Mask:
    """The mask of a product's quality layer for these classes or bits, or `default`; raises FatalError."""
    default = names.strip().lower() == "default"
    if source.quality == "SCL":
        return scl_mask(SCL_DEFAULT if default else names)
    return qa_mask(QA_DEFAULT if default else names)


def checked_grow(pixels: int) -> int:
    """Raises FatalError."""
    if not 0 <= pixels <= MAX_GROW:
        raise FatalError(f"a mask can be grown by 0 to {MAX_GROW} pixels, not {pixels}")
    return pixels


def write_mask(source: OpticalProduct, names: str, target: Path, *, grow: int = 0, area: BaseGeometry | None = None) -> None:
    """Write the mask of the product's quality layer as the COG `target`, on its own grid; raises FatalError where it has none."""
    mask = quality_mask(source, names)
    bands = source.product.chosen([source.quality])
    inputs = Inputs(bands, grid_for(bands), raw=frozenset(bands), halo=checked_grow(grow))

    def function(block: Block) -> NDArray[np.uint8]:
        pixels = mask(block.bands[source.quality])
        pixels[grown(pixels == MASKED, grow) & (pixels == CLEAR)] = MASKED
        return pixels

    tags = LayerTags("mask", NODATA, categorical=True, metadata={"MASKED": names or "none"})
    compute(inputs, function, target, tags, dtype="uint8", nodata=NODATA, area=area)
