"""Sentinel-2 products as they lie in the buckets of Sinergise, put together again as SAFE folders, as their manifests list them.

Source: roda.sentinel-hub.com, "Sentinel-2 on AWS": `products/…` holds what concerns the whole, `tiles/…` the images under short names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from common.errors import ThresherError
from common.product_names import ProductName
from common.storage.s3 import ObjectInfo, list_objects, read_object
from common.threads import in_thread
from downloader.providers.base import NotOfferedError, Place, ProductRequest
from downloader.providers.separate import ProductFile, fetch_files
from downloader.safe_manifest import MANIFEST as _MANIFEST
from downloader.safe_manifest import read_manifest
from downloader.transfer import Expectation

_OBJECTS = 5_000
_DOCUMENT_BYTES = 16 * 2**20
_IMAGE = re.compile(r"(?P<band>B\d[\dA]|TCI|AOT|WVP|SCL)(?:_(?P<resolution>\d\dm))?\.jp2$")

Objects = Mapping[str, ObjectInfo]
"""By their keys below a prefix."""


class _Tile(BaseModel):
    path: str = Field(pattern=r"^tiles/[0-9A-Z/]+$")


class _Product(BaseModel):
    tiles: list[_Tile] = Field(min_length=1, max_length=1)


async def fetch_sentinel2(place: Place, bucket: str, name: ProductName, request: ProductRequest, folder: Path) -> None:
    """Raises NotOfferedError for a product that is not in the bucket, ThresherError where its images are not all there."""
    day = name.sensing_start
    prefix = f"products/{day.year}/{day.month}/{day.day}/{name.text}/"
    access, uri = place.access(), f"s3://{bucket}/{prefix}"

    async def listed(below: str) -> dict[str, ObjectInfo]:
        async with access.connection(uri):
            client = await in_thread(lambda _: place.shared.s3_client(place.provider))
            found = await in_thread(lambda _: list_objects(client, bucket, below, uri=uri, limit=_OBJECTS, deep=True))
        return {info.key.removeprefix(below): info for info in found}

    async def read(info: ObjectInfo) -> bytes:
        async with access.connection(uri):
            client = await in_thread(lambda _: place.shared.s3_client(place.provider))
            return await in_thread(lambda _: read_object(client, bucket, info, 0, info.size, uri=f"s3://{bucket}/{info.key}"))

    whole = await listed(prefix)
    if _MANIFEST not in whole or "productInfo.json" not in whole:
        raise NotOfferedError(f"{uri} does not exist")
    if max(whole[_MANIFEST].size, whole["productInfo.json"].size) > _DOCUMENT_BYTES:
        raise ThresherError(f"{uri}: its manifest is too large")
    try:
        tile = _Product.model_validate(json.loads(await read(whole["productInfo.json"]))).tiles[0].path.rstrip("/") + "/"
    except (ValidationError, ValueError):
        raise ThresherError(f"{uri}productInfo.json cannot be read") from None
    parts = await listed(tile)
    manifest = whole[_MANIFEST]
    files = [ProductFile(f"s3://{bucket}/{manifest.key}", f"{name.text}.SAFE/{_MANIFEST}", Expectation(manifest.size))]
    for path in request.members.of(_listed_in(await read(manifest), uri), uri):
        info = next((found[key] for found, key in _places(path, whole, parts) if key in found), None)
        if info is not None:
            files.append(ProductFile(f"s3://{bucket}/{info.key}", f"{name.text}.SAFE/{path}", Expectation(info.size)))
        elif "/IMG_DATA/" in path:
            raise ThresherError(f"{uri}: the image {path} is not in s3://{bucket}/{tile}")
    async with place.transfer(request, uri) as transfer:
        await fetch_files(transfer, files, folder, request, parallel=place.provider.parallel, field=f"providers.{place.name}")


def _listed_in(manifest: bytes, uri: str) -> list[str]:
    try:
        return [member.path for member in read_manifest(manifest) if member.path != _MANIFEST]
    except ValueError as error:
        raise ThresherError(f"{uri}{_MANIFEST} cannot be read: {error}") from None


def _places(path: str, whole: Objects, parts: Objects) -> Iterator[tuple[Objects, str]]:
    """Where the file of a SAFE folder may lie, the likeliest first."""
    *folders, name = path.split("/")
    if folders[:1] != ["GRANULE"]:
        yield whole, path
        if not folders and name.startswith("MTD_"):
            yield whole, "metadata.xml"
        yield whole, name.lower()
        if folders[:1] == ["DATASTRIP"]:
            inside = "/".join([*folders[2:], name])
            yield whole, "datastrip/0/" + ("metadata.xml" if name == "MTD_DS.xml" else inside.replace("QI_DATA/", "qi/"))
        return
    image = _IMAGE.search(name)
    match folders[2:3]:
        case ["IMG_DATA"] if image:
            resolution = f"R{image['resolution']}/" if image["resolution"] else ""
            yield parts, f"{resolution}{image['band']}.jp2"
        case ["QI_DATA"]:
            yield parts, f"qi/{name}"
            if name.endswith("_PVI.jp2"):
                yield parts, "qi/L2A_PVI.jp2"
                yield parts, "preview.jp2"
        case ["AUX_DATA"]:
            yield parts, f"auxiliary/{name}"
            yield parts, f"auxiliary/{name.removeprefix('AUX_')}"
        case _:
            yield parts, "metadata.xml" if name == "MTD_TL.xml" else name
