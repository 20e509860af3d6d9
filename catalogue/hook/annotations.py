"""Where the bursts of an order's own products lie: their annotations, read in the order's own source with its login, without the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from catalogue.hook.source_http import SourceReader
from catalogue.sentinel1.annotations.bucket import read_with
from catalogue.sentinel1.annotations.files import AnnotationError, AnnotationFile, Collection, SceneName
from catalogue.sentinel1.annotations.http import HttpLimits, HttpReader
from catalogue.sentinel1.annotations.nodes import read_nodes
from catalogue.sentinel1.annotations.remote import read_remote
from catalogue.sentinel1.annotations.sources import Wanted
from common.errors import ErrorKind, TemporaryError, ThresherError
from common.features import SceneFeature
from common.order_access import OrderAccess
from common.storage.foreign import foreign_client
from common.storage.s3 import S3Keys
from common.threads import in_thread

_FIELD = "source_catalogue_api_url"


@dataclass(frozen=True)
class OrderAnnotations:
    """`annotations.sources.AnnotationSource`: of a STAC item its annotations, or ranges of its archive; of an OData product its nodes, or
    ranges of the product; of either, in a bucket, the objects.
    """

    scenes: Sequence[SceneFeature]
    access: OrderAccess
    allowed: Sequence[str]
    """Prefixes of `limits.allowed_urls`; files of the deployment are no order's."""
    limits: HttpLimits

    @property
    def cache_suffix(self) -> None:
        """Nothing of a customer's is kept."""
        return None

    def check(self, wanted: Wanted) -> None:
        """Any scene may be asked about."""

    async def read(self, wanted: Wanted) -> list[AnnotationFile]:
        """Raises ThresherError naming the place, without secrets: the server is the customer's choice, and may repeat what was sent."""
        scene = next((each for each in self.scenes if each.source_id.removesuffix(".SAFE") == wanted.scene.text), None)
        if scene is None:
            raise AnnotationError(f"the source of the order does not know {wanted.scene.text}")
        bucket = self._bucket_link(scene, wanted.scene)
        if bucket:
            return await self._of_bucket(bucket, wanted.scene)
        allowed = [prefix for prefix in self.allowed if prefix.startswith(("http://", "https://"))]
        async with (
            SourceReader(allowed, self.access.login, self.access.origins) as source,
            HttpReader(allowed, _FIELD, self.limits, login=source.headers) as reader,
        ):
            with _told(source.hidden):
                return await self._over_http(scene, wanted.scene, reader)

    async def _over_http(self, scene: SceneFeature, name: SceneName, reader: HttpReader) -> list[AnnotationFile]:
        metadata = scene.data.metadata
        if links := _annotation_links(scene, name):
            collection = Collection(name, "the item of the product")
            for link in links:
                content = await reader.get(link)
                collection.reserve(_path(link), len(content))
                collection.put(_path(link), content)
            return collection.files()
        link = metadata.download_link
        if self.access.kind == "odata":
            root = self.access.products_url
            try:
                return await read_nodes(root, name, metadata.uuid, reader)
            except AnnotationError:
                link = f"{root.rstrip('/')}/Products({metadata.uuid})/$value"  # not every service lists nodes
        if not link:
            raise AnnotationError(f"the source of the order tells neither an archive nor annotations of {name.text}")
        file = await reader.open(link)
        return await read_remote(file, name, tail=file.tail)

    async def _of_bucket(self, link: str, name: SceneName) -> list[AnnotationFile]:
        login = self.access.bucket
        keys = S3Keys(SecretStr(login.access_key), SecretStr(login.secret_key)) if login is not None and login.access_key else None
        endpoint_url = login.endpoint_url if login is not None else ""
        client = await in_thread(lambda _: foreign_client(endpoint_url, keys, self.allowed, field="input_s3_endpoint_url"))

        def hidden(text: str) -> str:
            return text.replace(login.secret_key, "***").replace(login.access_key, "***") if login is not None and keys else text

        try:
            with _told(hidden):
                return await read_with(client, link, name)
        finally:
            client.close()

    def _bucket_link(self, scene: SceneFeature, name: SceneName) -> str:
        """Where the product lies in a bucket, as its downloader will look for it; empty where it does not."""
        metadata = scene.data.metadata
        place = (metadata.model_extra or {}).get("s3_path")
        if self.access.kind == "odata":
            return f"s3://{place.strip('/')}" if self.access.bucket is not None and isinstance(place, str) and place else ""
        link = next(iter(_annotation_links(scene, name)), metadata.download_link)
        return link.rpartition("/annotation/")[0] or link if link.startswith("s3://") else ""


@contextmanager
def _told(hidden: Callable[[str], str]) -> Iterator[None]:
    try:
        yield
    except ThresherError as error:
        kind = TemporaryError if error.kind is ErrorKind.TEMPORARY else AnnotationError
        raise kind(hidden(str(error))) from None


def _annotation_links(scene: SceneFeature, name: SceneName) -> list[str]:
    return [asset.href for asset in scene.data.metadata.assets.values() if name.holds(_path(asset.href).lstrip("/"))]


def _path(link: str) -> str:
    return unquote(urlsplit(link).path)
