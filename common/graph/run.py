"""Carries out a graph on a tile: its steps one after the other, then the decision which out files are handled.

Fetching in files, storing and indexing out files is up to the service that runs the graph.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import ErrorKind, FatalError, TemporaryError, ThresherError
from common.graph.arguments import argument_value, argument_values, file_name
from common.graph.conditions import is_handled, tile_condition_holds
from common.graph.document import Action, OutFile, Step
from common.graph.engines import ENGINES, Engine, StepSources
from common.graph.formats import parse_raster_format
from common.graph.library import Graph
from common.graph.processes import run_process
from common.graph.tiles import GraphTiles
from common.messages import RasterFormat, TileRef
from common.work import ProgressCallback

log = logging.getLogger(__name__)

_TAIL_LINES = 100
_SHOWN_LINES = 5
_OWN_VARIABLES = "THRESHER_"


@dataclass(frozen=True)
class HandledFile:
    """An out file whose action is to be carried out."""

    file: OutFile
    tile: TileRef
    """The tile of its slot."""
    format: RasterFormat | None = None
    """Of a file to index."""


@dataclass(frozen=True)
class GraphOutcome:
    """How a run of a graph ended."""

    files: list[HandledFile] = field(default_factory=list)
    error: ThresherError | None = None
    """FatalError, TemporaryError or a plain ThresherError."""
    log: list[str] = field(default_factory=list)
    """The last lines its steps printed."""

    def with_action(self, action: Action) -> list[HandledFile]:
        return [handled for handled in self.files if handled.file.action is action]


async def run_graph(
    graph: Graph,
    *,
    config: Mapping[str, str],
    tiles: GraphTiles,
    workdir: Path,
    is_retriable: bool,
    progress: ProgressCallback,
    step_timeout_s: float,
    sources: StepSources = StepSources(),  # noqa: B008 - frozen
) -> GraphOutcome:
    """Run the steps of `graph` in `workdir`, which holds its in files. A failure is part of the outcome, not raised.

    `config` goes over the defaults of the graph; `workdir` is always ours. Cancelling kills the running step and all it started.
    """
    run = _Run(graph, {**graph.config, **config, "workdir": str(workdir)}, tiles, workdir, sources)
    error: ThresherError | None = None
    files: list[HandledFile] = []
    try:
        await run.steps(progress, step_timeout_s)
        files = run.handled(None, is_retriable=is_retriable)
    except ThresherError as failure:
        error = failure
        files = run.handled(failure.kind, is_retriable=is_retriable)
    return GraphOutcome(files, error, list(run.tail))


class _Run:
    def __init__(self, graph: Graph, config: dict[str, str], tiles: GraphTiles, workdir: Path, sources: StepSources) -> None:
        self._graph = graph
        self._config = config
        self._tiles = tiles
        self._workdir = workdir
        self._sources = sources
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)

    async def steps(self, progress: ProgressCallback, timeout_s: float) -> None:
        """Run every step whose condition holds; all their commands are checked before the first one starts."""
        chosen = [
            (number, step)
            for number, step in enumerate(self._graph.document.processing_steps, start=1)
            if tile_condition_holds(step.condition, self._tiles)
        ]
        commands = [self._command(number, step) for number, step in chosen]
        for index, ((number, step), command) in enumerate(zip(chosen, commands, strict=True)):
            progress(step.command, index / len(chosen))
            await self._run_step(f"step {number} ({step.command})", ENGINES[step.engine], command, timeout_s)

    def handled(self, failure: ErrorKind | None, *, is_retriable: bool) -> list[HandledFile]:
        """The out files to handle; raises ThresherError where the format of one cannot be told."""
        return [
            HandledFile(file, self._tiles.slot(slot), self._format(file, failed=failure is not None))
            for slot, files in enumerate(self._graph.document.out_files)
            for file in files
            if is_handled(file, self._tiles, self._exists, failure=failure, is_retriable=is_retriable)
        ]

    def _command(self, number: int, step: Step) -> list[str]:
        try:
            return ENGINES[step.engine].command_line(step, argument_values(step, self._config, self._tiles), self._sources)
        except ThresherError as error:
            raise type(error)(f"graph '{self._graph.name}', step {number}: {error}") from None

    async def _run_step(self, name: str, engine: Engine, command: list[str], timeout_s: float) -> None:
        output = _Output(engine, self.tail)
        log.debug("%s: %s", name, command)
        try:
            code = await run_process(command, workdir=self._workdir, environment=_environment(), timeout_s=timeout_s, on_line=output.line)
        except TimeoutError:
            raise ThresherError(f"{name} took longer than {timeout_s:g} s and was stopped{output.shown()}") from None
        except OSError as error:
            raise TemporaryError(f"{name} cannot be started: {error.strerror or error}") from error
        if code != 0:
            raise output.error(f"{name} {_ending(code)}")

    def _exists(self, file: OutFile) -> bool:
        return (self._workdir / file_name(self._tiles.current, file.layer, file.extension)).exists()

    def _format(self, file: OutFile, *, failed: bool) -> RasterFormat | None:
        if file.action is not Action.INDEX:
            return None
        try:
            if file.dformat_out is None:
                return file.own_format()
            return parse_raster_format(argument_value(file.dformat_out, self._config, self._tiles))
        except (ThresherError, ValueError) as error:
            if failed:
                return None  # the failure that is reported already comes first
            raise ThresherError(f"graph '{self._graph.name}', dformat_out of layer '{file.layer}': {error}") from None


class _Output:
    """What a step has printed, and what that says about its failure."""

    def __init__(self, engine: Engine, tail: deque[str]) -> None:
        self._engine = engine
        self._tail = tail
        self._last: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._kinds: dict[ErrorKind, str] = {}

    def line(self, text: str) -> None:
        log.debug("%s", text)
        self._tail.append(text)
        self._last.append(text)
        kind = self._engine.failure(text)
        if kind is not None:
            self._kinds[kind] = text

    def error(self, what: str) -> ThresherError:
        for kind, error in _BY_KIND.items():
            if kind in self._kinds:
                return error(f"{what}: {self._kinds[kind].strip()}")
        return ThresherError(f"{what}{self.shown()}")

    def shown(self) -> str:
        return ": " + " | ".join(self._last) if self._last else ""


_BY_KIND: dict[ErrorKind, Callable[[str], ThresherError]] = {
    ErrorKind.FATAL: FatalError,
    ErrorKind.TEMPORARY: TemporaryError,
    ErrorKind.ERROR: ThresherError,
}
"""In the order of weight: one fatal line decides."""


def _ending(code: int) -> str:
    if code >= 0:
        return f"failed with exit code {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
    return f"was killed by {name}" + (" (is there enough memory?)" if -code == signal.SIGKILL else "")


def _environment() -> dict[str, str]:
    """What steps see of our environment: nothing of our own configuration, which may hold secrets."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_OWN_VARIABLES)}
    return {**kept, "PYTHONUNBUFFERED": "1"}
