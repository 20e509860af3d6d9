"""Packing folders into zips, and unpacking archives of others without trusting them.

Whatever an archive says, unpacking writes only below its target, only files and folders, and no more than the limits.
"""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import re
import shutil
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn, Protocol

from common.errors import FatalError, StorageError, TemporaryError
from common.storage.base import BLOCK, PART_PREFIX
from common.threads import NEVER, Stop

_PACKED_ALREADY = {
    ".jp2",
    ".j2k",
    ".tif",
    ".tiff",
    ".zip",
    ".gz",
    ".tgz",
    ".bz2",
    ".xz",
    ".zst",
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".parquet",
}
_UNIX = 3
_DRIVE = re.compile(r"[A-Za-z]:")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile)


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may hold."""

    total_bytes: int = 128 * 2**30
    members: int = 200_000
    ratio: float = 200.0
    """Unpacked to packed bytes, of the whole archive; imagery stays below 20."""
    ratio_from_bytes: int = 2**30
    """Smaller contents may have any ratio: a little file of zeros is no attack."""


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    """Declared, bytes."""
    is_folder: bool


def pack(root: Path, names: Iterable[str], target: Path, stop: Stop = NEVER) -> None:
    """Write the entries `names` of `root` (folders with all they hold) to the zip `target`.

    The same content gives the same bytes. Imagery is stored as it is, the rest deflated; symbolic links and unfinished writes are
    left out.
    """
    try:
        with zipfile.ZipFile(target, "w") as archive:
            for name in sorted(names):
                for path in _tree(root / name):
                    stop.check()
                    _add(archive, path, path.relative_to(root).as_posix(), stop)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _disk_error(error, f"{target.name} cannot be packed") from error
        raise


def unpack(
    archive: Path, target: Path, *, limits: ArchiveLimits | None = None, wanted: Callable[[str], bool] | None = None, stop: Stop = NEVER
) -> None:
    """Unpack a zip or tar (also gzip, bzip2, xz) into the new folder `target`, which appears whole or not at all; of its files only those
    that are `wanted`, by their names in the archive.

    Raises StorageError for a broken archive, FatalError for a hostile or an unsupported one, TemporaryError for a full disk.
    """
    part = target.with_name(f"{PART_PREFIX}{uuid.uuid4().hex}")
    try:
        part.mkdir(parents=True)
        _extract(archive, part, limits or ArchiveLimits(), wanted or _everything, stop)
        part.rename(target)
    except _BROKEN as error:
        raise StorageError(f"the archive {archive.name} is broken or cut short: {error}") from error
    except (NotImplementedError, RuntimeError) as error:
        raise FatalError(f"the archive {archive.name} cannot be unpacked: {error}") from error
    except OSError as error:
        raise _disk_error(error, f"the archive {archive.name} cannot be unpacked") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_archive(path: Path) -> bool:
    """Whether the file is a zip or a tar, by its content."""
    return _is_zip(path) or tarfile.is_tarfile(path)


def _tree(path: Path) -> Iterator[Path]:
    """`path` and all below it, in a fixed order."""
    if path.is_symlink() or path.name.startswith(PART_PREFIX):
        return
    yield path
    if path.is_dir():
        for child in sorted(path.iterdir(), key=lambda child: child.name):
            yield from _tree(child)


def _add(archive: zipfile.ZipFile, path: Path, name: str, stop: Stop) -> None:
    if path.is_dir():
        folder = zipfile.ZipInfo(name + "/", _EPOCH)
        folder.external_attr = (stat.S_IFDIR | 0o755) << 16 | 0x10
        archive.writestr(folder, b"")
        return
    member = zipfile.ZipInfo(name, _EPOCH)
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    member.compress_type = zipfile.ZIP_STORED if path.suffix.lower() in _PACKED_ALREADY else zipfile.ZIP_DEFLATED
    member.file_size = path.stat().st_size
    with path.open("rb") as reader, archive.open(member, "w", force_zip64=member.file_size > 2**31 - 2**20) as writer:
        while block := reader.read(BLOCK):
            stop.check()
            writer.write(block)


def _everything(_name: str) -> bool:
    return True


def _extract(path: Path, target: Path, limits: ArchiveLimits, wanted: Callable[[str], bool], stop: Stop) -> None:
    guard = _Guard(path, limits)
    if _is_zip(path):
        with zipfile.ZipFile(path) as archive:
            members = [(info, _zip_member(path, info)) for info in archive.infolist() if wanted(info.filename)]
            guard.check_declared(target, [member for _, member in members])
            for info, member in members:
                if member.is_folder:
                    guard.make_folder(target, member)
                else:
                    with archive.open(info) as reader:
                        guard.write(target, member, reader, stop)
    elif tarfile.is_tarfile(path):
        _extract_tar(path, target, guard, wanted, stop)
    else:
        raise StorageError(f"{path.name} is neither a zip nor a tar archive")


def _extract_tar(path: Path, target: Path, guard: _Guard, wanted: Callable[[str], bool], stop: Stop) -> None:
    with tarfile.open(path, "r:*") as archive:
        for info in archive:
            stop.check()
            if not wanted(info.name):
                continue
            member = _tar_member(path, info)
            if member.is_folder:
                guard.make_folder(target, member)
                continue
            reader = archive.extractfile(info)
            if reader is None:
                raise StorageError(f"the archive {path.name} holds '{member.name}' without content")
            with reader:
                guard.write(target, member, reader, stop)
        stream = archive.fileobj
        if isinstance(stream, io.BufferedReader):
            # The library takes a plain tar that ends early for a whole one.
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("its end is missing")
        elif stream is not None:
            guard.drain(stream, stop)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Guard:
    """Writes members below the target, and refuses what no honest archive holds."""

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        self._path = path
        self._packed = path.stat().st_size
        self._limits = limits
        self._total = 0
        self._count = 0
        self._files: set[tuple[str, ...]] = set()
        self._folders: set[tuple[str, ...]] = set()

    def check_declared(self, target: Path, members: Sequence[_Member]) -> None:
        """Of an archive with a table of contents: refuse it before anything is written."""
        self._check(len(members), sum(member.size for member in members))
        free = shutil.disk_usage(target).free
        if sum(member.size for member in members) > free:
            raise TemporaryError(f"the archive {self._path.name} needs more than the {free} bytes free in {target.parent}")

    def make_folder(self, target: Path, member: _Member) -> None:
        parts = self._place(member)
        self._folders.add(parts)
        target.joinpath(*parts).mkdir(parents=True, exist_ok=True)

    def write(self, target: Path, member: _Member, reader: IO[bytes], stop: Stop) -> None:
        parts = self._place(member)
        if parts in self._folders:
            self._refuse(member.name, "is there twice")
        self._files.add(parts)
        path = target.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with path.open("xb") as writer:
            while block := reader.read(BLOCK):
                stop.check()
                written += len(block)
                self._total += len(block)
                self._check(self._count, self._total)
                writer.write(block)
        if written != member.size:
            raise StorageError(f"the archive {self._path.name} is broken: '{member.name}' has {written} bytes instead of {member.size}")

    def drain(self, stream: _Readable, stop: Stop) -> None:
        """Read on to the end of a compressed stream: only there its checksum is compared."""
        while block := stream.read(BLOCK):
            stop.check()
            self._total += len(block)
            self._check(self._count, self._total)

    def _place(self, member: _Member) -> tuple[str, ...]:
        """The parts of the member's path below the target."""
        self._count += 1
        self._check(self._count, self._total)
        name = member.name
        if not name or "\0" in name or "\\" in name or name.startswith("/") or _DRIVE.match(name):
            self._refuse(name, "is no relative path")
        parts = PurePosixPath(name).parts
        if ".." in parts:
            self._refuse(name, "leads out of it")
        if not parts and not member.is_folder:
            self._refuse(name, "has no name")
        for length in range(1, len(parts)):
            if parts[:length] in self._files:
                self._refuse(name, "lies below a file")
            self._folders.add(parts[:length])
        if parts in self._files:
            self._refuse(name, "is there twice")
        return parts

    def _check(self, members: int, total: int) -> None:
        limits = self._limits
        if members > limits.members:
            raise FatalError(f"the archive {self._path.name} holds more than {limits.members} members: refused")
        if total > limits.total_bytes:
            raise FatalError(f"the archive {self._path.name} unpacks to more than {limits.total_bytes} bytes: refused")
        if total > limits.ratio_from_bytes and total > limits.ratio * self._packed:
            raise FatalError(f"the archive {self._path.name} unpacks to more than {limits.ratio:g} times its size: refused")

    def _refuse(self, name: str, why: str) -> NoReturn:
        raise FatalError(f"the archive {self._path.name} is refused: its member {name[:200]!r} {why}")


def _zip_member(path: Path, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == _UNIX else 0
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise FatalError(f"the archive {path.name} is refused: its member {info.filename[:200]!r} is neither a file nor a folder")
    # The library itself cuts a name at a NUL and hides it; what was written counts.
    return _Member(info.orig_filename, info.file_size, info.is_dir())


def _tar_member(path: Path, info: tarfile.TarInfo) -> _Member:
    if not (info.isfile() or info.isdir()):
        raise FatalError(f"the archive {path.name} is refused: its member {info.name[:200]!r} is neither a file nor a folder")
    return _Member(info.name, info.size, info.isdir())


def _is_zip(path: Path) -> bool:
    """By its beginning too: a zip cut short has lost the table of contents at its end."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06") or zipfile.is_zipfile(path)


def _disk_error(error: OSError, what: str) -> StorageError | TemporaryError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (TemporaryError if full else StorageError)(f"{what}: {error.strerror or error}")
