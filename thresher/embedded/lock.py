"""The lock on a data directory: one stack at a time; the system releases it however its holder ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thresher.embedded.process import EmbeddedError


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the lock of `data_dir`. Raises EmbeddedError that names the process that holds it."""
    file = data_dir / "lock"
    # Opened for appending: the text of another holder must stay until the lock is ours.
    with file.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise EmbeddedError(
                f"{data_dir} is in use by another 'thresher up' (process {holder}): stop it, or choose another --data-dir"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)
