"""What the graphs of an item made, as files under the names the customer sees: zips of folders opened, single files as they are."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from catalogue.hook.orders import OutputFile
from common.errors import StorageError
from common.storage import Storage
from common.storage.streams import opened

_EPOCH = (1980, 1, 1, 0, 0, 0)
_BLOCK = 2**20
_DEFLATED = (".xml", ".json", ".txt", ".html", ".csv", ".xsd", ".safe", ".kml", ".dim", ".prj")


@dataclass(frozen=True)
class Entry:
    """A file for the customer."""

    path: str
    """With folders, relative, without `..`."""
    size: int | None
    """Bytes; None: it is not said before it is read."""
    open: Callable[[], IO[bytes]]


def write_zip(entries: Iterator[Entry], target: IO[bytes]) -> None:
    """All entries in one zip, written forward only. The same entries give the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.path, _EPOCH)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED if entry.path.lower().endswith(_DEFLATED) else zipfile.ZIP_STORED
            # The size is written after the content: in the larger form wherever it may be needed.
            large = entry.size is None or entry.size > 2**31 - 2**20
            with entry.open() as source, archive.open(info, "w", force_zip64=large) as member:
                shutil.copyfileobj(source, member, _BLOCK)


def entries_of(files: Sequence[OutputFile], storage_of: Callable[[str], Storage], product: str) -> Iterator[Entry]:
    """The files one after the other, each to be read before the next is asked for. What has no folder of its own stands in one that is
    named as the product. Raises StorageError for an archive that is none, or has members outside of its folder.
    """
    seen: set[str] = set()
    for file in files:
        with opened(storage_of(file.uri), file.uri) as source:
            for entry in _members(source, file, product) if file.packed else [_single(source, file, product)]:
                if entry.path not in seen:
                    seen.add(entry.path)
                    yield entry


def _single(source: IO[bytes], file: OutputFile, product: str) -> Entry:
    source.seek(0, 2)
    size = source.tell()
    source.seek(0)
    return Entry(_safe_path(f"{product}/{file.name}"), size, lambda: source)


def _members(source: IO[bytes], file: OutputFile, product: str) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(source) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            within = f"{file.within}/" if file.within else ""
            names = {member.filename: member.filename.removeprefix(within) for member in members if member.filename.startswith(within)}
            folder = "" if file.folder and _is_below(names.values(), file.folder) else f"{file.folder or product}/"
            for member in members:
                if member.filename in names:
                    yield Entry(_safe_path(folder + names[member.filename]), member.file_size, _opener(archive, member))
    except zipfile.BadZipFile as error:
        raise StorageError(f"{file.uri} is no zip: {error}") from error


def _is_below(names: Iterable[str], folder: str) -> bool:
    """Whether all lie in one folder of that name, with or without a suffix (`.SAFE`)."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    return len(tops) == 1 and (top := tops.pop()) != "" and (top == folder or top.startswith(f"{folder}."))


def _opener(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(member)


def _safe_path(path: str) -> str:
    parts = path.split("/")
    if any(part in ("", ".", "..") or not part.isprintable() or "\\" in part for part in parts):
        raise StorageError(f"{path[:100]!r} cannot be the name of a file for a customer")
    return path
