"""Our names for the files of a product, whatever a catalogue calls them: `B02`, `SCL`, `QA_PIXEL`, `VV`, `granule_metadata`.

Sentinel-2 bands are B01..B12 and B8A; Landsat bands B01..B11 by the number of OLI and TIRS (B10 of a level-2 product is surface
temperature).
"""

from __future__ import annotations

import re

from catalogue.external.stac_item import StacAsset, text_of
from common.product_names import Constellation

_SENTINEL2 = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "cirrus": "B10",
    "swir16": "B11",
    "swir22": "B12",
}
_SENTINEL2_OTHER = {"scl": "SCL", "aot": "AOT", "wvp": "WVP", "visual": "TCI", "tci": "TCI", "cloud": "CLD", "snow": "SNW"}
_LANDSAT = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "nir08": "B05",
    "swir16": "B06",
    "swir22": "B07",
    "pan": "B08",
    "cirrus": "B09",
    "lwir": "B10",
    "lwir11": "B10",
    "lwir12": "B11",
}
_LANDSAT_OTHER = {
    "qa": "ST_QA",
    "sr_qa_aerosol": "QA_AEROSOL",
    **{name: name.upper() for name in ("qa_pixel", "qa_radsat", "qa_aerosol")},
    **{name: f"ST_{name.upper()}" for name in ("atran", "cdist", "drad", "urad", "trad", "emis", "emsd")},
    **{f"st_{name}": f"ST_{name.upper()}" for name in ("qa", "atran", "cdist", "drad", "urad", "trad", "emis", "emsd")},
}
_POLARISATIONS = {"vv", "vh", "hh", "hv"}
_PICTURES = {"thumbnail", "overview", "tiles"}

_SENTINEL2_BAND = re.compile(r"B(?:0?[1-9]|1[0-2]|8A)", re.IGNORECASE)
_LANDSAT_BAND = re.compile(r"(?:OLI_|TIRS_|SR_|ST_)?B(\d{1,2})", re.IGNORECASE)
_RESOLUTION = re.compile(r"_\d+m$", re.IGNORECASE)


def layer_name(asset: StacAsset, constellation: Constellation | None) -> str:
    """The name of an asset's layer; its own key in lower case, `-` as `_`, if it is none of the layers known."""
    plain = asset.key.lower().replace("-", "_")
    plain = plain.removesuffix(".tif").removesuffix("_jp2")
    picture = bool(asset.roles & _PICTURES) and plain not in ("visual", "tci")
    name: str | None = None
    if not picture:
        match constellation:
            case Constellation.SENTINEL2:
                name = _sentinel2(asset, _RESOLUTION.sub("", plain))
            case Constellation.LANDSAT:
                name = _landsat(asset, plain)
            case Constellation.SENTINEL1:
                name = plain.upper() if plain in _POLARISATIONS else None
    return name or ("ang" if plain == "ang.txt" else plain)


def preferred(assets: list[StacAsset]) -> StacAsset:
    """Of several files of one layer: the finest, then the one that can be read in part (GeoTIFF before JPEG 2000), then by key."""
    return min(assets, key=lambda asset: (asset.resolution, "tiff" not in asset.media_type, asset.key))


def _sentinel2(asset: StacAsset, plain: str) -> str | None:
    if plain in _SENTINEL2_OTHER:
        return _SENTINEL2_OTHER[plain]
    if _SENTINEL2_BAND.fullmatch(plain):
        return _sentinel2_band(plain)
    if len(asset.bands) == 1:
        name = text_of(asset.bands[0], "name").lower()
        if _SENTINEL2_BAND.fullmatch(name):
            return _sentinel2_band(name)
        if name in _SENTINEL2:
            return _SENTINEL2[name]
    if len(asset.bands) <= 1 and plain in _SENTINEL2:
        return _SENTINEL2[plain]
    common = text_of(asset.bands[0], "common_name", "eo:common_name").lower() if len(asset.bands) == 1 else ""
    return _SENTINEL2.get(common)


def _sentinel2_band(name: str) -> str:
    number = name[1:].upper()
    return "B8A" if number == "8A" else f"B{int(number):02d}"


def _landsat(asset: StacAsset, plain: str) -> str | None:
    if plain in _LANDSAT_OTHER:
        return _LANDSAT_OTHER[plain]
    names = [plain, *(text_of(band, "name") for band in asset.bands if len(asset.bands) == 1)]
    for name in names:
        match = _LANDSAT_BAND.fullmatch(name)
        if match and 1 <= int(match[1]) <= 11:
            return f"B{int(match[1]):02d}"
    if len(asset.bands) <= 1 and plain in _LANDSAT:
        return _LANDSAT[plain]
    common = text_of(asset.bands[0], "common_name", "eo:common_name").lower() if len(asset.bands) == 1 else ""
    return _LANDSAT.get(common)
