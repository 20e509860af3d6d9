"""All that the steps of a graph printed, in a file without a name, so that no step can read, change or leave it behind."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

MOST_BYTES = 32 * 2**20
"""Of the beginning; of what comes later the last lines are kept."""

_LAST_LINES = 1000
_LARGE = 64 * 2**10
"""From here on it is compressed."""


class StepRecord:
    """Takes lines until it is written out. A context manager."""

    def __init__(self, folder: Path) -> None:
        """The file lies in the file system of `folder`."""
        # Most print little: only what is large goes to the disk.
        self._file = tempfile.SpooledTemporaryFile(max_size=_LARGE, dir=str(folder))  # noqa: SIM115 - closed by __exit__
        self._size = 0
        self._skipped = 0
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    def __enter__(self) -> StepRecord:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    @property
    def is_empty(self) -> bool:
        return self._size == 0

    def heading(self, text: str) -> None:
        """A line of ours, with the time."""
        self.line(f"[{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}] {text}")

    def line(self, text: str) -> None:
        data = text.encode("utf-8", "replace") + b"\n"
        if self._size + len(data) > MOST_BYTES:
            self._skipped += 1
            self._last.append(text)
            return
        self._size += len(data)
        self._file.write(data)

    def write(self, folder: Path) -> Path:
        """The whole as a new file in `folder`: `steps.log`, or `steps.log.gz` where it is large."""
        left_out = self._skipped - len(self._last)
        if left_out:
            self._file.write(f"[{left_out} lines are left out]\n".encode())
        for text in self._last:
            self._file.write(text.encode("utf-8", "replace") + b"\n")
        size = self._file.tell()
        self._file.seek(0)
        path = folder / ("steps.log.gz" if size >= _LARGE else "steps.log")
        with gzip.open(path, "xb", compresslevel=6) if size >= _LARGE else path.open("xb") as target:
            shutil.copyfileobj(self._file, target)
        return path
