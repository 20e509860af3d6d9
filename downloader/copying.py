"""Local copies of products: sharing blocks where the file system can, never the file itself.

No links to the originals: a step that writes into its working copy must not change an archive.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from common.storage.base import BLOCK
from common.threads import Stop

_FICLONE = 0x40049409
"""Linux: share the blocks of a file until one of both is written to."""


def copy_tree(source: Path, target: Path, stop: Stop) -> None:
    """Copy a folder with all it holds; links are followed, permissions left behind. `target` must not exist."""
    target.mkdir(parents=True)
    for entry in sorted(source.iterdir()):
        stop.check()
        if entry.is_dir():
            copy_tree(entry, target / entry.name, stop)
        elif entry.is_file():
            copy_file(entry, target / entry.name, stop)


def link_tree(source: Path, target: Path, stop: Stop) -> None:
    """A second view of a working folder: own folders, the same files."""
    target.mkdir(parents=True)
    for entry in sorted(source.iterdir()):
        stop.check()
        if entry.is_dir():
            link_tree(entry, target / entry.name, stop)
        else:
            os.link(entry, target / entry.name, follow_symlinks=False)


def copy_file(source: Path, target: Path, stop: Stop) -> None:
    """Copy a file; on any failure there is no `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
            if _cloned(reader.fileno(), writer.fileno()):
                return
            while block := reader.read(BLOCK):
                stop.check()
                view = memoryview(block)
                while view:
                    view = view[writer.write(view) :]
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _cloned(source: int, target: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
