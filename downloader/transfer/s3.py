"""A file of a bucket, read in ranges of one version of it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from common.errors import StorageError, TemporaryError
from common.storage.s3 import BUSY_CODES, REFUSED_CODES, s3_errors
from common.threads import in_thread
from common.urls import shown_url
from downloader.checksums import Checksum, etag_checksum, parts_checksum, parts_of_etag
from downloader.transfer.access import Access
from downloader.transfer.pace import Pace
from downloader.transfer.policy import Policy
from downloader.transfer.source import Answer, BusyError, ChangedError, RangesUnusableError, RefusedError, Span, Version

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BLOCK = 2**20
_CHANGED = {"PreconditionFailed", "412"}
_NO_RANGE = {"InvalidRange", "416"}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True)
class S3Access:
    """What all files of a provider share."""

    client: Callable[[], S3Client]
    """Called for every request: its keys may be new ones."""
    access: Access
    policy: Policy
    requester_pays: bool = False


class S3Source:
    """One object."""

    def __init__(self, url: str, shared: S3Access) -> None:
        self.url = url
        self._bucket, _, self._key = url.removeprefix("s3://").partition("/")
        self._shared = shared
        self._checksums: dict[str, tuple[Checksum, ...]] = {}
        """By the ETag they were made of."""

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Self]:
        async with self._shared.access.connection(self.url):
            yield self

    @asynccontextmanager
    async def open(self, span: Span | None, version: Version | None) -> AsyncIterator[Answer]:
        wanted = self._wanted()
        if span is not None:
            wanted["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        if version is not None and version.etag:
            wanted["IfMatch"] = version.etag
        client = self._shared.client()
        with self._errors(client, known=version is not None):
            found = await in_thread(lambda _: client.get_object(**wanted))
            body = found["Body"]
            try:
                start, stop, size = _range_of(found, span)
                yield Answer(
                    Version(size, found["ETag"], str(found.get("LastModified", ""))),
                    start,
                    stop,
                    span is not None,
                    self._chunks(body),
                    await self._checksums_of(client, found, size),
                )
            finally:
                body.close()

    async def _chunks(self, body: Any) -> AsyncGenerator[bytes, None]:
        pace = Pace(self._shared.policy, shown_url(self.url))
        while chunk := await in_thread(lambda _: body.read(_BLOCK)):
            yield chunk
            pace.came(len(chunk))

    async def _checksums_of(self, client: S3Client, found: Any, size: int) -> tuple[Checksum, ...]:
        """The MD5 its ETag is made of: of the whole, or of parts whose size the server tells."""
        etag = found["ETag"]
        if found.get("ServerSideEncryption", "AES256") != "AES256" or found.get("SSECustomerAlgorithm"):
            return ()
        if etag not in self._checksums:
            checksum = etag_checksum(etag)
            if checksum is None and parts_of_etag(etag) is not None:
                checksum = await self._parts_checksum(client, etag, size)
            self._checksums[etag] = (checksum,) if checksum else ()
        return self._checksums[etag]

    async def _parts_checksum(self, client: S3Client, etag: str, size: int) -> Checksum | None:
        try:
            first = await in_thread(lambda _: client.head_object(**self._wanted(), IfMatch=etag, PartNumber=1))
        except ClientError:
            return None
        return parts_checksum(etag, size, first["ContentLength"]) if first.get("PartsCount") == parts_of_etag(etag) else None

    def _wanted(self) -> Any:
        payer = {"RequestPayer": "requester"} if self._shared.requester_pays else {}
        return {"Bucket": self._bucket, "Key": self._key, **payer}

    @contextmanager
    def _errors(self, client: S3Client, *, known: bool) -> Iterator[None]:
        """Trouble of S3 as what the engine understands."""
        try:
            with s3_errors(client, self._bucket, self.url):
                yield
        except (StorageError, TemporaryError) as error:
            cause = error.__cause__
            code = str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""
            if code in _CHANGED:
                raise ChangedError from error
            if code in _NO_RANGE:
                raise (ChangedError if known else RangesUnusableError) from error
            if code in REFUSED_CODES:
                raise RefusedError(str(error), self.url, 403) from error
            if code in BUSY_CODES:
                raise BusyError(str(error), self.url) from error
            raise


def _range_of(found: Any, span: Span | None) -> tuple[int, int, int]:
    """Start, stop and size of the object."""
    length = found["ContentLength"]
    if span is None:
        return 0, length, length
    said = _CONTENT_RANGE.fullmatch(found.get("ContentRange", ""))
    if said is None or int(said[1]) != span[0] or int(said[2]) >= span[1]:
        raise RangesUnusableError
    return int(said[1]), int(said[2]) + 1, int(said[3])
