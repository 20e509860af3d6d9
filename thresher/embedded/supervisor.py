"""Starts the parts of a stack in order, keeps them running, and stops them in the opposite order."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from thresher.embedded.launch import adopt_orphans, end_strays
from thresher.embedded.process import Child, EmbeddedError, Part

_POLL_S = 0.025
_FOLLOW_S = 0.2
_IDLE_S = 60.0
_START_TIMEOUT_S = 120.0
"""A part that does not answer by then is started again."""
_FAILED_STARTS = 5
"""In a row, and the stack gives up."""
_BACKOFF_S = (0.1, 10.0)
"""Before a part is started again: doubled from the first to the second."""
_SETTLED_S = 30.0
"""A part that ran so long starts again at once."""
_STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


@dataclass
class _Slot:
    """A part and what has become of it."""

    part: Part
    stage: int
    child: Child | None = None
    ready: bool = False
    started: float = 0.0
    start_not_before: float = 0.0
    pause: float = 0.0
    """Seconds it waited before its last start."""
    failed_starts: int = 0


class Supervisor:
    """Runs stages of parts. The parts of a stage start together, when all of the stage before answer."""

    def __init__(self, stages: Sequence[Sequence[Part]], log_dir: Path, *, report: Callable[[str], None], follow: bool = False) -> None:
        """`report` is given lines for a person; with `follow` also what the parts write to their logs in `log_dir`."""
        self._slots = [_Slot(part, stage) for stage, parts in enumerate(stages) for part in parts]
        self._log_dir = log_dir
        self._report = report
        self._followed: dict[Path, int] | None = {} if follow else None

    def run(self, on_ready: Callable[[], None]) -> int:
        """Run until SIGINT, SIGTERM or SIGHUP; from the main thread. `on_ready` is called once, when all parts answer.

        0 after a clean stop, 130 after a second signal cut it short. Raises EmbeddedError, everything stopped, if a part cannot be started.
        """
        adopt_orphans(True)
        try:
            with _signals() as signals:
                try:
                    self._keep_running(signals, on_ready)
                finally:
                    clean = self._stop(signals)
        finally:
            adopt_orphans(False)
        return 0 if clean else 128 + signal.SIGINT

    def _keep_running(self, signals: _Signals, on_ready: Callable[[], None]) -> None:
        announced = answering = False
        while not signals.stop_within(self._pause()):
            for slot in self._slots:
                self._advance(slot)
            self._follow()
            before, answering = answering, all(slot.ready for slot in self._slots)
            if answering and not announced:
                announced = True
                on_ready()
            elif answering and not before:
                self._report("everything answers again")

    def _pause(self) -> float:
        """Seconds until something is due; the end of a child is told by a signal."""
        now = time.monotonic()
        pause = _IDLE_S if self._followed is None else _FOLLOW_S
        for slot in self._slots:
            if slot.child is not None and not slot.ready:
                pause = min(pause, _POLL_S)
            elif slot.child is None and self._may_start(slot):
                pause = min(pause, max(0.0, slot.start_not_before - now))
        return pause

    def _may_start(self, slot: _Slot) -> bool:
        return all(other.ready for other in self._slots if other.stage < slot.stage)

    def _advance(self, slot: _Slot) -> None:
        now = time.monotonic()
        child = slot.child
        if child is None:
            if now >= slot.start_not_before and self._may_start(slot):
                log = self._log_dir / f"{slot.part.name}.log"
                slot.child = Child.start(slot.part.name, slot.part.prepare(), log)
                slot.started = time.monotonic()
        elif (code := child.exit_code()) is not None:
            self._ended(slot, child, code)
        elif slot.ready:
            child.trim_log()
        elif slot.part.is_ready(child.pid):
            slot.ready, slot.failed_starts = True, 0
        elif now > slot.started + _START_TIMEOUT_S:
            child.kill()
            self._ended(slot, child, None)

    def _ended(self, slot: _Slot, child: Child, code: int | None) -> None:
        # Guards leave no strays unless they are killed themselves.
        end_strays(keep=[other.child.pid for other in self._slots if other.child is not None and other is not slot])
        words = child.last_words()
        what = "did not answer in time" if code is None else f"ended {_how(code)}"
        said = f"{slot.part.name} {what}: {words or 'it said nothing'}"
        if not slot.ready:
            slot.failed_starts += 1
        if code in slot.part.final_codes or slot.failed_starts >= _FAILED_STARTS:
            raise EmbeddedError(f"{said} (log: {child.log})")
        settled = slot.ready and time.monotonic() - slot.started > _SETTLED_S
        least, most = _BACKOFF_S
        pause = slot.pause = least if settled else min(most, max(least, 2 * slot.pause))
        slot.child, slot.ready, slot.start_not_before = None, False, time.monotonic() + pause
        self._report(f"{said}; starting it again")

    def _stop(self, signals: _Signals) -> bool:
        """End all parts, last stage first; False if a signal came meanwhile and they were killed."""
        clean = True
        for stage in sorted({slot.stage for slot in self._slots}, reverse=True):
            endings = [_Ending(slot.child, slot.part) for slot in self._slots if slot.stage == stage and slot.child is not None]
            while clean and not _all_advanced(endings):
                self._follow()
                clean = not signals.stop_within(_POLL_S)
            for ending in endings:
                ending.child.kill()
        end_strays()
        self._follow()
        return clean

    def _follow(self) -> None:
        """Copy what was written to the logs since the last call to standard error."""
        if self._followed is None:
            return
        for slot in self._slots:
            if slot.child is None:
                continue
            log = slot.child.log
            with log.open("rb") as file:
                file.seek(min(self._followed.get(log, slot.child.log_start), log.stat().st_size))
                while (line := file.readline()).endswith(b"\n"):
                    self._followed[log] = file.tell()
                    print(f"{slot.part.name:<11}| {line.decode(errors='replace').rstrip()}", file=sys.stderr)


class _Ending:
    """A child on its way down the ladder of its stop plan."""

    def __init__(self, child: Child, part: Part) -> None:
        self.child = child
        self._steps = list(part.stop_plan.steps)
        self._deadline = 0.0

    def advance(self) -> bool:
        """Whether it has ended, or has used up all it was given."""
        if self.child.exit_code() is not None:
            return True
        if time.monotonic() >= self._deadline:
            if not self._steps:
                return True
            number, seconds = self._steps.pop(0)
            self.child.signal(number)
            self._deadline = time.monotonic() + seconds
        return False


def _all_advanced(endings: list[_Ending]) -> bool:
    """One step for each, whatever the others say."""
    return False not in [ending.advance() for ending in endings]


class _Signals:
    """Signals as events to wait for, whichever thread the system hands them to."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver

    def stop_within(self, seconds: float) -> bool:
        """Wait for any signal (also the end of a child); whether one of those that stop came."""
        readable, _, _ = select.select([self._receiver], [], [], seconds)
        return bool(readable) and not _STOP_SIGNALS.isdisjoint(self._receiver.recv(4096))


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    def noted(number: int, frame: FrameType | None) -> None:
        """The number has been written to the wake-up socket."""

    receiver, sender = socket.socketpair()
    with receiver, sender:
        receiver.setblocking(False)
        sender.setblocking(False)
        before = {number: signal.getsignal(number) for number in (*_STOP_SIGNALS, signal.SIGCHLD)}
        if before[signal.SIGHUP] == signal.SIG_IGN:
            # Started with nohup, it stays deaf to the end of its terminal.
            del before[signal.SIGHUP]
        descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        try:
            for number in before:
                signal.signal(number, noted)
            yield _Signals(receiver)
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in before.items():
                signal.signal(number, handler)


def _how(code: int) -> str:
    number = -code if code < 0 else code - 128
    if code < 0 or code > 128:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(number).name}"
    return f"with code {code}"
