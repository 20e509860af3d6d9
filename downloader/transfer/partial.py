"""A file that is not whole yet: its bytes, and a journal beside it that says which of them are there and of which version.

A line of the journal is written after the bytes it speaks of, and counts with the end of the line: so a process may be killed between
any two lines of this. What a machine that went down had not yet brought to its disk is not known; after that the file is begun anew.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from common.storage.directory import disk_errors
from common.threads import NEVER
from common.urls import shown_url
from downloader.copying import copy_file
from downloader.transfer.ranges import Ranges
from downloader.transfer.source import Version

DATA, JOURNAL, LOCK = "data", "journal", "lock"
_FLAGS = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_LARGEST_JOURNAL = 32 * 2**20


class Head(BaseModel):
    """The first line of the journal, JSON. Those after it are `{start} {stop}` of bytes that are there, or `sealed {time}`."""

    model_config = ConfigDict(extra="forbid")

    format: int = 1
    url: str
    """For people; without its secrets."""
    boot: str
    """Of the machine: what was written before it started is not relied upon."""
    size: int = Field(ge=0)
    etag: str = ""
    modified: str = ""


class Partial:
    """The bytes of one file, held by one process alone. All but the properties block."""

    def __init__(self, data: Path, url: str, *, journal: Path | None = None, lock: int | None = None) -> None:
        """Without `journal` it is gone with its owner."""
        self.path = data
        self.done = Ranges()
        self.version = Version()
        self._url = shown_url(url)
        self._journal = journal
        self._lock = lock
        self._file: int | None = None
        self._log: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is known how large the file will be."""
        return self.version.size is not None

    @property
    def is_complete(self) -> bool:
        return self.version.size is not None and self.done.total == self.version.size

    @property
    def is_kept(self) -> bool:
        """Whether it outlives its owner."""
        return self._journal is not None

    def open(self) -> None:
        """Take up what an earlier run left, where it can be relied upon."""
        with self._disk():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | _FLAGS, 0o600)
            if self._journal is not None:
                self._log = os.open(self._journal, os.O_RDWR | os.O_APPEND | _FLAGS, 0o600)
            if not self._load():
                self.reset()

    def reset(self) -> None:
        """Forget all of it. The journal goes first: it must never speak of bytes that are not there."""
        with self._disk():
            if self._log is not None:
                os.ftruncate(self._log, 0)
            self.done, self.version = Ranges(), Version()
            os.ftruncate(self._descriptor, 0)

    def begin(self, version: Version) -> None:
        """Make room for all bytes of `version`."""
        self.version = version
        if version.size is None:
            return  # what cannot be resumed needs no journal
        with self._disk():
            if version.size:
                _allocate(self._descriptor, version.size)
            self._write_head(version.size)

    def write(self, offset: int, blocks: Sequence[bytes]) -> int:
        """Write blocks one after the other; the number of bytes. They count once `add` is told of them."""
        total = sum(len(block) for block in blocks)
        with self._disk():
            written = os.pwritev(self._descriptor, blocks, offset)
            if written != total:  # a disk that runs full, or a signal, may cut a write short
                rest = memoryview(b"".join(blocks))[written:]
                while rest:
                    count = os.pwrite(self._descriptor, rest, offset + total - len(rest))
                    rest = rest[count:]
            if self.is_known:
                self._note(f"{offset} {offset + total}")
        return total

    def add(self, start: int, stop: int) -> None:
        self.done.add(start, stop)

    def end(self) -> None:
        """The size was not known until now: it is what came."""
        self.version = Version(self.done.stop, self.version.etag, self.version.modified)

    def read(self, offset: int, size: int) -> bytes:
        with self._disk():
            return os.pread(self._descriptor, size, offset)

    def hand_out(self, target: Path) -> None:
        """Give the whole file its name; one that is kept can be handed out again until it is discarded."""
        with disk_errors(f"{target} cannot be written"):
            os.ftruncate(self._descriptor, self.version.size or 0)
            os.fchmod(self._descriptor, 0o644)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self.is_kept:
                self.path.replace(target)
                return
            self._seal()
            target.unlink(missing_ok=True)
            try:
                os.link(self.path, target)
            except OSError:  # another disk, or one without links
                copy_file(self.path, target, NEVER)

    def discard(self) -> None:
        """Remove it, then close it: nobody can have begun to use it in between."""
        if self.is_kept:
            shutil.rmtree(self.path.parent, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        self._close()

    def leave(self) -> None:
        """Close it, and keep for the next what can be kept."""
        if not self.is_kept or not self.done.total or not self.is_known:
            self.discard()
        else:
            self._close()

    def forget(self) -> None:
        """Remove one that was left, unless somebody else has taken it up."""
        folder = self.path.parent
        if not self.is_kept or not folder.is_dir():
            return
        with contextlib.suppress(OSError):
            lock = lock_folder(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)

    def _load(self) -> bool:
        """Take up what the journal says; False where that cannot be relied upon."""
        if self._log is None:
            return False
        head_line, *lines = os.pread(self._log, _LARGEST_JOURNAL, 0).split(b"\n")
        try:
            head = Head.model_validate_json(head_line)
            done, sealed = _read_lines(lines[:-1])  # what follows the last end of a line was cut off
        except ValueError:
            return False
        now = os.fstat(self._descriptor)
        if head.format != 1 or head.boot != _boot() or head.size != now.st_size or done.stop > head.size:
            return False
        if sealed is not None and sealed != now.st_mtime_ns:
            return False  # somebody wrote to what was handed out
        self.version = Version(head.size, head.etag, head.modified)
        self.done = done
        if lines and lines[-1]:
            self._write_head(head.size, done)
        return True

    def _write_head(self, size: int, done: Ranges | None = None) -> None:
        if self._log is None:
            return
        head = Head(url=self._url, boot=_boot(), size=size, etag=self.version.etag, modified=self.version.modified)
        lines = [head.model_dump_json(), *(f"{start} {stop}" for start, stop in (done.spans if done else ()))]
        os.ftruncate(self._log, 0)
        self._note("\n".join(lines))

    def _seal(self) -> None:
        self._write_head(self.version.size or 0, self.done)
        self._note(f"sealed {os.fstat(self._descriptor).st_mtime_ns}")

    def _note(self, line: str) -> None:
        if self._log is not None:
            os.write(self._log, line.encode() + b"\n")

    def _close(self) -> None:
        for descriptor in (self._file, self._log, self._lock):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)  # with that of the lock the lock is gone
        self._file = self._log = self._lock = None

    @property
    def _descriptor(self) -> int:
        if self._file is None:
            raise RuntimeError("a partial file is to be opened before it is used")
        return self._file

    def _disk(self) -> contextlib.AbstractContextManager[None]:
        return disk_errors(f"{self.path} cannot be written")


def _read_lines(lines: Sequence[bytes]) -> tuple[Ranges, int | None]:
    """The spans that are there, and the time of a seal; ValueError for anything else."""
    done, sealed = Ranges(), None
    for line in lines:
        first, second = line.split(b" ")
        if first == b"sealed":
            sealed = int(second)
            continue
        start, stop = int(first), int(second)
        if not 0 <= start < stop:
            raise ValueError(f"no span: {start} {stop}")
        done.add(start, stop)
    return done, sealed


def lock_folder(folder: Path) -> int | None:
    """The descriptor of the lock of `folder`, which is made; None while another process or another task holds it."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / LOCK
        try:
            descriptor = os.open(path, os.O_RDWR | _FLAGS, 0o600)
        except FileNotFoundError:
            continue  # removed by its last owner in this very moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # what was locked is no longer there: try the new one


def kept_partial(folder: Path, url: str) -> Partial | None:
    """The partial file of a folder, which outlives its owner; None while somebody else has it."""
    lock = lock_folder(folder)
    return Partial(folder / DATA, url, journal=folder / JOURNAL, lock=lock) if lock is not None else None


def _allocate(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.ftruncate(descriptor, size)


@cache
def _boot() -> str:
    """Names the time since this machine was started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
