"""A STAC Item of a record and tile: its layers as assets, with grid, pixel format, statistics, size and checksum of each.

STAC 1.1.0 with the extensions projection 2.0.0, raster 2.0.0, file 2.1.0, processing 1.2.0, and, where the tags tell it, eo 2.0.0,
sat 1.2.0, sar 1.3.0 and view 1.1.0.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from catalogue.stac.properties import properties_of
from common.product_names import Constellation, ProductName, parse_product_name
from common.times import rfc3339

STAC_VERSION = "1.1.0"
ROOT = "thresher://service"
"""Stands for the address of the service in what is kept; see `documents.py`."""

GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
_MEDIA_TYPES = {".zip": "application/zip", ".png": "image/png", ".json": "application/json", ".nc": "application/netcdf"}
_EXTENSIONS = "https://stac-extensions.github.io/{}/schema.json"
_SHA256 = "1220"
"""Multihash: SHA2-256, 32 bytes."""
_INSTRUMENTS = {Constellation.SENTINEL1: ["c-sar"], Constellation.SENTINEL2: ["msi"], Constellation.LANDSAT: ["oli", "tirs"]}
_PUBLIC = ("https", "http", "s3")
_DECIMALS = 7


@dataclass(frozen=True)
class Layer:
    """A dataset, as far as an asset tells of it."""

    id: str
    layer: str
    variable: str
    instance: str
    description: str
    unit: str
    bands: tuple[str, ...]
    uri: str
    size: int
    sha256: str
    dtype: str
    nodata: float
    min_value: float
    max_value: float
    real_min: float
    real_max: float
    exponent: float
    epsg: int | None
    shape: tuple[int, int] | None
    transform: tuple[float, ...] | None
    statistics: tuple[Mapping[str, float | None], ...]
    indexed_at: datetime


@dataclass(frozen=True)
class ItemSource:
    """What an item is made of."""

    id: str
    aoi: str
    record: str
    """Name of the record."""
    tile: str
    time: datetime
    created: datetime
    updated: datetime
    tags: Mapping[str, str]
    footprint: BaseGeometry
    """EPSG:4326, split at the antimeridian."""
    layers: Sequence[Layer]
    source: Mapping[str, str | None] = field(default_factory=dict)
    """Scene, its STAC item and download link, the graphs."""


def item_of(source: ItemSource) -> dict[str, Any]:
    """The item as JSON; its links begin with `ROOT`."""
    assets = dict(_assets(source))
    properties = _properties(source, assets)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": sorted(_extensions(properties, assets)),
        "id": source.id,
        "collection": source.aoi,
        "geometry": mapping(shapely.set_precision(source.footprint, 10.0**-_DECIMALS, mode="pointwise")),
        "bbox": bbox_of(source.footprint),
        "properties": properties,
        "links": list(_links(source)),
        "assets": assets,
    }


def bbox_of(footprint: BaseGeometry) -> list[float]:
    """West, south, east, north; west is greater than east where the footprint crosses the antimeridian (RFC 7946, 5.2)."""
    west, south, east, north = footprint.bounds
    if west == -180 and east == 180 and footprint.geom_type == "MultiPolygon":
        parts = [part.bounds for part in getattr(footprint, "geoms", ())]
        western = [part for part in parts if part[0] > -180]
        eastern = [part for part in parts if part[2] < 180]
        if western and eastern and len(western) + len(eastern) == len(parts):
            west, east = min(part[0] for part in western), max(part[2] for part in eastern)
    return [round(value, _DECIMALS) for value in (west, south, east, north)]


def item_address(aoi: str, item_id: str) -> str:
    return f"{ROOT}/stac/collections/{quote(aoi, safe='')}/items/{quote(item_id, safe='')}"


def media_type(uri: str) -> str:
    """Of a layer's file, by its name."""
    return _MEDIA_TYPES.get(PurePosixPath(urlsplit(uri).path).suffix.lower(), GEOTIFF)


