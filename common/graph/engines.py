"""The engines that run the steps of graphs: how each writes its command line and what the lines it prints mean.

An engine is a small class in `ENGINES`; what is not there is refused when a graph is loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from common.errors import ErrorKind, FatalError
from common.graph import launcher
from common.graph.document import EngineName, Step

_ROOT = Path(__file__).resolve().parents[2]
"""The folder the packages of this program are imported from."""


@dataclass(frozen=True)
class StepSources:
    """Where the commands of steps are found: script files in the graph folders, then modules of the packages that ship steps."""

    folders: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ()
    """Such as `processor.steps`: the command `python/extract_s2.py` is its module `extract_s2`."""

    def file(self, command: str) -> Path | None:
        """The file of a command, inside one of the folders; links that lead out of them are not followed."""
        for folder in self.folders:
            path = (folder / command).resolve()
            if path.is_relative_to(folder.resolve()) and path.is_file():
                return path
        return None

    def module(self, command: str) -> str | None:
        """The module of a command `NAME.py` or `python/NAME.py`, among the shipped steps."""
        parts = Path(command).parts
        if len(parts) > 2 or (len(parts) == 2 and parts[0] != "python") or not parts[-1].endswith(".py"):
            return None
        stem = parts[-1].removesuffix(".py")
        if not stem.isidentifier() or stem.startswith("_"):
            return None
        return next((f"{package}.{stem}" for package in self.packages if find_spec(f"{package}.{stem}")), None)


class Engine(Protocol):
    """Turns a step into a process and reads its output."""

    name: EngineName

    def command_line(self, step: Step, values: Mapping[str, str], sources: StepSources) -> list[str]:
        """What to execute, without a shell; raises FatalError where the command is not there."""

    def failure(self, line: str) -> ErrorKind | None:
        """What a line of output says about a failure, if it says something."""


class PythonEngine:
    """A script of a graph folder or a shipped step, in a process of its own, by the interpreter that runs this program."""

    name = EngineName.PYTHON

    def command_line(self, step: Step, values: Mapping[str, str], sources: StepSources) -> list[str]:
        # Safe path: a file named like a module in the working directory must not be imported.
        start = [sys.executable, "-P", launcher.__file__]
        if file := sources.file(step.command):
            return [*start, "script", str(file), *_options(values)]
        if module := sources.module(step.command):
            return [*start, "module", str(_ROOT), module, *_options(values)]
        raise _missing(step, sources)

    def failure(self, line: str) -> ErrorKind | None:
        if "FATAL ERROR:" in line:
            return ErrorKind.FATAL
        lower = line.lower()
        if "temporary failure" in lower or "timed out" in lower:
            return ErrorKind.TEMPORARY
        return ErrorKind.ERROR if line.lstrip().startswith("ERROR:") else None


class CommandEngine:
    """An executable file of a graph folder."""

    name = EngineName.CMD

    def command_line(self, step: Step, values: Mapping[str, str], sources: StepSources) -> list[str]:
        file = sources.file(step.command)
        if file is None:
            raise _missing(step, sources)
        if not os.access(file, os.X_OK):
            raise FatalError(f"command {step.command} is not executable")
        return [sys.executable, "-I", "-S", launcher.__file__, "command", str(file), *_options(values)]

    def failure(self, line: str) -> ErrorKind | None:
        if "FATAL ERROR:" in line:
            return ErrorKind.FATAL
        if "TEMPORARY ERROR:" in line:
            return ErrorKind.TEMPORARY
        return ErrorKind.ERROR if "ERROR:" in line else None


ENGINES: dict[EngineName, Engine] = {engine.name: engine for engine in (PythonEngine(), CommandEngine())}
"""What this deployment can run."""


def _options(values: Mapping[str, str]) -> Sequence[str]:
    return [f"--{name}={value}" for name, value in values.items()]


def _missing(step: Step, sources: StepSources) -> FatalError:
    places = [*map(str, sources.folders), *sources.packages]
    return FatalError(f"command {step.command} of engine '{step.engine}' is not in {', '.join(places) or 'any graph folder'}")
