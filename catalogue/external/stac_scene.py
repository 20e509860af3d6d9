"""From a STAC item to a scene: product name, date, footprint, the reference's tags, and links to the files by our layer names."""

from __future__ import annotations

import re
from decimal import Decimal
from urllib.parse import unquote, urljoin, urlsplit

from catalogue.external.asset_names import layer_name, preferred
from catalogue.external.filters import canonical_product_type
from catalogue.external.radiometry import radiometry
from catalogue.external.scene_facts import (
    footprint_of,
    footprint_text,
    is_usable_name,
    polarisation_mode,
    product_name,
    relative_orbit_of,
)
from catalogue.external.stac_item import BadItemError, Fields, StacAsset, StacItem, number_of, text_of, texts_of, time_of
from common.features import AssetLink, SceneData, SceneFeature, SceneMetadata
from common.product_names import Constellation, ProductName, constellation_of

_NAME_IN_PATH = re.compile(
    r"S1[A-D]_[A-Z0-9]{2}_[A-Z]{3}[FHM_]_\d[A-Z]{3}_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}_[0-9A-F]{6}_[0-9A-F]{4}"
    r"|S2[A-D]_MSIL\d[A-C]_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}_\d{8}T\d{6}"
    r"|L[COT]0[89]_L\w{3}_\d{6}_\d{8}_\d{8}_\d\d_[A-Z0-9]{2}"
)
_FETCHABLE = ("http", "https", "s3", "file")
_UUID = re.compile(r"Products\(([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\)")
_NUMBERS = {
    "cloudCoverPercentage": ("eo:cloud_cover",),
    "landCloudCoverPercentage": ("landsat:cloud_cover_land",),
    "sunAzimuth": ("view:sun_azimuth", "s2:mean_solar_azimuth", "eo:sun_azimuth"),
    "sunElevation": ("view:sun_elevation", "eo:sun_elevation"),
    "incidenceAngle": ("view:incidence_angle",),
    "incidenceAzimuth": ("view:azimuth",),
}
_TEXTS = {
    "orbit": ("sat:absolute_orbit",),
    "relativeOrbit": ("sat:relative_orbit",),
    "sliceNumber": ("s1:slice_number",),
}
_PROCESSED = ("processing:datetime", "s1:processing_datetime", "s2:generation_time", "landsat:product_generated")
_PUBLISHED = ("published", "created")


def scene_of(item: StacItem, *, catalogue: str, location: str = "") -> SceneFeature:
    """The scene of an item found in `catalogue`; relative links are resolved against `location`, else the item's own link.

    `ingestionDate` is the publication date, else the creation date of the item, else the acquisition date, written as the item gives it.
    Raises BadItemError.
    """
    date = time_of(item.properties, "datetime", "start_datetime")
    if date is None:
        raise BadItemError("it has no datetime")
    footprint = footprint_of(item.geometry)
    base = location or item.self_href
    source_id = _source_id(item)
    if not is_usable_name(source_id):
        raise BadItemError("its id is not usable as a name (letters, digits and _ . : -)")
    name = product_name(source_id)
    constellation = _constellation(item, name)
    tags = _tags(item, source_id, name, constellation)
    product = next((asset for asset in item.assets if asset.is_archive), None)
    assets = _links(item, base, constellation, source_id, tags.get("productType", ""))
    uuid = next((match[1] for asset in item.assets if (match := _UUID.search(asset.href))), "")
    download_link = absolute(product.href, base) if product else ""
    more = {"uuid": uuid, "downloadURL": download_link or ""}
    tags.update({tag: value for tag, value in more.items() if value})
    processed = time_of(item.properties, *_PROCESSED)
    metadata = SceneMetadata.model_validate(
        {
            "uuid": uuid,
            "download_link": download_link or "",
            "catalogue": catalogue,
            "item": base,
            "assets": assets,
            **({"processed": processed.isoformat()} if processed else {}),
        }
    )
    data = SceneData(date=date, metadata=metadata)
    return SceneFeature(source_id=source_id, data=data, tags=tags, wkt=footprint_text(footprint))


def absolute(href: str, base: str) -> str | None:
    """`href` as an absolute URI.

    None for one that nobody here can fetch, and for a local file named by a catalogue that is not itself local.
    """
    try:
        scheme = urlsplit(href).scheme.lower()
    except ValueError:
        return None
    if scheme:
        fetchable = scheme in _FETCHABLE and (scheme != "file" or base.startswith("file:"))
        return href if fetchable else None
    if base.startswith(("http://", "https://", "file:")):
        return urljoin(base, href)
    # urljoin knows no s3:// and would leave the link relative.
    scheme, separator, rest = base.partition("://")
    return f"{scheme}{separator}{urljoin('http://' + rest, href).removeprefix('http://')}" if separator else href


