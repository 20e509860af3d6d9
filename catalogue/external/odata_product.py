"""From a product of an OData answer to a scene: name, date, footprint, the reference's tags, link to the product."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import shapely
from pydantic import JsonValue
from shapely.errors import ShapelyError
from shapely.geometry import mapping

from catalogue.external.filters import canonical_product_type
from catalogue.external.scene_facts import footprint_of, footprint_text, is_usable_name, polarisation_mode, product_name, relative_orbit_of
from catalogue.external.stac_item import BadItemError, Fields, maps_of, number_of, parse_time, text_of
from common.features import SceneData, SceneFeature, SceneMetadata
from common.product_names import Constellation, ProductName

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FOOTPRINT = re.compile(r"geography'SRID=4326;(?P<wkt>[^']+)'")
_S1_ORBIT_MS = 12 * 24 * 3600 * 1000 / 175
"""Duration of an orbit of Sentinel-1: 175 of them in 12 days."""
_MD5_MULTIHASH = "d50110"
"""Code and length before the digest of an MD5 (multiformats table)."""


@dataclass(frozen=True)
class ProductSource:
    """The catalogue a product was found in."""

    name: str
    url: str
    """Root of the API."""
    dated_by_publication: bool = False
    """Whether the `ingestionDate` tag is the date of publication, not of acquisition."""


def scene_of_product(document: JsonValue, source: ProductSource) -> SceneFeature:
    """The scene of a product; attributes that are missing are read from its name where that says them. Raises BadItemError.

    Beside the usual ones its metadata hold `processed` (when the product was made), `s3_path` (below the bucket `eodata`), `product_size`
    (bytes) and `product_checksum` (multihash) of the product as it is kept, and `online` where that is false.
    """
    if not isinstance(document, dict):
        raise BadItemError("it is not a JSON object")
    uuid = text_of(document, "Id")
    if not _UUID.fullmatch(uuid):
        raise BadItemError("its Id is not a UUID")
    source_id = text_of(document, "Name").removesuffix(".SAFE")
    if not is_usable_name(source_id):
        raise BadItemError("its Name is not usable as a name (letters, digits and _ . : -)")
    acquired = text_of(_map(document.get("ContentDate")), "Start")
    date = parse_time(acquired)
    if date is None:
        raise BadItemError("it has no ContentDate")
    footprint = footprint_of(geometry_of(document))
    attributes = _attributes(document.get("Attributes"))
    link = f"{source.url.rstrip('/')}/Products({uuid})"
    published = text_of(document, "PublicationDate") or text_of(document, "OriginDate")
    tags = {
        "sourceID": source_id,
        "uuid": uuid,
        "ingestionDate": (published if source.dated_by_publication else "") or acquired,
        "downloadURL": f"{link}/$value",
        **_tags(attributes, product_name(source_id)),
    }
    metadata = SceneMetadata.model_validate(
        {
            "uuid": uuid,
            "download_link": f"{link}/$value",
            "catalogue": source.name,
            "item": link,
            **_more(document, attributes),
        }
    )
    data = SceneData(date=date, metadata=metadata)
    return SceneFeature(
        source_id=source_id, data=data, tags={tag: text for tag, text in tags.items() if text}, wkt=footprint_text(footprint)
    )


def is_offline(scene: SceneFeature) -> bool:
    """Whether the catalogue says that the product must be restored from its archive first."""
    return (scene.data.metadata.model_extra or {}).get("online") is False


def geometry_of(document: Fields) -> JsonValue:
    """`GeoFootprint`, else the WKT of `Footprint`; raises BadItemError."""
    if document.get("GeoFootprint") is not None:
        return document["GeoFootprint"]
    match = _FOOTPRINT.fullmatch(text_of(document, "Footprint"))
    if match is None:
        return None
    try:
        geometry: JsonValue = _lists(mapping(shapely.from_wkt(match["wkt"])))
    except (ShapelyError, ValueError, AttributeError, KeyError) as error:
        raise BadItemError(f"its geometry cannot be read: {error}") from None
    return geometry


def _attributes(value: JsonValue) -> dict[str, JsonValue]:
    return {text_of(entry, "Name"): entry.get("Value") for entry in maps_of(value)}


def _tags(attributes: Fields, name: ProductName | None) -> dict[str, str]:
    constellation = name.constellation if name else None
    parts = name.parts if name else {}
    stated = text_of(attributes, "productType")
    named = parts.get("PRODUCT_TYPE") or parts.get("PRODUCT_LEVEL", "")
    kinds = [canonical_product_type(constellation, text) for text in (stated, named) if text] if constellation else []
    cloud_cover = number_of(attributes, "cloudCover")
    tags = {
        "constellation": constellation.value if constellation else "",
        "satellite": name.satellite if name else "",
        "productType": next(filter(None, kinds), stated),
        "orbitDirection": text_of(attributes, "orbitDirection").upper(),
        "relativeOrbit": _whole(attributes, "relativeOrbitNumber") or (relative_orbit_of(name) if name else ""),
        "orbit": _whole(attributes, "orbitNumber"),
        "cloudCoverPercentage": "" if cloud_cover is None else str(cloud_cover),
    }
    return tags | _radar_tags(attributes, parts, tags) if constellation is Constellation.SENTINEL1 else tags


def _radar_tags(attributes: Fields, parts: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    channels = re.findall(r"[VH]{2}", text_of(attributes, "polarisationChannels").upper())
    orbit = tags["orbit"] or str(int(parts["ORBIT"]))
    crossed = _crosses_node(attributes)
    last = {}
    if crossed is not None:
        last["lastOrbit"] = str(int(orbit) + crossed)
        if tags["relativeOrbit"]:
            last["lastRelativeOrbit"] = str((int(tags["relativeOrbit"]) - 1 + crossed) % 175 + 1)
    return {
        "orbit": orbit,
        "polarisationMode": polarisation_mode(channels or _POLARISATIONS.get(parts["POLARISATION"], ())),
        "sliceNumber": _whole(attributes, "sliceNumber"),
        **last,
    }


_POLARISATIONS = {
    "SH": ("HH",),
    "SV": ("VV",),
    "DH": ("HH", "HV"),
    "DV": ("VV", "VH"),
    "HH": ("HH",),
    "HV": ("HV",),
    "VV": ("VV",),
    "VH": ("VH",),
}
"""Of the two letters in the name (Sentinel-1 Product Specification, 3.4.1)."""


def _crosses_node(attributes: Fields) -> bool | None:
    """Whether the acquisition goes on beyond an ascending node, into the next orbit; None if its times are not given.

    They may be counted from the node before the datatake: a product after the crossing then begins later than an orbit lasts.
    """
    start = number_of(attributes, "startTimeFromAscendingNode")
    end = number_of(attributes, "completionTimeFromAscendingNode")
    return None if start is None or end is None else end < start or end // _S1_ORBIT_MS > start // _S1_ORBIT_MS


def _more(document: Fields, attributes: Fields) -> dict[str, JsonValue]:
    processed = parse_time(text_of(attributes, "processingDate", "productGeneration"))
    size = number_of(document, "ContentLength")
    sums = {text_of(entry, "Algorithm").upper(): text_of(entry, "Value").lower() for entry in maps_of(document.get("Checksum"))}
    md5 = sums.get("MD5", "")
    more: dict[str, JsonValue] = {
        "processed": processed.isoformat() if processed else None,
        "s3_path": text_of(document, "S3Path"),
        "product_size": int(size) if size else None,
        "product_checksum": f"{_MD5_MULTIHASH}{md5}" if re.fullmatch(r"[0-9a-f]{32}", md5) else None,
    }
    if document.get("Online") is False:
        more["online"] = False
    return {key: value for key, value in more.items() if value not in (None, "")}


def _whole(attributes: Fields, key: str) -> str:
    """A whole number as text, also where it is written `65.0` or `"007"`."""
    number = number_of(attributes, key)
    text = str(int(number)) if number is not None and float(number).is_integer() else text_of(attributes, key)
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 20 else ""


def _map(value: JsonValue) -> Fields:
    return value if isinstance(value, dict) else {}


def _lists(value: object) -> JsonValue:
    """Nested tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {str(key): _lists(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_lists(entry) for entry in value]
    return value if isinstance(value, str | int | float) else None
