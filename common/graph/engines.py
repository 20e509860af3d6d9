"""The engines that run the steps of graphs: how each writes its command line and what the lines it prints mean.

An engine is a small class in `ENGINES`. Containers, which need more, have a module of their own.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from common.errors import ErrorKind, FatalError
from common.graph import launcher
from common.graph.containers import DockerEngine
from common.graph.document import EngineName
from common.graph.invocation import Engine, Invocation, StepCall, Surroundings
from common.identity import own_root

SNAP_DEFAULT = "/usr/local/snap/bin/gpt"
_MB = 2**20
_WHOLE_NUMBER = re.compile(r"[0-9]{1,4}")


class PythonEngine:
    """A script of a graph folder, in a process of its own by the interpreter that runs this program, or a shipped step."""

    name = EngineName.PYTHON

    def invocation(self, call: StepCall, around: Surroundings) -> Invocation:
        if file := around.sources.file(call.step.command):
            # Safe path: a file named like a module in the working directory must not be imported.
            command = (sys.executable, "-P", launcher.__file__, "script", str(file), *call.options)
            return Invocation(command, ("python", str(file), *call.options), python_failure, memory_bytes=_memory(call))
        if found := _shipped(call, around, python_failure):
            return found
        raise FatalError(around.sources.where(call.step))


class CommandEngine:
    """An executable file of a graph folder; or a shipped step, which the reference has as an executable script."""

    name = EngineName.CMD

    def invocation(self, call: StepCall, around: Surroundings) -> Invocation:
        file = around.sources.file(call.step.command)
        if file is None:
            if found := _shipped(call, around, command_failure):
                return found
            raise FatalError(around.sources.where(call.step))
        if not os.access(file, os.X_OK):
            raise FatalError(f"command {call.step.command} is not executable")
        shown = (str(file), *call.options)
        return Invocation(launched(*shown), shown, command_failure, memory_bytes=_memory(call))


class SnapEngine:
    """A graph of ESA SNAP (XML, of a graph folder), run by its `gpt`."""

    name = EngineName.SNAP

    def invocation(self, call: StepCall, around: Surroundings) -> Invocation:
        gpt = snap_path(around.graphs.snap_path)
        missing = "" if os.access(gpt, os.X_OK) else f"SNAP is not there: {gpt} is no program (graphs.snap_path, or SNAPPATH)"
        file = around.sources.file(call.step.command)
        if file is None:
            raise FatalError(around.sources.where(call.step))
        threads = call.config.get("snap_cpu_parallelism", "1")
        if not _WHOLE_NUMBER.fullmatch(threads):
            # It stands alone on the command line: `-J…` would be an option of the Java machine.
            raise FatalError(f"setting 'snap_cpu_parallelism' is {threads[:40]!r}, not a whole number")
        options = tuple(f"-P{name}={value}" for name, value in call.values.items())
        shown = (str(gpt), str(file), "-x", "-q", threads, f"-J-Xmx{around.graphs.snap_memory_mb}m", *options)
        return Invocation(launched(*shown), shown, snap_failure, memory_bytes=_memory(call), missing=missing)


ENGINES: dict[EngineName, Engine] = {engine.name: engine for engine in (PythonEngine(), CommandEngine(), SnapEngine(), DockerEngine())}


def snap_path(configured: Path | None) -> Path:
    """Where `gpt` is: as configured, else `SNAPPATH`, else where SNAP installs it."""
    return configured or Path(os.environ.get("SNAPPATH") or SNAP_DEFAULT)


def launched(*command: str) -> tuple[str, ...]:
    """A command that dies with its worker."""
    return (sys.executable, "-I", "-S", launcher.__file__, "command", *command)


def python_failure(line: str) -> ErrorKind | None:
    if "FATAL ERROR:" in line:
        return ErrorKind.FATAL
    lower = line.lower()
    if "temporary failure" in lower or "timed out" in lower:
        return ErrorKind.TEMPORARY
    return ErrorKind.ERROR if line.lstrip().startswith("ERROR:") else None


def command_failure(line: str) -> ErrorKind | None:
    if "FATAL ERROR:" in line:
        return ErrorKind.FATAL
    if "TEMPORARY ERROR:" in line:
        return ErrorKind.TEMPORARY
    return ErrorKind.ERROR if "ERROR:" in line else None


def snap_failure(line: str) -> ErrorKind | None:
    if "Try again" in line or "Temporary failure" in line:
        return ErrorKind.TEMPORARY
    return ErrorKind.ERROR if line.lstrip().startswith("Error:") else None


def _shipped(call: StepCall, around: Surroundings, failure: Callable[[str], ErrorKind | None]) -> Invocation | None:
    module = around.sources.module(call.step.command)
    if module is None:
        return None
    command = (sys.executable, "-P", launcher.__file__, "module", str(own_root()), module, *call.options)
    shown = ("python", "-P", "-m", module, *call.options)
    return Invocation(command, shown, failure, module, call.options, memory_bytes=_memory(call))


def _memory(call: StepCall) -> int | None:
    return call.memory_mb * _MB or None
