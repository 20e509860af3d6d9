"""Annotations in S3: an archive, of which only ranges are read, or an unpacked SAFE below a prefix, as in the `eodata` bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from catalogue.sentinel1.annotations.files import MEMBERS, AnnotationFile, Collection, SceneName
from catalogue.sentinel1.annotations.remote import read_remote
from common.config import S3Settings
from common.storage.s3 import ObjectInfo, client_for, list_objects, object_info, read_object
from common.threads import Stop, in_thread

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".xml")


async def read_bucket(url: str, scene: SceneName, settings: S3Settings, *, anonymous: bool = False) -> list[AnnotationFile]:
    """The annotations of `scene` at `s3://bucket/key`: of an archive by its extension, else of a prefix with or without `annotation/`.

    Raises MissingFileError, AnnotationError, StorageError, and TemporaryError where trying later may help.
    """
    return await read_with(await in_thread(lambda _: client_for(settings, anonymous=anonymous)), url, scene)


async def read_with(client: S3Client, url: str, scene: SceneName) -> list[AnnotationFile]:
    """As `read_bucket`, with a client of its own."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not key.lower().endswith(_ARCHIVES):
        files = await in_thread(lambda stop: _read_prefix(client, bucket, key.rstrip("/"), scene, url, stop))
        if files:
            return files
    info = await in_thread(lambda _: object_info(client, bucket, key, uri=url))
    return await read_remote(_BucketFile(client, bucket, info, url), scene)


@dataclass(frozen=True)
class _BucketFile:
    """An object read by ranges."""

    client: S3Client
    bucket: str
    info: ObjectInfo
    where: str

    @property
    def size(self) -> int:
        return self.info.size

    async def read(self, start: int, stop: int) -> bytes:
        return await in_thread(lambda _: read_object(self.client, self.bucket, self.info, start, stop, uri=self.where))


def _read_prefix(client: S3Client, bucket: str, prefix: str, scene: SceneName, url: str, stop: Stop) -> list[AnnotationFile]:
    """None where nothing lies below the prefix."""
    for folder in (f"{prefix}/annotation/", f"{prefix}/"):
        found = list_objects(client, bucket, folder, uri=url, limit=4 * MEMBERS)
        collection = Collection(scene, url)
        wanted = [info for info in found if scene.holds(info.key)]
        for info in wanted:
            stop.check()
            collection.reserve(info.key, info.size)
            content = read_object(client, bucket, info, 0, info.size, uri=f"s3://{bucket}/{info.key}") if info.size else b""
            collection.put(info.key, content)
        if wanted or (found and folder.endswith("/annotation/")):
            return collection.files()
    return []
