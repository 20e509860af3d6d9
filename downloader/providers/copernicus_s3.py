"""Provider `copernicus-s3`: products in the bucket `eodata`, where each is a folder of files.

Source: Copernicus Data Space, "S3 access". The place of a product stands in the catalogue (`S3Path`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.odata_services import COPERNICUS
from common.storage.s3 import list_objects
from common.threads import in_thread
from downloader.providers.api import Api
from downloader.providers.base import NotOfferedError, Place, ProductRequest
from downloader.providers.odata import find_product
from downloader.providers.separate import ProductFile, fetch_safe
from downloader.transfer import Expectation

_ENDPOINT = "https://eodata.dataspace.copernicus.eu"
_REGION = "default"
_FILES = 20_000


class CopernicusS3Provider:
    """Needs an account of type `s3`."""

    def __init__(self, place: Place) -> None:
        provider = place.provider
        update = {"endpoint_url": provider.endpoint_url or _ENDPOINT, "region": provider.region or _REGION}
        self._place = replace(place, provider=provider.model_copy(update=update))
        self.name = place.name

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        place = str(request.more.get("s3_path") or "") or await self._look_up(request)
        bucket, _, prefix = place.strip("/").partition("/")
        if not bucket or not prefix:
            raise NotOfferedError(f"{request.scene.source_id}: its place in the bucket is not known ('{place[:200]}')")
        await fetch_prefix(self._place, f"s3://{bucket}/{prefix}/", f"{request.scene.source_id}.SAFE", request, folder)

    async def _look_up(self, request: ProductRequest) -> str:
        root = self._place.provider.catalogue_url or COPERNICUS.catalogue_url
        # The catalogue needs no login, and is to see no keys.
        plain = replace(self._place, provider=self._place.provider.model_copy(update={"account": ""}))
        async with Api(plain, root) as api:
            return (await find_product(api, root, request.scene.source_id)).place


async def fetch_prefix(place: Place, url: str, name: str, request: ProductRequest, folder: Path) -> None:
    """Everything wanted below `s3://bucket/prefix/` into the folder `name`. Raises NotOfferedError where there is nothing."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    async with place.transfer(request, url) as transfer:
        access = place.access()
        async with access.connection(url):
            client = await in_thread(lambda _: place.shared.s3_client(place.provider))
            found = await in_thread(lambda _: list_objects(client, bucket, prefix, uri=url, limit=_FILES, deep=True))
        sizes = {info.key.removeprefix(prefix): info for info in found if not info.key.endswith("/")}
        if not sizes:
            raise NotOfferedError(f"{url} holds nothing")
        files = [
            ProductFile(f"s3://{bucket}/{sizes[path].key}", f"{name}/{path}" if name else path, Expectation(size=sizes[path].size))
            for path in request.members.of(sorted(sizes), url)
        ]
        await fetch_safe(transfer, files, folder, request, parallel=place.provider.parallel, field=f"providers.{place.name}")