def _source_id(item: StacItem) -> str:
    """The product name: as a property, as the item's id, in the paths of its files; else the id."""
    for text in (text_of(item.properties, "s2:product_uri", "landsat:product_id", "s1:product_identifier", "sentinel:product_id"), item.id):
        match = _NAME_IN_PATH.match(text)
        if match:
            return text.removesuffix(".SAFE").removesuffix("_SR").removesuffix("_ST")
    for asset in sorted(item.assets, key=lambda asset: asset.key):
        match = _NAME_IN_PATH.search(unquote(asset.href))
        if match:
            return match[0]
    return item.id


def _constellation(item: StacItem, name: ProductName | None) -> Constellation | None:
    if name is not None:
        return name.constellation
    words = text_of(item.properties, "constellation", "platform", "eo:platform").lower().replace(" ", "-").replace("_", "-")
    if words in ("landsat-8", "landsat-9"):
        return Constellation.LANDSAT
    try:
        return constellation_of(words[:10])
    except ValueError:
        return None


def _tags(item: StacItem, source_id: str, name: ProductName | None, constellation: Constellation | None) -> dict[str, str]:
    properties = item.properties
    tags = {
        "sourceID": source_id,
        "constellation": constellation.value if constellation else "",
        "satellite": name.satellite if name else _satellite(properties),
        "ingestionDate": text_of(properties, *_PUBLISHED, "datetime", "start_datetime"),
        "productType": _product_type(properties, name, constellation),
        "orbitDirection": text_of(properties, "sat:orbit_state").upper(),
        "polarisationMode": polarisation_mode(texts_of(properties.get("sar:polarizations"))),
        **{tag: _whole(properties, keys) for tag, keys in _TEXTS.items()},
    }
    for tag, keys in _NUMBERS.items():
        value = number_of(properties, *keys)
        tags[tag] = "" if value is None else str(value)
    zenith = number_of(properties, "s2:mean_solar_zenith")
    if not tags["sunElevation"] and zenith is not None:
        tags["sunElevation"] = str(90 - Decimal(str(zenith)))
    if name is not None:
        tags["relativeOrbit"] = tags["relativeOrbit"] or relative_orbit_of(name)
    return {tag: value for tag, value in tags.items() if value}


def _whole(properties: Fields, keys: tuple[str, ...]) -> str:
    """A whole number as text, also where the item writes it `65.0` or `"007"`."""
    number = number_of(properties, *keys)
    text = str(int(number)) if number is not None and float(number).is_integer() else text_of(properties, *keys)
    return str(int(text)) if text.isascii() and text.isdigit() else ""


def _satellite(properties: Fields) -> str:
    """SENTINEL2A from `sentinel-2a`, LANDSAT08 from `landsat-8` or `LANDSAT_8`."""
    plain = re.sub(r"[-_ ]", "", text_of(properties, "platform", "eo:platform")).upper()
    match = re.fullmatch(r"LANDSAT(\d)", plain)
    return f"LANDSAT0{match[1]}" if match else plain


def _product_type(properties: Fields, name: ProductName | None, constellation: Constellation | None) -> str:
    stated = text_of(properties, "s2:product_type", "product:type", "sar:product_type", "landsat:correction", "landsat:processing_level")
    if constellation is not None:
        candidates = [stated]
        if name is not None:
            candidates += [name.parts.get(part, "") for part in ("PRODUCT_LEVEL", "PRODUCT_TYPE", "LEVEL")]
        for candidate in filter(None, candidates):
            canonical = canonical_product_type(constellation, candidate)
            if canonical:
                return canonical
    return stated


def _links(item: StacItem, base: str, constellation: Constellation | None, product: str, level: str) -> dict[str, AssetLink]:
    by_layer: dict[str, list[StacAsset]] = {}
    for asset in item.assets:
        by_layer.setdefault(layer_name(asset, constellation), []).append(asset)
    links: dict[str, AssetLink] = {}
    for layer in sorted(by_layer):
        asset = preferred(by_layer[layer])
        href = absolute(asset.href, base)
        if href is None:
            continue
        size = number_of(asset.fields, "file:size")
        values = radiometry(item, asset, layer, constellation, product, level)
        links[layer] = AssetLink(
            href=href,
            key=asset.key,
            media_type=asset.media_type,
            size=int(size) if size is not None and size >= 0 else None,
            checksum=text_of(asset.fields, "file:checksum") or None,
            scale=values.scale,
            offset=values.offset,
            nodata=values.nodata,
        )
    return links
