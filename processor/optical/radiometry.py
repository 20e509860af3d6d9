"""Landsat digital numbers as physical values: reflectance, and temperature in kelvin.

Source: Landsat 8-9 Calibration and Validation Algorithm Description Document (LSDS-1747), sections 4.1 and 4.2. Level 2 is at the surface
and only scaled; Level 1 is at the top of the atmosphere: rho = (M Q + A) / sin(sun elevation), T = K2 / ln(K1 / L + 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.blocks import Block, Encoding, Inputs, compute
from processor.cog import LayerTags
from processor.optical.landsat import mtl_value
from processor.optical.opening import OpticalProduct, grid_for
from processor.optical.product import CATEGORICAL

THERMAL = ("B10", "B11")

Values = NDArray[np.float32]


@dataclass(frozen=True)
class PhysicalLayers:
    """What is wanted."""

    layers: tuple[str, ...]
    """Empty: every band but those of quality."""
    reflectance: Encoding
    temperature: Encoding
    workdir: Path
    pattern: str
    """Name of the files to write in `workdir`, with `*` for the layer."""
    area: BaseGeometry | None = None


def write_physical(source: OpticalProduct, wanted: PhysicalLayers) -> Iterator[str]:
    """Write the layers, yielding the name of each before its work begins; raises FatalError before the first if one is missing."""
    product = source.product
    if source.quality != "QA_PIXEL":
        raise FatalError(f"{product.name} is no Landsat product")
    names = wanted.layers or tuple(sorted(layer for layer in product.bands if layer not in CATEGORICAL))
    bands = product.chosen(names)
    values = {layer: _physical(layer, band.path, product.name) for layer, band in bands.items()}
    for layer, band in bands.items():
        yield layer
        encoding = wanted.temperature if layer in THERMAL else wanted.reflectance
        only = {layer: band}
        pixels = encoding.format
        tags = LayerTags(layer, pixels.nodata, encoding.scale, encoding.offset)
        target = wanted.workdir / wanted.pattern.replace("*", layer)
        function = _function(layer, values[layer], encoding)
        compute(Inputs(only, grid_for(only)), function, target, tags, dtype=pixels.dtype, nodata=pixels.nodata, area=wanted.area)


def _function(layer: str, physical: Callable[[Values], Values], encoding: Encoding) -> Callable[[Block], NDArray[np.generic]]:
    return lambda block: encoding.pixels(physical(block.bands[layer]))


def _physical(layer: str, path: Path, name: str) -> Callable[[Values], Values]:
    """What is left to do with the scaled values of a band."""
    if layer in CATEGORICAL:
        raise FatalError(f"{layer} holds flags: it has no physical value")
    if "_L2" in name.upper():
        return lambda values: values
    folder = path.parent
    if layer in THERMAL:
        band = int(layer[1:])
        k1, k2 = (mtl_value(folder, f"LEVEL1_THERMAL_CONSTANTS/K{k}_CONSTANT_BAND_{band}") for k in (1, 2))
        return lambda radiance: brightness_temperature(radiance, k1, k2)
    elevation = mtl_value(folder, "IMAGE_ATTRIBUTES/SUN_ELEVATION")
    return lambda values: reflectance_at_top(values, elevation)


def reflectance_at_top(values: Values, sun_elevation_deg: float) -> Values:
    """Scaled numbers of a Level 1 band (any shape) as reflectance at the top of the atmosphere."""
    if not 0 < sun_elevation_deg <= 90:
        raise FatalError(f"the sun's elevation of {sun_elevation_deg:g} degrees makes no reflectance")
    result: Values = values / np.float32(math.sin(math.radians(sun_elevation_deg)))
    return result


def brightness_temperature(radiance: Values, k1: float, k2: float) -> Values:
    """Radiance (W/(m2 sr um), any shape) as temperature at the top of the atmosphere in kelvin; NaN where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Values = np.where(radiance > 0, np.float32(k2) / np.log(np.float32(k1) / radiance + 1), np.nan).astype(np.float32)
    return result
