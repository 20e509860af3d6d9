"""A child process: started through `launch`, writing to its own log file, stopped by a chain of signals."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from common.errors import ThresherError

_LAUNCHER = Path(__file__).with_name("launch.py")
_POLL_S = 0.02
_LOG_BYTES = 10 * 2**20
"""A log larger than this is set aside."""
_TAIL_BYTES = 16 * 1024


class EmbeddedError(ThresherError):
    """A part of the stack cannot be started; the message says what to do."""


@dataclass(frozen=True)
class Account:
    """The system user a child runs as."""

    uid: int
    gid: int
    name: str


@dataclass(frozen=True)
class Launch:
    """How to start a part once."""

    command: Sequence[str]
    environment: Mapping[str, str]
    """All of it: nothing is inherited."""
    death_signal: signal.Signals = signal.SIGTERM
    """What it receives when this process dies."""
    account: Account | None = None
    folder: Path | None = None
    """Working directory; None: ours."""
    guarded: bool = False
    """True: nothing it started outlives it."""
    label: str = "-"
    """Stands in the command line of the guard, for `end_predecessors`."""

    def arguments(self) -> list[str]:
        """The command line that starts it as a child of this process. Only from the main thread: what dies with its parent dies with
        the thread that started it."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children are started from the main thread only")
        account = f"{self.account.uid}:{self.account.gid}" if self.account else "-"
        mode = "guard" if self.guarded else "exec"
        launcher = [sys.executable, "-I", "-S", "-B", str(_LAUNCHER)]
        return [*launcher, self.label, str(os.getpid()), self.death_signal.name, account, mode, *self.command]


@dataclass(frozen=True)
class StopPlan:
    """Signals that end a part, each with the seconds it is given before the next; SIGKILL comes last by itself."""

    steps: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 10.0),)


class Part(Protocol):
    """Something the supervisor runs."""

    @property
    def name(self) -> str: ...

    @property
    def stop_plan(self) -> StopPlan: ...

    @property
    def final_codes(self) -> frozenset[int]:
        """Exit codes that mean: starting it again would not help."""

    def prepare(self) -> Launch:
        """Called before every start; may do work (create a database, wait for a predecessor). Raises EmbeddedError."""

    def is_ready(self, pid: int) -> bool:
        """Whether it answers. Asked often while it starts: returns within a fraction of a second, never raises."""


@dataclass
class Child:
    """A running process of ours."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]
    account: Account | None
    log_start: int
    """Where in the log this run begins."""

    @classmethod
    def start(cls, name: str, launch: Launch, log: Path) -> Child:
        """Start `launch`, its output appended to `log`."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                launch.arguments(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(launch.environment),
                cwd=launch.folder,
                start_new_session=True,  # Ctrl-C in a terminal reaches the supervisor alone, which stops the parts in order.
            )
            return cls(name, log, process, launch.account, output.tell())

    @property
    def pid(self) -> int:
        return self.process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self.process.poll()

    def signal(self, number: signal.Signals) -> None:
        try:
            self.process.send_signal(number)
        except PermissionError:
            # In a container even root may lack the right to signal processes of others.
            if self.account is None:
                raise
            command = ["/bin/sh", "-c", f'kill -{number.value} "$0"', str(self.pid)]
            subprocess.run(
                command, user=self.account.uid, group=self.account.gid, extra_groups=[], cwd="/", check=True, capture_output=True
            )

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, plan: StopPlan) -> None:
        """End it, and return when it has ended."""
        for number, seconds in plan.steps:
            self.signal(number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
            return
        self.kill()

    def trim_log(self) -> None:
        """Set a large log aside as `.1`. The child goes on writing: it appends, so the file can be emptied under it."""
        with contextlib.suppress(OSError):  # a full disk: the next call may find room
            if self.log.stat().st_size > _LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.1"))
                os.truncate(self.log, 0)

    def last_words(self) -> str:
        """The line of this run that says best why it ended: its last one, or that of a fatal error if there is any; else empty."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            # Smaller than where this run began: it has been trimmed meanwhile.
            log.seek(max(self.log_start if self.log_start <= size else 0, size - _TAIL_BYTES))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
        return (fatal or lines or [""])[-1]


@contextmanager
def running(part: Part, log: Path, *, timeout_s: float = 60.0) -> Iterator[Child]:
    """Run one part alone, without a supervisor: ready inside, stopped after. Raises EmbeddedError if it does not start in time."""
    child = Child.start(part.name, part.prepare(), log)
    try:
        deadline = time.monotonic() + timeout_s
        while not part.is_ready(child.pid):
            code = child.exit_code()
            if code is not None or time.monotonic() > deadline:
                ended = "took too long to start" if code is None else f"ended with code {code}"
                raise EmbeddedError(f"{part.name} {ended}: {child.last_words() or 'it said nothing'} (log: {log})")
            time.sleep(_POLL_S)
        yield child
    finally:
        child.stop(part.stop_plan)


def processes_naming(token: str) -> list[int]:
    """Ids of other processes whose command line holds `token`. Zombies have none.

    Only of processes we may end: what other users write into their command lines is theirs.
    """
    found = []
    wanted, own = token.encode(), os.geteuid()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if own in (0, entry.stat().st_uid) and wanted in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def end_predecessors(token: str, what: str, plan: StopPlan) -> None:
    """Wait for processes of an earlier run that name `token`; they are ending, and are told so again if they linger.

    Raises EmbeddedError if they cannot be ended.
    """
    for number, seconds in ((None, 2.0), *plan.steps, (signal.SIGKILL, 5.0)):
        left = processes_naming(token)
        for pid in left:
            if number is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            left = processes_naming(token)
        if not left:
            return
    raise EmbeddedError(f"{what} of an earlier run cannot be ended (process {', '.join(map(str, left))}): end it by hand")
