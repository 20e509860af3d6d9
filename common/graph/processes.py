"""One process in a group of its own: its output line by line, and nothing left of it when it ends, times out or is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MAX_LINE = 16_384
"""Bytes; a longer line is cut into pieces."""

_DRAIN_S = 5.0


async def run_process(
    command: Sequence[str], *, workdir: Path, environment: Mapping[str, str], timeout_s: float, on_line: Callable[[str], None]
) -> int:
    """Run `command` in `workdir` and return its exit code (negative: the signal that killed it).

    Standard output and error come together, in order. When the process has ended, and also on cancellation and after `timeout_s`
    (TimeoutError), its whole group is killed, so that no descendant writes on. Raises OSError where it cannot be started.
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
    lines = asyncio.ensure_future(_read_lines(reading, on_line))
    try:
        async with asyncio.timeout(timeout_s):
            await _ended(process)
    finally:
        # Before the process is reaped: until then its group's number cannot be anybody else's.
        _kill_group(process.pid)
        await _settled(asyncio.ensure_future(_reap(process, lines)))
    return process.returncode


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process; it stays a zombie."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        # Not on Linux 5.3 or later.
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _reap(process: subprocess.Popen[bytes], lines: asyncio.Future[None]) -> None:
    await _ended(process)
    process.wait()
    # A descendant that left the group may hold the pipe open for ever.
    await asyncio.wait([lines], timeout=_DRAIN_S)
    lines.cancel()
    await asyncio.wait([lines])


async def _settled(work: asyncio.Future[None]) -> None:
    """Wait for `work` even while being cancelled: the working directory is removed as soon as we return."""
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            continue


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


async def _read_lines(descriptor: int, on_line: Callable[[str], None]) -> None:
    # Not connect_read_pipe: uvloop closes the descriptor twice, and by the second time it may be another thread's file.
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, readable.set)
    pending = b""
    try:
        while chunk := await _read(descriptor, readable):
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


async def _read(descriptor: int, readable: asyncio.Event) -> bytes:
    """What has come, as soon as there is something; empty at the end."""
    await asyncio.sleep(0)  # a process that never pauses must not stop everything else
    while True:
        readable.clear()
        try:
            return os.read(descriptor, MAX_LINE)
        except BlockingIOError:
            await readable.wait()


def _tell(line: bytes, on_line: Callable[[str], None]) -> None:
    text = line.decode("utf-8", errors="replace").rstrip()
    if text:
        on_line(text)
