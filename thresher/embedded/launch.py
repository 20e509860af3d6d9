"""Started as a script between the supervisor and a child: makes the child die with its parent, and drops root's rights where asked.

`launch.py LABEL PARENT SIGNAL UID:GID|- exec|guard COMMAND…`. With `exec` it becomes the command. With `guard` it stays as the command's
parent, passes SIGTERM and SIGINT on, and leaves no descendant of the command behind, however the command or the supervisor ended. The label
only tells its processes from those of others.

Uses the standard library only: it runs isolated from all other packages, so that starting it costs milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 5.0
"""For a command whose supervisor was killed: what it may use to hand its work back."""
_CANNOT_START = 78
"""EX_CONFIG of sysexits.h: starting it again would not help."""


def main(arguments: list[str]) -> int:
    _label, parent, death_signal, account, mode, *command = arguments
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After setuid: a change of credentials clears the death signal.
    _die_with(int(parent), signal.Signals[death_signal])
    if mode == "guard":
        return _guard(command)
    return _become(command)


def _become(command: list[str]) -> int:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # Python ignores the first two, a shell the others for what it starts in the background.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execv(command[0], command)  # noqa: S606 - there is no shell on purpose
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
    return _CANNOT_START


def _guard(command: list[str]) -> int:
    adopt_orphans(True)
    wanted = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_SETMASK, wanted)
    supervisor, own = os.getppid(), os.getpid()
    child = os.fork()
    if child == 0:
        _die_with(own, signal.SIGKILL)
        os._exit(_become(command))
    deadline: float | None = None
    code: int | None = None
    while code is None:
        received = signal.sigtimedwait(wanted, 0.2 if deadline else 3600.0)
        if received is not None and received.si_signo != signal.SIGCHLD:
            os.kill(child, received.si_signo)
            if os.getppid() != supervisor and deadline is None:
                deadline = time.monotonic() + _GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        code = _reap(child)
    end_strays()
    return code


def _reap(child: int) -> int | None:
    """Collect all that ended; the exit code of `child` once it is among them (128 + signal if one ended it)."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            exited = os.waitstatus_to_exitcode(status)
            code = exited if exited >= 0 else 128 - exited


def end_strays(keep: Iterable[int] = ()) -> None:
    """Kill all children of this process but `keep`, until none is left.

    Those of a process that adopts orphans include the orphans: as one dies, its own children come to us.
    """
    spared = set(keep)
    while strays := [pid for pid in _children() if pid not in spared]:
        for pid in strays:
            try:
                os.kill(pid, signal.SIGKILL)
            except PermissionError:
                spared.add(pid)
        for pid in set(strays) - spared:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def adopt_orphans(wanted: bool) -> None:
    """Become, or no longer be, the parent of orphans among our descendants."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(wanted))


def _children() -> list[int]:
    own = os.getpid()
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a Path for each process costs more than the rest
        if not entry.isdigit():
            continue
        try:
            # The name in brackets may itself hold brackets and spaces.
            fields = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == own:
            found.append(int(entry))
    return found


def _die_with(parent: int, death_signal: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        # It died before the request was made: the signal would never come.
        sys.exit(f"the process that started this one ({parent}) is gone")


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
