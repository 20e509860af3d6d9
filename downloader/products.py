"""The shape of a fetched product: what an archive or a folder of someone's becomes in the working folder of a job."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from common.archives import is_archive, unpack
from common.storage import PART_PREFIX
from common.threads import Stop

_SAFE_MARKS = ("manifest.safe", "MTD_MSIL*.xml")
_DEPTH = 2


Wanted = Callable[[str], bool]
"""Whether a member of an archive is wanted, by its name."""


def place_archive(archive: Path, source_id: str, folder: Path, stop: Stop, *, wanted: Wanted | None = None) -> None:
    """Unpack a product into `folder`: as `{source_id}.SAFE` where it is one, else as it is packed."""
    unpacked = folder / f"{PART_PREFIX}{uuid.uuid4().hex}"
    try:
        unpack(archive, unpacked, wanted=wanted, stop=stop)
        safe = _safe_folder(unpacked, _DEPTH)
        if safe is not None:
            safe.rename(folder / f"{source_id}.SAFE")
            return
        for entry in unpacked.iterdir():
            entry.rename(folder / entry.name)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def place_file(path: Path, name: str, source_id: str, folder: Path, stop: Stop, *, wanted: Wanted | None = None) -> None:
    """Put a fetched file, which lies in `folder` under a temporary name, in its place: unpacked where it is an archive."""
    if is_archive(path):
        try:
            place_archive(path, source_id, folder, stop, wanted=wanted)
        finally:
            path.unlink(missing_ok=True)
    else:
        path.rename(folder / name)


def is_safe(folder: Path) -> bool:
    """Whether a folder is a product in the SAFE format."""
    return any(next(folder.glob(mark), None) is not None for mark in _SAFE_MARKS)


def _safe_folder(folder: Path, depth: int) -> Path | None:
    """The one folder in SAFE format in `folder`, itself included; None where there is none, or more than one."""
    if is_safe(folder):
        return folder
    if depth == 0:
        return None
    found = [safe for entry in sorted(folder.iterdir()) if entry.is_dir() and (safe := _safe_folder(entry, depth - 1)) is not None]
    return found[0] if len(found) == 1 else None
