"""The folder of a scratch disk where partial files wait for the next try: of this worker, of another one, or after a crash.

It is looked after by everybody who uses it: what is old is removed, and so is, the oldest first, what stands in the way of new files.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from common.config import Settings
from common.errors import TemporaryError
from common.storage.base import PART_PREFIX
from downloader.transfer.partial import DATA, JOURNAL, Partial, kept_partial, lock_folder

log = logging.getLogger(__name__)

FOLDER = "thresher-partial"
_MAX_AGE_S = 3 * 86_400.0
_SWEEP_EVERY_S = 600.0
_SLOTS = 8
"""So many may fetch the same file at the same time, each into a partial file of its own."""
_SIGNATURE = re.compile(
    r"x-(amz|goog|ms)-.*|sv|ss|sr|srt|st|se|sp|spr|sip|sk[a-z]{1,4}|sig|signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid"
    r"|(access_?)?token",
    re.IGNORECASE,
)
"""Names in a query that sign a link for a while: they say nothing of the file."""


class Area:
    """The partial files below `root`. All methods block."""

    def __init__(self, root: Path, *, free_bytes: int = 0, max_age_s: float = _MAX_AGE_S) -> None:
        """Partial files that nobody uses are removed while less than `free_bytes` are free on the disk."""
        self.root = root
        self._free_bytes = free_bytes
        self._max_age_s = max_age_s
        self._swept = float("-inf")

    def open(self, scope: str, url: str) -> Partial | None:
        """The partial file for `url`, opened; `scope` tells apart what the same link may mean, as the name of the product. None where the
        area cannot be used.
        """
        if not self._is_ours():
            return None
        name = file_key(scope, url)
        for number in range(_SLOTS):
            try:
                partial = kept_partial(self.root / f"{name}.{number}", url)
            except OSError as error:
                log.warning("partial files cannot be kept in %s: %s", self.root, error)
                return None
            if partial is not None:
                try:
                    partial.open()
                except BaseException:
                    partial.discard()
                    raise
                return partial
        return None

    def sweep(self) -> None:
        """Remove what is old or in the way; does nothing for a while after the last time."""
        if time.monotonic() - self._swept < _SWEEP_EVERY_S:
            return
        self._swept = time.monotonic()
        self.make_room(self._free_bytes)

    def make_room(self, size: int) -> None:
        """Remove what is old, then, the oldest first, what nobody uses, until `size` bytes and those kept free are free."""
        oldest = time.time() - self._max_age_s
        for changed, folder in self._folders():
            if changed > oldest and shutil.disk_usage(self.root).free >= max(size, self._free_bytes):
                return
            lock = lock_folder(folder)
            if lock is None:
                continue
            log.info("removing a partial file: %s", folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def _folders(self) -> list[tuple[float, Path]]:
        """With the time of their last change, the oldest first."""
        if not self._is_ours(make=False):
            return []
        folders = [folder for folder in self.root.iterdir() if folder.is_dir() and not folder.is_symlink()]
        return sorted((max(_changed(path) for path in (folder, folder / DATA, folder / JOURNAL)), folder) for folder in folders)

    def _is_ours(self, *, make: bool = True) -> bool:
        """Whether the folder is one nobody else can write to: the system's temporary folder is everybody's."""
        try:
            if make:
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.root.lstat()
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def area_of(settings: Settings) -> Area:
    """That of the scratch disk."""
    scratch = settings.worker.scratch or Path(tempfile.gettempdir())
    return Area(scratch / FOLDER, free_bytes=2 * settings.worker.min_scratch_mb * 2**20)


def file_key(scope: str, url: str) -> str:
    """The same for every link to the same file, however it is signed."""
    parts = urlsplit(url)
    query = sorted((name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not _SIGNATURE.fullmatch(name))
    text = "\n".join((scope, parts.scheme, parts.netloc, parts.path, repr(query)))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def open_partial(area: Area | None, scope: str, url: str, target: Path) -> Partial:
    """A partial file in the area, else one beside the target."""
    partial = area.open(scope, url) if area is not None else None
    if partial is None:
        partial = Partial(target.with_name(f"{PART_PREFIX}{target.name}"), url)
        partial.open()
    return partial


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def check_room(folder: Path, size: int, reserve: int, area: Area | None) -> None:
    """Raises TemporaryError where `size` bytes do not fit on the disk of `folder`, also after what is in the way was removed."""
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < size + reserve and area is not None:
        area.make_room(size + reserve)
    free = shutil.disk_usage(folder).free
    if size + reserve > free:
        raise TemporaryError(f"{size} bytes are to be fetched, but only {free} are free in {folder}: the disk is full")
