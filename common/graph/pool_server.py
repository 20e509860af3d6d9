"""The process that steps are forked from: it has loaded what they need, and does nothing but fork, reap and kill.

Run as a file by its path: `pool_server.py CONTROL_FD ROOT REQUIRED PACKAGES`, both lists separated by commas. It has one thread and no
event loop of others, so that a fork is safe at any moment. Every packet on the control socket brings three descriptors: a socket that
stands for the step, its output, and its order in JSON. The step is told of on its socket (packets of kind and number) and killed, with its
group, when the other end of it closes; all of them when the control socket does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

REPLY = struct.Struct("=Bi")
STARTED, ENDED, NOT_STARTED = 1, 2, 3
"""With the process id; with the exit code (negative: the signal); with the errno."""

DESCRIPTORS = 3
_PR_SET_PDEATHSIG = 1
_OUT_OF_MEMORY_FIRST = "500"
_libc = ctypes.CDLL(None)


def main() -> NoReturn:
    """Load, tell what was loaded, and serve until the control socket closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    root, required, packages = sys.argv[2:5]
    _die_with(os.getppid())
    if root not in sys.path:
        sys.path.insert(0, root)
    loaded, failed = _load([*filter(None, required.split(",")), *_steps(filter(None, packages.split(",")))])
    gc.collect()
    gc.freeze()  # nothing of this is garbage: children need not write into its pages to find out
    control.send(json.dumps({"loaded": loaded, "failed": failed, "threads": len(os.listdir("/proc/self/task"))}).encode())  # noqa: PTH208
    Server(control).serve()


class Server:
    """Forks steps, and knows of each that runs its socket and the descriptor that tells of its end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._order)
        self._sockets: dict[int, socket.socket] = {}

    def serve(self) -> NoReturn:
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _order(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._control, 16, DESCRIPTORS)
        if not data:
            for pid in self._sockets:
                _kill(pid)
            os._exit(0)
        if len(descriptors) == DESCRIPTORS:
            self._start(*descriptors)
        else:  # too many open files: whoever waits at the other end sees its socket close
            for descriptor in descriptors:
                os.close(descriptor)

    def _start(self, step: int, output: int, order: int) -> None:
        told = socket.socket(fileno=step)
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _tell(told, NOT_STARTED, error.errno or 0)
            told.close()
        else:
            if pid == 0:
                self._forget(told)
                _become(server, output, order)
            watch = os.pidfd_open(pid)
            self._sockets[pid] = told
            self._selector.register(watch, selectors.EVENT_READ, lambda: self._end(pid, watch))
            self._selector.register(told, selectors.EVENT_READ, lambda: self._kill(pid, told))
            _tell(told, STARTED, pid)
        os.close(output)
        os.close(order)

    def _kill(self, pid: int, told: socket.socket) -> None:
        """The other end of the step's socket has closed: nobody wants it any more."""
        self._selector.unregister(told)
        _kill(pid)

    def _end(self, pid: int, watch: int) -> None:
        self._selector.unregister(watch)
        os.close(watch)
        _kill(pid)  # its group: before it is reaped, when its number cannot be anybody else's
        _, status = os.waitpid(pid, 0)
        told = self._sockets.pop(pid)
        if told in self._selector.get_map():
            self._selector.unregister(told)
        _tell(told, ENDED, os.waitstatus_to_exitcode(status))
        told.close()

    def _forget(self, told: socket.socket) -> None:
        """In the child: nothing of ours stays open."""
        self._selector.close()
        self._control.close()
        for other in (told, *self._sockets.values()):
            other.close()


def _become(server: int, output: int, order: int) -> NoReturn:
    """Become the step; what is left of it at the end is left as the interpreter would."""
    code = 1
    try:
        os.setsid()
        _die_with(server)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        code = _exit_code(_call(order))
    except SystemExit as ending:
        code = _exit_code(ending.code)
    except BaseException:  # noqa: BLE001 - whatever it is, the process ends here
        traceback.print_exc()
    finally:
        _leave(code)


def _call(order: int) -> object:
    with os.fdopen(order, "rb") as file:
        wanted = json.load(file)
    os.chdir(wanted["workdir"])
    name, arguments = wanted["module"], wanted["arguments"]
    sys.argv = [name, *arguments]
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # else every step would draw the same numbers
    step: Callable[[list[str]], object] = importlib.import_module(name).main
    return step(arguments)


def _exit_code(ending: object) -> int:
    """As `sys.exit` takes it."""
    if ending is None:
        return 0
    if isinstance(ending, int):
        return ending & 0xFF
    sys.stderr.write(f"{ending}\n")
    return 1


def _leave(code: int) -> NoReturn:
    try:
        # As `multiprocessing` ends its children: threads are waited for, but the interpreter is not taken apart.
        threading._shutdown()  # type: ignore[attr-defined]
        importlib.import_module("atexit")._run_exitfuncs()
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - whatever it is, the process ends here
        traceback.print_exc()
        code = code or 1
    finally:
        os._exit(code)


def _steps(packages: Iterator[str]) -> Iterator[str]:
    """The modules of these packages that are steps."""
    for name in packages:
        try:
            package = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and name.startswith(error.name):
                continue
            raise
        yield from (f"{name}.{module.name}" for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def _load(names: list[str]) -> tuple[list[str], dict[str, str]]:
    """Import these modules; those that cannot be, with the reason."""
    loaded: list[str] = []
    failed: dict[str, str] = {}
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - also a module that ends the interpreter
            failed[name] = f"{type(error).__name__}: {error}"
        else:
            loaded.append(name)
    return loaded, failed


def _tell(step: socket.socket, kind: int, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        step.send(REPLY.pack(kind, number), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _kill(pid: int) -> None:
    """Kill a step that has not been reaped, and its group, which it may not have made yet."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _die_with(parent: int) -> None:
    """Be killed when the parent is, even by SIGKILL; and be the first to go where memory runs out."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write(_OUT_OF_MEMORY_FIRST)


if __name__ == "__main__":
    main()
