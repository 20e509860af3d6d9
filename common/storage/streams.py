"""Stored files as streams: read and written without a copy on this machine's disk, and links to read them elsewhere. All of it blocks."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from boto3.s3.transfer import TransferConfig

from common.errors import MissingFileError, StorageError
from common.storage.base import Storage, key_below
from common.storage.directory import DirectoryStorage, disk_errors, part_of
from common.storage.s3 import S3Storage, object_info, read_object, s3_errors
from common.threads import Stop

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BLOCK = 8 * 2**20
_PART = 16 * 2**20
_QUEUED = 2


@contextmanager
def opened(storage: Storage, uri: str) -> Iterator[IO[bytes]]:
    """The file at a URI of the storage, to read at any place. Raises MissingFileError, UserError for a URI outside of the storage."""
    key = key_below(storage.root, uri)
    if isinstance(storage, S3Storage):
        with io.BufferedReader(_BucketFile(storage.client, storage.bucket, storage.prefix + key, uri), _BLOCK) as file:
            yield file
        return
    path = local_file(storage, uri)
    with disk_errors(f"{uri} cannot be read"):
        try:
            plain = path.open("rb")
        except FileNotFoundError:
            raise MissingFileError(uri) from None
    with plain:
        yield plain


def local_file(storage: Storage, uri: str) -> Path:
    """Where a file of a storage that is a folder lies. Raises StorageError for another storage."""
    if not isinstance(storage, DirectoryStorage):
        raise StorageError(f"{uri} is not in a folder of this machine")
    return Path(storage.uri(key_below(storage.root, uri)))


def write_stream(storage: Storage, key: str, write: Callable[[IO[bytes]], None], stop: Stop) -> int:
    """Store what `write` writes, which goes forward only, as `key`; its size. The key is there whole or not at all."""
    uri = storage.uri(key)
    if isinstance(storage, S3Storage):
        return upload_stream(storage.client, storage.bucket, storage.prefix + key, write, stop, uri=uri)
    target = local_file(storage, uri)
    with disk_errors(f"{uri} cannot be written"), part_of(target) as part, part.open("wb") as file:
        counted = Counted(file, stop)
        write(cast("IO[bytes]", counted))
    return counted.size


def upload_stream(client: S3Client, bucket: str, key: str, write: Callable[[IO[bytes]], None], stop: Stop, *, uri: str) -> int:
    """Upload what `write` writes, in parts, with a few of them in memory; its size. What fails in `write` leaves no object behind."""
    pipe = _Pipe(stop)

    def run() -> None:
        try:
            write(cast("IO[bytes]", pipe))
            pipe.end(None)
        except BaseException as error:  # noqa: BLE001 - told to the one who reads
            pipe.end(error)

    writer = threading.Thread(target=run, name="writer of an upload", daemon=True)
    writer.start()
    config = forward_config()
    try:
        with s3_errors(client, bucket, uri):
            client.upload_fileobj(cast("IO[bytes]", pipe.reader), bucket, key, Config=config)
    finally:
        pipe.reader.abandon()
        writer.join()
    return pipe.size


def forward_config() -> TransferConfig:
    """For what is read once and in order: its parts wait in memory, no more of them than are on their way."""
    config = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=2)
    config.max_in_memory_upload_chunks = 2
    return config


def presigned(storage: Storage, uri: str, name: str, seconds: int) -> str | None:
    """A link to read the file with, good for some seconds and saved as `name`; None where the storage gives none."""
    if not isinstance(storage, S3Storage):
        return None
    key = storage.prefix + key_below(storage.root, uri)
    with s3_errors(storage.client, storage.bucket, uri):
        return storage.client.generate_presigned_url(
            "get_object",
            {"Bucket": storage.bucket, "Key": key, "ResponseContentDisposition": f'attachment; filename="{name}"'},
            ExpiresIn=seconds,
        )


class Counted:
    """A file to write to that counts, and stops when nobody waits any more."""

    def __init__(self, file: IO[bytes], stop: Stop) -> None:
        self._file = file
        self._stop = stop
        self.size = 0

    def write(self, block: bytes) -> int:
        self._stop.check()
        self._file.write(block)
        self.size += len(block)
        return len(block)

    def flush(self) -> None:
        self._file.flush()


class _BucketFile(io.RawIOBase):
    """An object that is read in ranges of one version of it."""

    def __init__(self, client: S3Client, bucket: str, key: str, uri: str) -> None:
        super().__init__()
        self._client, self._bucket, self._uri = client, bucket, uri
        self._info = object_info(client, bucket, key, uri=uri)
        self._place = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer will do
        stop = min(self._info.size, self._place + len(buffer))
        if stop <= self._place:
            return 0
        content = read_object(self._client, self._bucket, self._info, self._place, stop, uri=self._uri)
        buffer[: len(content)] = content
        self._place = stop
        return len(content)

    def readall(self) -> bytes:
        pieces: list[bytes] = []
        while self._place < self._info.size:
            buffer = memoryview(bytearray(min(_BLOCK, self._info.size - self._place)))
            pieces.append(bytes(buffer[: self.readinto(buffer)]))
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._place = max(0, {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._info.size}[whence] + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class _Pipe:
    """From a thread that writes to one that reads, a few blocks in between."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._blocks: list[bytes] = []
        self._collected = bytearray()
        self._changed = threading.Condition()
        self._ended = self._abandoned = False
        self._error: BaseException | None = None
        self.size = 0
        self.reader = _PipeReader(self)

    def write(self, block: bytes) -> int:
        self._stop.check()
        self._collected += block
        self.size += len(block)
        if len(self._collected) >= _BLOCK:
            self._push()
        return len(block)

    def flush(self) -> None:
        pass

    def end(self, error: BaseException | None) -> None:
        if error is None:
            self._push()
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def _push(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._blocks) < _QUEUED or self._abandoned)
            if self._abandoned:
                raise BrokenPipeError("nobody reads any more")
            self._blocks.append(bytes(self._collected))
            self._collected.clear()
            self._changed.notify_all()

    def pull(self) -> bytes:
        """The next block; empty at the end. Raises what the writer met."""
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self._ended)
            if self._error is not None:
                raise self._error
            block = self._blocks.pop(0) if self._blocks else b""
            self._changed.notify_all()
            return block

    def abandon(self) -> None:
        with self._changed:
            self._abandoned = True
            self._blocks.clear()
            self._changed.notify_all()


class _PipeReader:
    """The end that is read; not seekable, so that it is read once and in order."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        pieces: list[bytes] = []
        wanted = size if size >= 0 else 2**62
        while wanted > 0:
            if not self._left:
                self._left = self._pipe.pull()
                if not self._left:
                    break
            piece, self._left = self._left[:wanted], self._left[wanted:]
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)

    def abandon(self) -> None:
        self._pipe.abandon()
