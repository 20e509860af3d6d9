"""How the numbers of a file become physical values: physical = number * scale + offset. Decided here, once for each asset.

Sentinel-2 since processing baseline 04.00 stores reflectance with an offset of 1000 digital numbers (Sentinel-2 Products Specification
Document 14.9, RADIO_ADD_OFFSET and BOA_ADD_OFFSET). Some catalogues have taken it out of the pixels already, some say so, some say
neither. Landsat Collection 2 level 2: LSDS-1619, section 5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from catalogue.external.stac_item import StacAsset, StacItem, text_of
from common.product_names import Constellation, parse_product_name

_S2_SCALE = 0.0001
_S2_OFFSET = -0.1
_S2_OFFSET_BASELINE = 400
_S2_REFLECTANCE = re.compile(r"B(?:0[1-9]|1[0-2]|8A)")
_S2_MAP_SCALE = 0.001
"""Of aerosol thickness and water vapour (cm): AOT_QUANTIFICATION_VALUE and WVP_QUANTIFICATION_VALUE are 1000."""
_OFFSET_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")

_LANDSAT_REFLECTANCE = re.compile(r"B0[1-7]")
_LANDSAT_SR = (0.0000275, -0.2)
_LANDSAT_ST = (0.00341802, 149.0)
_LANDSAT_NODATA = {"QA_PIXEL": 1.0, "QA_AEROSOL": 1.0}


@dataclass(frozen=True)
class Radiometry:
    """Scale, offset and no-data value of a file; None: not known, or the numbers are classes."""

    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None


def radiometry(item: StacItem, asset: StacAsset, layer: str, constellation: Constellation | None, product: str, level: str) -> Radiometry:
    """The radiometry of the asset `layer` of the product named `product`, of product type `level` (`L2SP`)."""
    given = Radiometry(_float(asset, "scale"), _float(asset, "offset"), _float(asset, "nodata"))
    match constellation:
        case Constellation.SENTINEL2:
            return _sentinel2(item, given, layer, product)
        case Constellation.LANDSAT if level.startswith("L2"):
            return _landsat(given, layer)
    return given


def processing_baseline(item: StacItem, product: str) -> int | None:
    """Sentinel-2 processing baseline as a whole number (05.10 -> 510): the item's property, else the `Nxxyy` of the product name."""
    stated = text_of(item.properties, "s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
    match = re.fullmatch(r"(\d{1,2})\.(\d{2})", stated)
    if match:
        return int(match[1] + match[2])
    try:
        return int(parse_product_name(product).parts.get("PDGS", ""))
    except ValueError:
        return None


def _sentinel2(item: StacItem, given: Radiometry, layer: str, product: str) -> Radiometry:
    nodata = 0.0 if given.nodata is None else given.nodata
    if layer in ("AOT", "WVP"):
        # Never shifted; a catalogue that gives them the offset of the bands gives them the wrong scale too.
        scale = given.scale if given.scale is not None and not given.offset else _S2_MAP_SCALE
        return Radiometry(scale, 0.0, nodata)
    if not _S2_REFLECTANCE.fullmatch(layer):
        return Radiometry(None, None, given.nodata)
    return Radiometry(_S2_SCALE if given.scale is None else given.scale, _sentinel2_offset(item, given, product), nodata)


def _sentinel2_offset(item: StacItem, given: Radiometry, product: str) -> float | None:
    """The item's own flag, then the offset it gives, then the processing baseline; None if it says nothing of all."""
    if any(item.properties.get(flag) is True for flag in _OFFSET_APPLIED):
        return 0.0
    if given.offset is not None:
        return given.offset
    baseline = processing_baseline(item, product)
    if baseline is None:
        return None
    return _S2_OFFSET if baseline >= _S2_OFFSET_BASELINE else 0.0


def _landsat(given: Radiometry, layer: str) -> Radiometry:
    known: tuple[float, float] | None = None
    if _LANDSAT_REFLECTANCE.fullmatch(layer):
        known = _LANDSAT_SR
    elif layer == "B10":
        known = _LANDSAT_ST
    nodata = given.nodata
    if nodata is None:
        nodata = 0.0 if known else _LANDSAT_NODATA.get(layer)
    if known is None:
        return Radiometry(given.scale, given.offset, nodata)
    return Radiometry(known[0] if given.scale is None else given.scale, known[1] if given.offset is None else given.offset, nodata)


def _float(asset: StacAsset, name: str) -> float | None:
    value = asset.number(name)
    return None if value is None else float(value)