def file_name(uri: str) -> str:
    """The last part of a URI."""
    return uri.rsplit("/", 1)[-1]


def _assets(source: ItemSource) -> Iterator[tuple[str, dict[str, Any]]]:
    """By the name of the layer; layers of one name carry variable and instance, too."""
    counts = Counter(layer.layer for layer in source.layers)
    for layer in sorted(source.layers, key=lambda layer: (layer.layer, layer.variable, layer.instance)):
        key = layer.layer if counts[layer.layer] == 1 else f"{layer.layer}_{layer.variable}_{layer.instance}"
        yield key, _asset(layer)
    if any(media_type(layer.uri) == GEOTIFF for layer in source.layers):
        yield (
            "thumbnail",
            {
                "href": f"{item_address(source.aoi, source.id)}/thumbnail.png",
                "type": "image/png",
                "title": "Quick look",
                "roles": ["thumbnail"],
            },
        )


def _asset(layer: Layer) -> dict[str, Any]:
    kind = media_type(layer.uri)
    asset: dict[str, Any] = {
        "href": f"{ROOT}/cube/datasets/{layer.id}/{quote(file_name(layer.uri), safe='')}",
        "type": kind,
        "title": f"{layer.variable} ({layer.instance})",
        "roles": ["data"],
        "created": rfc3339(layer.indexed_at),
        "file:size": layer.size,
        "thresher:dataset": layer.id,
        "thresher:variable": layer.variable,
        "thresher:instance": layer.instance,
    }
    if layer.description:
        asset["description"] = layer.description
    if re.fullmatch(r"[0-9a-f]{64}", layer.sha256):
        asset["file:checksum"] = _SHA256 + layer.sha256
    if kind != GEOTIFF:
        return asset
    if layer.epsg is not None:
        asset["proj:code"] = f"EPSG:{layer.epsg}"
    if layer.shape is not None:
        asset["proj:shape"] = list(layer.shape)
    if layer.transform is not None:
        asset["proj:transform"] = list(layer.transform)
    asset["bands"] = [_band(layer, number) for number in range(max(len(layer.bands), len(layer.statistics), 1))]
    return asset


def _band(layer: Layer, number: int) -> dict[str, Any]:
    name = layer.bands[number] if number < len(layer.bands) else ""
    band: dict[str, Any] = {"name": name or (layer.layer if len(layer.bands) < 2 else f"{layer.layer}_{number + 1}")}
    if layer.dtype in _DTYPES:
        band["data_type"] = _DTYPES[layer.dtype]
    if not (math.isnan(layer.nodata) and not layer.dtype.startswith("float")):
        band["nodata"] = _figure(layer.nodata)
    if layer.unit:
        band["unit"] = layer.unit
    if layer.exponent == 1 and layer.max_value != layer.min_value:
        scale = (layer.real_max - layer.real_min) / (layer.max_value - layer.min_value)
        offset = layer.real_min - scale * layer.min_value
        if (scale, offset) != (1.0, 0.0) and math.isfinite(scale) and math.isfinite(offset):
            band |= {"raster:scale": float(f"{scale:.12g}"), "raster:offset": float(f"{offset:.12g}")}
    statistics = layer.statistics[number] if number < len(layer.statistics) else {}
    known = {key: value for key, value in statistics.items() if value is not None}
    if known:
        band["statistics"] = known
    return band


_DTYPES = {
    name: "cfloat32" if name == "complex64" else name
    for name in ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64", "complex64")
}


