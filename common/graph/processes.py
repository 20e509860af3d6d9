"""One process in a group of its own: its output line by line, and nothing left of it when it ends, times out or is cancelled."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.graph.sessions import kill_group, watch_memory

MAX_LINE = 16_384
"""Bytes; a longer line is cut into pieces."""

_DRAIN_S = 5.0


async def run_process(
    command: Sequence[str],
    *,
    workdir: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    on_line: Callable[[str], None],
    memory_bytes: int | None = None,
) -> int:
    """Run `command` in `workdir` and return its exit code (negative: the signal that killed it).

    Standard output and error come together, in order. When the process has ended, and also on cancellation, after `timeout_s`
    (TimeoutError) and with more than `memory_bytes` (OverMemoryError), its whole group is killed, so that no descendant writes on.
    Raises OSError where it cannot be started.
    """
    reading, writing = os.pipe()
    try:
        # Not by the event loop: uvloop runs Python in the forked child, which may wait for ever for a lock that a thread held at the fork.
        # This forks, sets up and executes in C; it takes about a millisecond.
        process = subprocess.Popen(  # noqa: ASYNC220
            command,
            cwd=workdir,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    lines = asyncio.ensure_future(read_lines(reading, on_line))
    try:
        await supervised(_ended(process), process.pid, timeout_s, memory_bytes)
    finally:
        kill_group(process.pid)
        await settled(_reap(process, lines))
    return process.returncode


async def supervised(end: Coroutine[Any, Any, None], session: int, timeout_s: float, memory_bytes: int | None) -> None:
    """Wait for the end of a step; raises TimeoutError, or OverMemoryError where its session takes too much."""
    ended = asyncio.ensure_future(end)
    watch = asyncio.ensure_future(watch_memory(session, memory_bytes)) if memory_bytes else None
    watched = [ended, watch] if watch else [ended]
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
        elif watch:
            watch.result()
    finally:
        for task in watched:
            task.cancel()
        await asyncio.wait(watched)
        for task in watched:
            # Both may have ended at once; what nobody asks for would be complained about.
            task.cancelled() or task.exception()


async def settled(work: Coroutine[Any, Any, None]) -> None:
    """Carry out `work` even while being cancelled: the working directory is removed as soon as we return."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
    task.result()


async def drained(lines: asyncio.Future[None]) -> None:
    """Wait for the last lines. A descendant that left the group may hold the pipe open for ever."""
    await asyncio.wait([lines], timeout=_DRAIN_S)
    lines.cancel()
    await asyncio.wait([lines])


async def readable(descriptor: int) -> None:
    """Wait until there is something to read."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process; it stays a zombie."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        # Not on Linux 5.3 or later.
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return
    try:
        await readable(descriptor)
    finally:
        os.close(descriptor)


async def _reap(process: subprocess.Popen[bytes], lines: asyncio.Future[None]) -> None:
    await _ended(process)
    process.wait()
    await drained(lines)


async def read_lines(descriptor: int, on_line: Callable[[str], None]) -> None:
    """Tell every line that comes out of a pipe, until its end; closes it."""
    # Not connect_read_pipe: uvloop closes the descriptor twice, and by the second time it may be another thread's file.
    loop = asyncio.get_running_loop()
    something = asyncio.Event()
    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, something.set)
    pending = b""
    try:
        while chunk := await _read(descriptor, something):
            *whole, pending = (pending + chunk.replace(b"\r", b"\n")).split(b"\n")
            while len(pending) > MAX_LINE:
                whole.append(pending[:MAX_LINE])
                pending = pending[MAX_LINE:]
            for line in whole:
                _tell(line, on_line)
    finally:
        _tell(pending, on_line)
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _read(descriptor: int, something: asyncio.Event) -> bytes:
    """What has come, as soon as there is something; empty at the end."""
    await asyncio.sleep(0)  # a process that never pauses must not stop everything else
    while True:
        something.clear()
        try:
            return os.read(descriptor, MAX_LINE)
        except BlockingIOError:
            await something.wait()


def _tell(line: bytes, on_line: Callable[[str], None]) -> None:
    text = line.decode("utf-8", errors="replace").rstrip()
    if text:
        on_line(text)
