"""Storage in a bucket of S3, or of a server that speaks its protocol."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import UNSIGNED
from botocore import exceptions as botocore_errors
from botocore.config import Config
from pydantic import SecretStr
from s3transfer.exceptions import RetriesExceededError

from common.config import S3Settings
from common.errors import MissingFileError, StorageError, TemporaryError, ThresherError
from common.messages import StoredFile
from common.storage.base import checked_key, key_below
from common.storage.directory import disk_errors, part_of
from common.threads import Stop, in_thread

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MULTIPART_BYTES = 16 * 2**20
"""Files from this size on are sent in parts."""

_PART_BYTES = 8 * 2**20
_MAX_PARTS = 9_000
_CONCURRENCY = 4
_NETWORK = (botocore_errors.ConnectionError, botocore_errors.HTTPClientError, botocore_errors.IncompleteReadError, RetriesExceededError)
BUSY_CODES = {
    "SlowDown",
    "ServiceUnavailable",
    "InternalError",
    "RequestTimeout",
    "Throttling",
    "ThrottlingException",
    "500",
    "502",
    "503",
    "504",
}
REFUSED_CODES = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "401", "403"}
_MISSING = {"NoSuchKey", "404", "NotFound"}


class S3Storage:
    """Files below a prefix of a bucket. A single put and the completion of a multipart upload are atomic in S3."""

    def __init__(self, bucket: str, prefix: str, client: S3Client) -> None:
        self.root = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.client = client

    def uri(self, key: str) -> str:
        return f"{self.root}/{checked_key(key)}"

    async def put(self, source: Path, key: str) -> StoredFile:
        uri = self.uri(key)
        return await in_thread(lambda stop: self._put(source, self.prefix + key, uri, stop))

    async def get(self, key: str, target: Path) -> None:
        uri = self.uri(key)
        await in_thread(lambda stop: download_object(self.client, self.bucket, self.prefix + key, target, stop, uri=uri))

    async def delete(self, uri: str) -> None:
        key = self.prefix + key_below(self.root, uri)
        await in_thread(lambda _: self._delete(key, uri))

    async def files(self, uri: str) -> list[str]:
        prefix = self.prefix + key_below(self.root, uri) + "/"
        return await in_thread(lambda _: self._files(prefix, uri))

    async def discard_parts(self, before: datetime) -> int:
        return await in_thread(lambda stop: self._discard_parts(before, stop))

    async def exists(self, key: str) -> bool:
        uri = self.uri(key)
        return await in_thread(lambda _: self._exists(self.prefix + key, uri))

    def _put(self, source: Path, key: str, uri: str, stop: Stop) -> StoredFile:
        if not source.is_file():
            raise MissingFileError(str(source))
        size = source.stat().st_size
        config = TransferConfig(
            multipart_threshold=MULTIPART_BYTES, multipart_chunksize=max(_PART_BYTES, size // _MAX_PARTS), max_concurrency=_CONCURRENCY
        )
        with disk_errors(f"{source} cannot be read"), s3_errors(self.client, self.bucket, uri), source.open("rb") as file:
            reader = _HashingReader(file, stop)
            self.client.upload_fileobj(cast("IO[bytes]", reader), self.bucket, key, Config=config)
        return StoredFile(uri=uri, size=reader.size, sha256=reader.digest.hexdigest())

    def _delete(self, key: str, uri: str) -> None:
        with s3_errors(self.client, self.bucket, uri):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def _files(self, prefix: str, uri: str) -> list[str]:
        with s3_errors(self.client, self.bucket, uri):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return sorted(f"s3://{self.bucket}/{entry['Key']}" for page in pages for entry in page.get("Contents", []))

    def _discard_parts(self, before: datetime, stop: Stop) -> int:
        with s3_errors(self.client, self.bucket, self.root):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self.prefix)
            uploads = [upload for page in pages for upload in page.get("Uploads", []) if upload["Initiated"] < before]
            for upload in uploads:
                stop.check()
                # It may have come to its end since.
                with suppress(self.client.exceptions.NoSuchUpload):
                    self.client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        return len(uploads)

    def _exists(self, key: str, uri: str) -> bool:
        try:
            with s3_errors(self.client, self.bucket, uri):
                self.client.head_object(Bucket=self.bucket, Key=key)
        except MissingFileError:
            return False
        return True


def download_object(
    client: S3Client, bucket: str, key: str, target: Path, stop: Stop, *, uri: str, progress: Callable[[int], None] | None = None
) -> None:
    """Write an object to the file `target`, whole or not at all; `progress` is told every number of bytes that came.

    Raises MissingFileError.
    """

    def came(size: int) -> None:
        stop.check()
        if progress:
            progress(size)

    config = TransferConfig(multipart_threshold=MULTIPART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=_CONCURRENCY)
    with (
        disk_errors(f"{uri} cannot be written to {target}"),
        s3_errors(client, bucket, uri),
        part_of(target) as part,
        part.open("wb") as file,
    ):
        client.download_fileobj(bucket, key, file, Config=config, Callback=came)


@dataclass(frozen=True)
class ObjectInfo:
    """What a bucket says of an object; `etag` changes with its content."""

    key: str
    size: int
    etag: str


def object_info(client: S3Client, bucket: str, key: str, *, uri: str) -> ObjectInfo:
    """Size and version of an object; raises MissingFileError."""
    with s3_errors(client, bucket, uri):
        head = client.head_object(Bucket=bucket, Key=key)
    return ObjectInfo(key, head["ContentLength"], head["ETag"])


def read_object(client: S3Client, bucket: str, info: ObjectInfo, start: int, stop: int, *, uri: str) -> bytes:
    """The bytes [start, stop) of an object; raises TemporaryError where it is no longer the one of `info`."""
    try:
        with s3_errors(client, bucket, uri):
            answer = client.get_object(Bucket=bucket, Key=info.key, Range=f"bytes={start}-{stop - 1}", IfMatch=info.etag)
            content = answer["Body"].read(stop - start + 1)
    except StorageError as error:
        cause = error.__cause__
        if isinstance(cause, botocore_errors.ClientError) and cause.response["Error"].get("Code") in ("PreconditionFailed", "412"):
            raise TemporaryError(f"{uri} changed while it was read") from error
        raise
    if len(content) != stop - start:
        raise TemporaryError(f"{uri}: {len(content)} bytes came instead of {stop - start}")
    return content


def list_objects(client: S3Client, bucket: str, prefix: str, *, uri: str, limit: int, deep: bool = False) -> list[ObjectInfo]:
    """The objects directly below `prefix` (which ends with a slash), or `deep` below it, the first `limit` of them."""
    found: list[ObjectInfo] = []
    with s3_errors(client, bucket, uri):
        paginator = client.get_paginator("list_objects_v2")
        pages = (
            paginator.paginate(Bucket=bucket, Prefix=prefix) if deep else paginator.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        )
        for page in pages:
            found += [ObjectInfo(entry["Key"], entry["Size"], entry["ETag"]) for entry in page.get("Contents", [])]
            if len(found) >= limit:
                break
    return found[:limit]


@dataclass(frozen=True)
class S3Keys:
    """Keys of an S3 server."""

    key_id: SecretStr
    secret_key: SecretStr
    session_token: SecretStr | None = None


def _new_client(endpoint_url: str, region: str, anonymous: bool, keys: S3Keys | None, requester_pays: bool) -> S3Client:
    config = Config(
        # Links would be signed with version 2 otherwise, which few servers still take.
        signature_version=UNSIGNED if anonymous else "s3v4",
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 5},
        max_pool_connections=32,
        # Servers other than Amazon's know neither the newer checksums nor bucket host names; the signed payload proves the content.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": True, "addressing_style": "path" if endpoint_url else "auto"},
    )
    session = Session()
    if keys is not None:
        token = keys.session_token.get_secret_value() if keys.session_token else None
        session = Session(keys.key_id.get_secret_value(), keys.secret_key.get_secret_value(), token)
    client = session.client("s3", endpoint_url=endpoint_url or None, region_name=region or None, config=config)
    if requester_pays:
        for operation in ("GetObject", "HeadObject", "ListObjectsV2"):
            client.meta.events.register(f"provide-client-params.s3.{operation}", _paying)  # type: ignore[arg-type]  # what it returns counts
    return client


def _paying(params: dict[str, object], **_: object) -> dict[str, object]:
    return {**params, "RequestPayer": "requester"}


_making = threading.Lock()
_client = lru_cache(maxsize=32)(_new_client)


def client_for(settings: S3Settings, *, anonymous: bool = False, keys: S3Keys | None = None, requester_pays: bool = False) -> S3Client:
    """The one client for an endpoint, safe to share between threads. Without `keys`: those of the usual places of AWS."""
    with _making:
        return _client(settings.endpoint_url, _region(settings), anonymous, keys, requester_pays)


def new_client(settings: S3Settings, *, anonymous: bool = False, keys: S3Keys | None = None) -> S3Client:
    """A client that is not shared, for keys that are to be forgotten with it."""
    with _making:
        return _new_client(settings.endpoint_url, _region(settings), anonymous, keys, requester_pays=False)


def _region(settings: S3Settings) -> str:
    return settings.region or ("us-east-1" if settings.endpoint_url else "")


class _HashingReader:
    """Reads a file once, in order, counting and hashing; not seekable, so that it is never read twice."""

    def __init__(self, file: IO[bytes], stop: Stop) -> None:
        self._file = file
        self._stop = stop
        self.size = 0
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        self._stop.check()
        block = self._file.read(size)
        self.size += len(block)
        self.digest.update(block)
        return block


@contextmanager
def s3_errors(client: S3Client, bucket: str, uri: str) -> Iterator[None]:
    """Trouble of S3 as an error of ours that says what failed and where."""
    try:
        yield
    except botocore_errors.ClientError as error:
        raise _as_error(client, bucket, uri, error) from error
    except (botocore_errors.NoCredentialsError, botocore_errors.PartialCredentialsError) as error:
        raise StorageError(f"{uri}: there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role") from error
    except _NETWORK as error:
        refusal = error.kwargs.get("error") if isinstance(error, botocore_errors.HTTPClientError) else None
        if isinstance(refusal, ThresherError):
            raise refusal from None
        raise TemporaryError(f"{uri}: {client.meta.endpoint_url} does not answer: {error}") from error
    except botocore_errors.BotoCoreError as error:
        raise StorageError(f"{uri}: {error}") from error


def _as_error(client: S3Client, bucket: str, uri: str, error: botocore_errors.ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    where = client.meta.endpoint_url
    if code == "NoSuchBucket" or (code in _MISSING and not _has_bucket(client, bucket)):
        return StorageError(f"{uri}: the bucket '{bucket}' does not exist at {where}: create it or correct the storage URI")
    if code in _MISSING:
        return MissingFileError(uri)
    if code in BUSY_CODES:
        return TemporaryError(f"{uri}: {where} is busy ({code})")
    if code in REFUSED_CODES:
        return StorageError(f"{uri}: {where} refuses access ({code}): check the credentials and the policy of the bucket '{bucket}'")
    return StorageError(f"{uri}: {where}: {error}")


def _has_bucket(client: S3Client, bucket: str) -> bool:
    """Whether it is there; so taken where that cannot be asked (the missing file is then the likelier story)."""
    try:
        client.head_bucket(Bucket=bucket)
    except botocore_errors.ClientError as error:
        return str(error.response.get("Error", {}).get("Code", "")) not in {"404", "NoSuchBucket", "NotFound"}
    except botocore_errors.BotoCoreError:
        return True
    return True
