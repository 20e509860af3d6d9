"""Functions compiled to machine code by numba: where the compiled code is kept, and on how many processors it runs.

Import `compiled` and `parallel_range` from here, never numba itself: this module must come first, because numba reads its settings when it
is imported.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


def cache_folder() -> Path:
    """Where compiled code is kept: `NUMBA_CACHE_DIR`, else below the user's cache folder, else below the temporary folder.

    The program may be installed read-only, and compiling anew for every tile would take longer than the tile. What lies in the
    folder is run: a folder that somebody else owns or can write to is never used; the last resort is a new one of our own.
    """
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or (Path.home() / ".cache" if os.environ.get("HOME") else "")
    candidates = [Path(base) / "thresher" / "numba"] if base else []
    candidates.append(Path(tempfile.gettempdir()) / f"thresher-numba-{os.getuid()}")
    for folder in candidates:
        if _is_ours(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="thresher-numba-"))


def _is_ours(folder: Path) -> bool:
    """Whether `folder`, made if need be, is a folder only we can write to."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return mine and os.access(folder, os.W_OK)


os.environ["NUMBA_CACHE_DIR"] = str(cache_folder())
# Of numba's ways to share work among processors, the one that goes on after a fork: steps are forked from a process that has loaded them,
# and OpenMP ends such a process.
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

import numba  # noqa: E402 - it reads the lines above

_ALLOWED: int = getattr(numba.config, "NUMBA_NUM_THREADS")  # noqa: B009 - numba adds it when it is imported
"""`numba.get_num_threads` would start threads, in a process that others are forked from."""

parallel_range: Any = numba.prange
"""`range`, the loop's turns shared among the processors."""


def compiled(function: Function) -> Function:
    """`function` compiled on first use, its compiled code kept; loops over `range` stay on one processor."""
    return cast("Function", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def compiled_parallel(function: Function) -> Function:
    """As `compiled`, for functions that loop over `parallel_range`. Call them from one thread at a time."""
    return cast("Function", numba.njit(cache=True, nogil=True, error_model="numpy", parallel=True)(function))


def use_processors(count: int) -> int:
    """Run compiled loops on at most `count` processors (0: all this process may use); returns how many."""
    numba.set_num_threads(min(count, _ALLOWED) if count > 0 else _ALLOWED)
    return numba.get_num_threads()