def _figure(value: float) -> float | int | str:
    if math.isfinite(value):
        return int(value) if value.is_integer() else value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _properties(source: ItemSource, assets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    properties = {
        "datetime": rfc3339(source.time),
        "title": source.id,
        "created": rfc3339(source.created),
        "updated": rfc3339(source.updated),
        **properties_of(source.tags),
        "processing:lineage": _lineage(source),
        "thresher:record": source.record,
        "thresher:tile": source.tile.split("@")[0],
    }
    name = _product_name(source.record)
    if name is not None:
        properties |= _of_product(name, source.tags)
    grids = {(asset["proj:code"]) for asset in assets.values() if "proj:code" in asset}
    if len(grids) == 1:
        properties["proj:code"] = grids.pop()
    sizes = {min(abs(layer.transform[0]), abs(layer.transform[4])) for layer in source.layers if layer.transform and _in_metres(layer.epsg)}
    if sizes and min(sizes) > 0:
        properties["gsd"] = min(sizes)
    return properties


def _of_product(name: ProductName, tags: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if name.constellation in _INSTRUMENTS:
        found["instruments"] = _INSTRUMENTS[name.constellation]
    polarisations = tags.get("polarisationMode", "").split()
    if name.constellation is Constellation.SENTINEL1:
        found |= {"sar:instrument_mode": name.parts["MODE"], "sar:frequency_band": "C", "sar:center_frequency": 5.405}
        if polarisations and all(each in ("HH", "VV", "HV", "VH") for each in polarisations):
            found["sar:polarizations"] = sorted(set(polarisations))
    return found


def _product_name(text: str) -> ProductName | None:
    try:
        return parse_product_name(text)
    except ValueError:
        return None


def _in_metres(epsg: int | None) -> bool:
    """Whether the grid is one of UTM, as the layers of the library are; others may count in degrees or feet."""
    return epsg is not None and (32601 <= epsg <= 32660 or 32701 <= epsg <= 32760)


def _lineage(source: ItemSource) -> str:
    text = f"Made by Thresher from {source.source.get('scene') or source.record}"
    graphs = [source.source.get(key) for key in ("scene_graph", "tile_graph")]
    told = ", ".join(f"{kind} graph {name}" for kind, name in zip(("scene", "tile"), graphs, strict=True) if name)
    return f"{text}: {told}" if told else text


def _extensions(properties: Mapping[str, Any], assets: Mapping[str, Mapping[str, Any]]) -> set[str]:
    found = {_EXTENSIONS.format("processing/v1.2.0")}
    versions = {"eo": "v2.0.0", "sat": "v1.2.0", "sar": "v1.3.0", "view": "v1.1.0"}
    found |= {
        _EXTENSIONS.format(f"{prefix}/{version}")
        for prefix, version in versions.items()
        if any(key.startswith(f"{prefix}:") for key in properties)
    }
    keys = {key for asset in assets.values() for key in asset}
    if any(key.startswith("file:") for key in keys):
        found.add(_EXTENSIONS.format("file/v2.1.0"))
    if any(key.startswith("proj:") for key in keys):
        found.add(_EXTENSIONS.format("projection/v2.0.0"))
    bands = [band for asset in assets.values() for band in asset.get("bands", ())]
    if any("raster:scale" in band for band in bands):
        found.add(_EXTENSIONS.format("raster/v2.0.0"))
    return found


def _links(source: ItemSource) -> Iterator[dict[str, str]]:
    collection = f"{ROOT}/stac/collections/{quote(source.aoi, safe='')}"
    yield {"rel": "self", "type": "application/geo+json", "href": item_address(source.aoi, source.id)}
    yield {"rel": "parent", "type": "application/json", "href": collection}
    yield {"rel": "collection", "type": "application/json", "href": collection}
    yield {"rel": "root", "type": "application/json", "href": f"{ROOT}/stac"}
    href = _public(source.source.get("item")), _public(source.source.get("download_link"))
    if href[0]:
        yield {"rel": "derived_from", "type": "application/geo+json", "href": href[0], "title": str(source.source.get("scene") or "")}
    elif href[1]:
        yield {"rel": "derived_from", "href": href[1], "title": str(source.source.get("scene") or "")}


def _public(link: str | None) -> str:
    """A link without what may be a signature; empty where it is no address others can open."""
    parts = urlsplit(link or "")
    if parts.scheme not in _PUBLIC or parts.username or parts.password:
        return ""
    return parts._replace(query="", fragment="").geturl()
