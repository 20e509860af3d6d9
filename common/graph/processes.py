"""One process in a group of its own: its output line by line, and nothing left of it when it ends, times out or is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
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
        process = await _start(command, workdir, environment, writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    lines = asyncio.ensure_future(_read_lines(reading, on_line))
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    finally:
        _kill_group(process.pid)
        await _settled(asyncio.ensure_future(_reap(process, lines)))


async def _start(command: Sequence[str], workdir: Path, environment: Mapping[str, str], output: int) -> asyncio.subprocess.Process:
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            cwd=workdir,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # Cancelled between fork and return: the process may run already, and nobody would know it.
        with contextlib.suppress(OSError):
            process = await starting
            _kill_group(process.pid)
            await process.wait()
        raise


async def _reap(process: asyncio.subprocess.Process, lines: asyncio.Future[None]) -> None:
    await process.wait()
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
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    pending = b""
    try:
        while chunk := await reader.read(MAX_LINE):
            *whole, pending = (pending + chunk.replace(b"\r", b"\n")).split(b"\n")
            while len(pending) > MAX_LINE:
                whole.append(pending[:MAX_LINE])
                pending = pending[MAX_LINE:]
            for line in whole:
                _tell(line, on_line)
    finally:
        _tell(pending, on_line)
        transport.close()


def _tell(line: bytes, on_line: Callable[[str], None]) -> None:
    text = line.decode("utf-8", errors="replace").rstrip()
    if text:
        on_line(text)
