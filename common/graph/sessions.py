"""The processes of a step are those of its session: how much memory they take together, and the end of them all.

Memory is watched, not limited by address space: that would break numba and memory-mapped files, which reserve far more than they use.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_TICK_S = 0.2
_COUNTED = ("Pss_Anon:", "Pss_Shmem:")
_ROUGHLY = ("RssAnon:", "RssShmem:")


class OverMemoryError(Exception):
    """A step took more memory than it may."""

    def __init__(self, used: int, limit: int) -> None:
        self.used, self.limit = used, limit
        super().__init__(f"{used // 2**20} MB of {limit // 2**20} MB")


async def watch_memory(session: int, limit: int) -> None:
    """Raise OverMemoryError as soon as the processes of `session` are seen to take more than `limit` bytes; else never return."""
    while True:
        used = await asyncio.to_thread(memory_of, session)
        if used > limit:
            raise OverMemoryError(used, limit)
        await asyncio.sleep(_TICK_S)


def memory_of(session: int) -> int:
    """Bytes that only these processes hold: what several share counts in parts, pages that stand in files not at all."""
    return sum(_memory(pid) for pid in members(session))


def members(session: int) -> Iterator[int]:
    """The processes of a session, zombies left out."""
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name of the program may hold anything, also blanks and brackets.
            state, _, _, of = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:4]
            if int(of) == session and state != b"Z":
                yield int(folder.name)


def kill_session(session: int) -> None:
    """Kill every process of a session of which nobody knows whether its leader still lives."""
    for pid in members(session):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_group(group: int) -> None:
    """Kill a group; only while its leader has not been reaped, so that its number cannot be anybody else's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _memory(pid: int) -> int:
    for name, keys in (("smaps_rollup", _COUNTED), ("status", _ROUGHLY)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = (_PROC / str(pid) / name).read_text().splitlines()
            found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(keys)]
            if found:
                return sum(found)
    return 0
