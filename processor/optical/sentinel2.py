"""Sentinel-2 Level-1C and Level-2A products in SAFE layout.

Sources: Sentinel-2 Products Specification Document 14.9, sections 3.10-3.12 (names), 4.6.1 (radiometric offset, from baseline 04.00).
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element

from common.errors import FatalError
from processor.optical.metadata import read_xml
from processor.optical.product import CATEGORICAL, Band, Product, of_scene, product_files

SCALE = 1e-4
"""Reflectance per digital number, unless the metadata say otherwise."""

NODATA = 0.0

_IMAGE = re.compile(r"_(?P<layer>B\d\d|B8A|SCL)(?:_(?P<resolution>\d\d)m)?\.jp2", re.IGNORECASE)
_BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""In the order of the `band_id` of the metadata."""


def open_safe(workdir: Path, scene: str) -> Product | None:
    """The SAFE product of `scene` in `workdir`, None where there is none; the finest resolution of every band.

    Raises FatalError where its metadata are broken.
    """
    metadata = of_scene(product_files(workdir, "MTD_MSIL[12]?.xml"), scene, workdir)
    if metadata is None:
        return None
    root = read_xml(metadata)
    quantification = _number(root, "QUANTIFICATION_VALUE", "BOA_QUANTIFICATION_VALUE")
    offsets = _offsets(root)
    bands = {}
    for layer, path in _images(metadata.parent).items():
        if layer in CATEGORICAL:
            bands[layer] = Band(path, nodata=NODATA)
        else:
            bands[layer] = Band(path, 1 / quantification, offsets.get(layer, 0.0) / quantification, NODATA)
    return Product(scene or metadata.parent.name, bands)


def default_band(layer: str, path: Path, source_id: str) -> Band:  # noqa: ARG001 - one signature for all sensors
    """A band of which nothing is known but its name: reflectance without offset."""
    return Band(path, nodata=NODATA) if layer in CATEGORICAL else Band(path, SCALE, 0.0, NODATA)


def _images(folder: Path) -> dict[str, Path]:
    finest: dict[str, tuple[int, Path]] = {}
    granules = {path.relative_to(folder).parts[1] for path in folder.glob("GRANULE/*/IMG_DATA")}
    if len(granules) > 1:
        raise FatalError(f"{folder.name} holds {len(granules)} granules; a product of one granule is expected")
    for path in folder.glob("GRANULE/*/IMG_DATA/**/*.jp2"):
        if match := _IMAGE.search(path.name):
            layer, resolution = match["layer"].upper(), int(match["resolution"] or 0)
            if layer not in finest or resolution < finest[layer][0]:
                finest[layer] = (resolution, path)
    return {layer: path for layer, (_, path) in finest.items()}


def _offsets(root: Element) -> dict[str, float]:
    """What is to be added to the digital numbers, by layer; empty before baseline 04.00."""
    offsets = {}
    for element in root.iter():
        if element.tag in ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET"):
            index = element.get("band_id", "")
            if not index.isdigit() or int(index) >= len(_BAND_IDS):
                raise FatalError(f"{element.tag} of the product metadata has band_id {index!r}")
            offsets[_BAND_IDS[int(index)]] = _float(element)
    return offsets


def _number(root: Element, *tags: str) -> float:
    for element in root.iter():
        if element.tag in tags:
            value = _float(element)
            if value > 0:
                return value
    raise FatalError(f"the product metadata have no {' or '.join(tags)}")


def _float(element: Element) -> float:
    try:
        return float(element.text or "")
    except ValueError:
        raise FatalError(f"{element.tag} of the product metadata is {element.text!r}, not a number") from None
