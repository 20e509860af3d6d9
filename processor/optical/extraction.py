"""From the bands of a product to layers: each requested band as one Cloud-Optimised GeoTIFF."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import rasterio
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.cog import LayerTags, Shift, write_cog
from processor.optical.product import CATEGORICAL, Band, Product

_IMAGES = frozenset({".tif", ".tiff", ".jp2"})


@dataclass(frozen=True)
class Extraction:
    """What is wanted of a product."""

    workdir: Path
    pattern: str
    """Name of the files to write in `workdir`, with `*` for the layer."""
    layers: tuple[str, ...] = ()
    """Empty: every band the product has."""
    area: BaseGeometry | None = None
    """EPSG:4326: cut to it."""
    harmonised_scale: float | None = None
    """Shift the pixels so that this scale and offset 0 hold, instead of leaving them and telling the offset."""

    def target(self, layer: str) -> Path:
        return self.workdir / self.pattern.replace("*", layer)


def extract(product: Product, wanted: Extraction) -> Iterable[str]:
    """Write the layers, yielding the name of each before its work begins; raises FatalError before the first if one is missing."""
    everything = [layer for layer, band in sorted(product.bands.items()) if band.path.suffix.lower() in _IMAGES]
    bands = {layer: product.band(layer) for layer in wanted.layers or everything}
    for layer, band in bands.items():
        if not band.path.is_file():
            raise FatalError(f"the file of band {layer} ({band.path.name}) is missing in {product.name}")
    for layer, band in bands.items():
        yield layer
        if wanted.pattern.endswith(".jp2"):
            _copy(layer, band, wanted)
        else:
            _write(layer, band, wanted)


def _write(layer: str, band: Band, wanted: Extraction) -> None:
    categorical = layer in CATEGORICAL
    if not categorical:
        band = _with_own_scaling(band)
    tags = LayerTags(layer, band.nodata, band.scale, band.offset, categorical)
    shift = None
    if wanted.harmonised_scale is not None and not categorical:
        shift = _shift(layer, band, wanted.harmonised_scale)
        tags = replace(tags, offset=0.0)
    write_cog(band.path, wanted.target(layer), tags, area=wanted.area, shift=shift)


def _copy(layer: str, band: Band, wanted: Extraction) -> None:
    """Graphs of the reference take the JPEG 2000 files as they are."""
    if band.path.suffix.lower() != ".jp2" or wanted.area is not None or wanted.harmonised_scale is not None:
        raise FatalError("layers with the extension jp2 are the product's own files, as they are; use tif to cut or harmonise them")
    shutil.copyfile(band.path, wanted.target(layer))


def _with_own_scaling(band: Band) -> Band:
    """`band`, with the scale and offset tags of its file where nothing else is known."""
    if band.scale is not None or band.offset is not None:
        return band
    with rasterio.open(band.path) as raster:
        scale, offset = raster.scales[0], raster.offsets[0]
    return band if (scale, offset) == (1.0, 0.0) else replace(band, scale=scale, offset=offset)


def _shift(layer: str, band: Band, scale: float) -> Shift | None:
    """What to add to the pixels so that `scale` and offset 0 hold. Valid pixels never become the no-data value 0."""
    if band.scale is None or not math.isclose(band.scale, scale, rel_tol=1e-6):
        raise FatalError(f"band {layer} cannot be harmonised: its scale is {band.scale}, not {scale}")
    value = (band.offset or 0.0) / scale
    if not math.isclose(value, round(value), abs_tol=1e-3):
        raise FatalError(f"band {layer} cannot be harmonised: its offset {band.offset} is no whole number of {scale}")
    return Shift(round(value), minimum=1) if round(value) else None
