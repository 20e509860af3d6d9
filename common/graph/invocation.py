"""Between a step of a graph and a process: the step with its values, the surroundings it runs in, and what is to be executed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from common.config import Settings
from common.errors import ErrorKind
from common.graph.document import EngineName, Step
from common.graph.pool import StepPool
from common.graph.sources import StepSources
from common.step_settings import ContainerSettings, GraphSettings

_OWN_VARIABLES = "THRESHER_"


@dataclass(frozen=True)
class Surroundings:
    """What all steps of a process have in common."""

    sources: StepSources = field(default_factory=StepSources)
    graphs: GraphSettings = field(default_factory=GraphSettings)
    containers: ContainerSettings = field(default_factory=ContainerSettings)
    hidden: frozenset[str] = frozenset()
    """Variables of our environment that hold secrets, besides those that begin with `THRESHER_`."""
    pool: StepPool | None = None
    """Without one every step has an interpreter of its own."""

    @classmethod
    def of(cls, settings: Settings, *packages: str, pool: StepPool | None = None) -> Surroundings:
        """Those of a worker; `packages` ship its steps."""
        sources = StepSources(tuple(settings.graphs.folders), packages)
        return cls(sources, settings.graphs, settings.containers, _hidden(settings), pool)

    def environment(self) -> dict[str, str]:
        """What steps see of our environment: nothing of our own configuration, which may hold secrets."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_OWN_VARIABLES) and key not in self.hidden}
        return {**kept, "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class StepCall:
    """A step of a graph with the values of its arguments."""

    step: Step
    values: Mapping[str, str]
    config: Mapping[str, str]
    workdir: Path
    envs: Sequence[str] = ()
    """Of the graph, for containers: `NAME=value`, or a name."""
    memory_mb: int = 0
    """It may take; 0: as much as there is."""

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(f"--{name}={value}" for name, value in self.values.items())


@dataclass(frozen=True)
class Invocation:
    """What to execute, without a shell."""

    command: tuple[str, ...]
    shown: tuple[str, ...]
    """As a person would write it."""
    failure: Callable[[str], ErrorKind | None]
    """What a line of output says about a failure, if it says something."""
    module: str = ""
    """A shipped step: where there is a pool, its `main(arguments)` is called there instead of `command`."""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beyond that of all steps."""
    memory_bytes: int | None = None
    """To be watched."""
    missing: str = ""
    """Why it cannot be executed on this machine."""
    afterwards: tuple[tuple[str, ...], ...] = ()
    """To be executed where it was stopped before its end: what a killed process would leave running."""
    exit_kind: Callable[[int, str], ErrorKind | None] = lambda _code, _text: None
    """What an exit code says, with the last lines, where no line said anything."""

    def __str__(self) -> str:
        return shlex.join(self.shown)


class Engine(Protocol):
    """Turns a step into what is to be executed."""

    name: EngineName

    def invocation(self, call: StepCall, around: Surroundings) -> Invocation:
        """Raises FatalError where the command is not there."""


def _hidden(settings: Settings) -> frozenset[str]:
    places = [place for account in settings.accounts.values() for place in account.secrets.values()]
    places += [token.secret for token in settings.auth.tokens.values()]
    places.append(settings.containers.password)
    return frozenset(place.removeprefix("env:") for place in places if place.startswith("env:"))
