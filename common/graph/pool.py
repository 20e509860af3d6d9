"""Steps that start at once: each is a child of a process that has loaded numpy, rasterio and the shipped steps already.

That process is a clean one of its own (`pool_server`): this one has threads and an event loop, of which a forked child would get half.
It is started again when it was killed; its steps then fail for the moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import ConfigurationError, TemporaryError
from common.graph import pool_server
from common.graph.processes import drained, read_lines, readable, settled, supervised
from common.graph.sessions import kill_session
from common.identity import own_root

log = logging.getLogger(__name__)

REQUIRED = ("numpy", "rasterio")
"""Not numba: the module of ours that sets it up has to be the first to import it."""

_THREADS = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue"}
"""Their threads would stand in the way of forks; a worker runs a step a core anyhow. Numba's own threads are made anew after a fork, those
of OpenMP end the process."""

_LOADING_S = 120.0
_ANSWER_S = 30.0


def pools_are_possible() -> bool:
    """Whether this system has what it takes: Linux 5.3 or later; some sandboxes lack it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
        os.close(os.memfd_create("step"))
    except (AttributeError, OSError):
        return False
    return True


@dataclass(frozen=True)
class _Server:
    process: subprocess.Popen[bytes]
    control: socket.socket

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Its steps die with it."""
        self.process.kill()
        self.process.wait()
        self.control.close()


class StepPool:
    """Runs `main(argv)` of modules of the step packages, each in a process of its own. An asynchronous context manager."""

    def __init__(self, packages: Sequence[str], environment: Mapping[str, str]) -> None:
        """`environment` is that of all steps."""
        self.packages = tuple(packages)
        self._environment = {**_THREADS, **environment}
        self._server: _Server | None = None
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> StepPool:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.kill()
            self._server = None

    async def load(self) -> None:
        """Have the process ready before the first step asks for it. Raises ConfigurationError where it lacks what all steps need."""
        await self._alive()

    @property
    def server_pid(self) -> int | None:
        return self._server.process.pid if self._server else None

    async def run(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        workdir: Path,
        timeout_s: float,
        on_line: Callable[[str], None],
        memory_bytes: int | None = None,
    ) -> int:
        """Run `main(arguments)` of `module` in `workdir`; its exit code (negative: the signal that killed it).

        As `run_process` does: output line by line; the whole group is killed at the end, on cancellation, after `timeout_s` (TimeoutError)
        and with more than `memory_bytes` (OverMemoryError). Raises TemporaryError where the process that starts steps was lost.
        """
        server = await self._alive()
        reading, writing = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            order = _order(module, arguments, workdir)
            try:
                await _send(server, [theirs.fileno(), writing, order])
            finally:
                os.close(order)
        except BaseException:
            os.close(reading)
            ours.close()
            raise
        finally:
            os.close(writing)
            theirs.close()
        step = _Step(ours, server)
        lines = asyncio.ensure_future(read_lines(reading, on_line))
        try:
            await step.start()
            await supervised(step.end(), step.pid, timeout_s, memory_bytes)
        finally:
            await settled(step.reap(lines))
        return step.exit_code()

    async def _alive(self) -> _Server:
        async with self._starting:
            if self._server and not self._server.is_alive:
                log.warning("the process that starts steps was lost; another is started")
                self._server.kill()
                self._server = None
            if self._server is None:
                self._server = await self._start()
            return self._server

    async def _start(self) -> _Server:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = str(theirs.fileno())
            process = subprocess.Popen(  # noqa: ASYNC220 - see run_process
                [sys.executable, "-P", pool_server.__file__, number, str(own_root()), ",".join(REQUIRED), ",".join(self.packages)],
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        server = _Server(process, ours)
        try:
            async with asyncio.timeout(_LOADING_S):
                await readable(ours.fileno())
            told = json.loads(ours.recv(2**16) or "null")
            if told is None:
                raise TemporaryError(f"the process that starts steps ended at once (exit code {process.wait()})")
            _check(told, REQUIRED)
        except TimeoutError:
            server.kill()
            raise TemporaryError(f"the process that starts steps was not ready within {_LOADING_S:g} s") from None
        except BaseException:
            server.kill()
            raise
        ours.setblocking(False)
        return server


class _Step:
    """A step that was ordered: what its server tells of it."""

    def __init__(self, told: socket.socket, server: _Server) -> None:
        self._told = told
        self._server = server
        self._code: int | None = None
        self._lost = False
        self.pid = 0

    async def start(self) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                kind, number = await self._receive()
        except TimeoutError:
            self._server.kill()
            raise TemporaryError("the process that starts steps did not answer and was killed") from None
        if kind == pool_server.NOT_STARTED:
            raise TemporaryError(f"the step cannot be started: {os.strerror(number)}")
        self.pid = number

    async def end(self) -> None:
        if self._code is None and not self._lost:
            _, number = await self._receive()
            self._code = None if self._lost else number

    async def reap(self, lines: asyncio.Future[None]) -> None:
        """Whatever happened: nothing of the step is left afterwards."""
        with contextlib.suppress(OSError):
            self._told.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_ANSWER_S):
                while self._code is None and not self._lost:
                    kind, number = await self._receive()
                    self.pid = number if kind == pool_server.STARTED else self.pid
                    self._code = number if kind == pool_server.ENDED else None
                    self._lost = self._lost or kind == pool_server.NOT_STARTED
        except TimeoutError:
            self._server.kill()
            self._lost = True
        self._told.close()
        if self._lost and self.pid:
            # The step itself died with its server; what it had started may live.
            await asyncio.to_thread(kill_session, self.pid)
        await drained(lines)

    def exit_code(self) -> int:
        if self._code is None:
            raise TemporaryError("the process that starts steps was killed, and the step with it")
        return self._code

    async def _receive(self) -> tuple[int, int]:
        while True:
            try:
                data = self._told.recv(pool_server.REPLY.size)
            except BlockingIOError:
                await readable(self._told.fileno())
                continue
            except ConnectionError:
                data = b""
            if not data:
                self._lost = True
                return 0, 0
            kind, number = pool_server.REPLY.unpack(data)
            return kind, number


async def _send(server: _Server, descriptors: list[int]) -> None:
    while True:
        try:
            socket.send_fds(server.control, [b"step"], descriptors)
        except BlockingIOError:
            await asyncio.sleep(0.005)
        except OSError as error:
            raise TemporaryError(f"the process that starts steps was lost: {error.strerror}") from None
        else:
            return


def _order(module: str, arguments: Sequence[str], workdir: Path) -> int:
    """A descriptor of a file in memory that holds the order: it may be larger than what a socket takes at once."""
    descriptor = os.memfd_create("step")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(json.dumps({"module": module, "arguments": list(arguments), "workdir": str(workdir)}).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _check(told: dict[str, Any], required: Sequence[str]) -> None:
    """Whether it has loaded what it should; raises ConfigurationError."""
    failed: dict[str, str] = told["failed"]
    for name, reason in failed.items():
        if name in required:
            raise ConfigurationError(f"steps cannot be run: {name} cannot be loaded ({reason})")
        # A step that lacks something is told of when a graph asks for it.
        log.warning("step %s cannot be loaded: %s", name, reason)
    if told["threads"] != 1:
        log.warning("the process that starts steps has %d threads: a step may hang if one of them holds a lock", told["threads"])
    log.info("steps start from a process that has loaded %d modules", len(told["loaded"]))
