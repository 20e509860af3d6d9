"""Storage in a folder, local or on a network file system."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from common.errors import PASSING_ERRNOS, MissingFileError, StorageError, TemporaryError
from common.messages import StoredFile
from common.storage.base import BLOCK, PART_PREFIX, checked_key, key_below
from common.threads import Stop, in_thread

_PART = re.compile(re.escape(PART_PREFIX) + "[0-9a-f]{32}")
"""The names that `part_of` gives, and no others."""


class DirectoryStorage:
    """Files below one folder, which is made with the first of them."""

    def __init__(self, root: str) -> None:
        self.root = root

    def uri(self, key: str) -> str:
        return f"{self.root.rstrip('/')}/{checked_key(key)}"

    async def put(self, source: Path, key: str) -> StoredFile:
        uri = self.uri(key)
        return await in_thread(lambda stop: _put(source, uri, stop))

    async def get(self, key: str, target: Path) -> None:
        uri = self.uri(key)
        await in_thread(lambda stop: _get(uri, target, stop))

    async def delete(self, uri: str) -> None:
        path = unquote(urlsplit(uri).path) if uri.startswith("file://") else uri
        file = Path(self.uri(key_below(self.root, path)))
        await in_thread(lambda _: self._remove(file))

    async def files(self, uri: str) -> list[str]:
        folder = Path(self.uri(key_below(self.root, uri)))
        return await in_thread(lambda _: _files(folder))

    async def discard_parts(self, before: datetime) -> int:
        return await in_thread(lambda stop: self._discard_parts(before, stop))

    async def exists(self, key: str) -> bool:
        path = Path(self.uri(key))
        return await in_thread(lambda _: path.is_file())

    def _discard_parts(self, before: datetime, stop: Stop) -> int:
        count = 0
        for folder, _, names in os.walk(self.root):
            stop.check()
            for part in (Path(folder) / name for name in names if _PART.fullmatch(name)):
                if _is_older(part, before):
                    self._remove(part)
                    count += 1
        return count

    def _remove(self, path: Path) -> None:
        """Delete a file, and the folders that are empty without it."""
        with disk_errors(f"{path} cannot be deleted"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
            root = Path(self.root)
            for folder in path.parents:
                if folder == root or not folder.is_relative_to(root):
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break  # not empty, or gone already


def _is_older(path: Path, moment: datetime) -> bool:
    """Whether it is a file that nobody has written to since `moment`."""
    with disk_errors(f"{path} cannot be looked at"), contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        return stat.S_ISREG(status.st_mode) and status.st_mtime < moment.timestamp()
    return False


def _files(folder: Path) -> list[str]:
    with disk_errors(f"{folder} cannot be listed"):
        return sorted(
            str(Path(parent) / name) for parent, _, names in os.walk(folder) for name in names if not name.startswith(PART_PREFIX)
        )


def _put(source: Path, uri: str, stop: Stop) -> StoredFile:
    target = Path(uri)
    with disk_errors(f"{target} cannot be written"):
        if not source.is_file():
            raise MissingFileError(str(source))
        size, sha256 = copy_whole(source, target, stop)
    return StoredFile(uri=uri, size=size, sha256=sha256)


def _get(uri: str, target: Path, stop: Stop) -> None:
    source = Path(uri)
    with disk_errors(f"{source} cannot be copied to {target}"):
        if not source.is_file():
            raise MissingFileError(uri)
        try:
            copy_whole(source, target, stop)
        except FileNotFoundError:
            raise MissingFileError(uri) from None


def copy_whole(source: Path, target: Path, stop: Stop) -> tuple[int, str]:
    """Copy a file so that `target` appears whole or not at all, even after a loss of power; its size in bytes and its sha256."""
    digest = hashlib.sha256()
    size = 0
    with source.open("rb", buffering=0) as reader, part_of(target) as part, part.open("wb", buffering=0) as writer:
        while block := reader.read(BLOCK):
            stop.check()
            digest.update(block)
            size += len(block)
            view = memoryview(block)
            while view:
                view = view[writer.write(view) :]
        os.fsync(writer.fileno())
    return size, digest.hexdigest()


@contextmanager
def part_of(target: Path) -> Iterator[Path]:
    """A temporary name beside `target` to write to: becomes `target` when the block ends well, and vanishes otherwise."""
    part = target.with_name(f"{PART_PREFIX}{uuid.uuid4().hex}")
    try:
        # A deletion next door may take an empty folder away between its making and its use.
        for _ in range(100):
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                target.parent.mkdir(parents=True, exist_ok=True)
                part.touch()
                break
        yield part
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """The rename itself reaches the disk; a file system that cannot do that is left as it is."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Trouble of the file system as an error that says what failed, temporary where time or room may mend it."""
    try:
        yield
    except OSError as error:
        kind = TemporaryError if error.errno in PASSING_ERRNOS else StorageError
        raise kind(f"{what}: {error.strerror or error}") from error
