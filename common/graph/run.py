"""Carries out a graph on a tile: its steps one after the other, then the decision which out files are handled.

Fetching in files, storing and indexing out files is up to the service that runs the graph.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import ErrorKind, FatalError, TemporaryError, ThresherError
from common.graph.arguments import argument_value, file_name
from common.graph.conditions import is_handled
from common.graph.document import Action, OutFile
from common.graph.formats import parse_raster_format
from common.graph.hooks import prepare_hook
from common.graph.invocation import Invocation, Surroundings
from common.graph.library import Graph
from common.graph.plan import PlannedStep, graph_config, planned_steps
from common.graph.processes import run_process, settled
from common.graph.record import StepRecord
from common.graph.sessions import OverMemoryError
from common.graph.tiles import GraphTiles
from common.messages import RasterFormat, TileRef
from common.work import ProgressCallback

log = logging.getLogger(__name__)

_TAIL_LINES = 100
_SHOWN_LINES = 5
_CLEANING_S = 60.0
_KILLED = 128 + signal.SIGKILL
"""How a container tells that it was killed."""


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
    around: Surroundings = Surroundings(),  # noqa: B008 - frozen
    record: StepRecord | None = None,
) -> GraphOutcome:
    """Run the steps of `graph` in `workdir`, which holds its in files. A failure is part of the outcome, not raised.

    `config` goes over the defaults of the graph; `workdir` is always ours. Cancelling kills the running step and all it started. `record`
    gets every line that is printed.
    """
    run = _Run(graph, graph_config(graph, config, workdir), tiles, workdir, around, record)
    error: ThresherError | None = None
    files: list[HandledFile] = []
    try:
        await run.steps(progress)
        files = run.handled(None, is_retriable=is_retriable)
    except ThresherError as failure:
        error = failure
        files = run.handled(failure.kind, is_retriable=is_retriable)
    return GraphOutcome(files, error, list(run.tail))


@dataclass
class _Run:
    graph: Graph
    config: Mapping[str, str]
    tiles: GraphTiles
    workdir: Path
    around: Surroundings
    record: StepRecord | None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL_LINES))

    async def steps(self, progress: ProgressCallback) -> None:
        """Run every step whose condition holds; all their commands are checked before the first one starts."""
        chosen = planned_steps(self.graph, self.config, self.tiles, self.workdir, self.around)
        prepare_hook(self.graph.document, self.config, self.tiles, self.workdir)
        for index, planned in enumerate(chosen):
            progress(planned.step.command, index / len(chosen))
            await self._run_step(planned)

    def handled(self, failure: ErrorKind | None, *, is_retriable: bool) -> list[HandledFile]:
        """The out files to handle; raises ThresherError where the format of one cannot be told."""
        return [
            HandledFile(file, self.tiles.slot(slot), self._format(file, failed=failure is not None))
            for slot, files in enumerate(self.graph.document.out_files)
            for file in files
            if is_handled(file, self.tiles, self._exists, failure=failure, is_retriable=is_retriable)
        ]

    async def _run_step(self, planned: PlannedStep) -> None:
        invocation, name = planned.invocation, planned.title
        output = _Output(invocation, self.tail, self.record)
        log.debug("%s: %s", name, invocation)
        output.heading(f"{name}: {invocation}")
        started = time.monotonic()
        try:
            code = await self._execute(invocation, output)
        except TimeoutError:
            await self._clean(invocation)
            raise output.stopped(f"{name} took longer than {self.around.graphs.step_timeout_s:g} s and was stopped") from None
        except OverMemoryError as error:
            raise output.stopped(f"{name} took more memory than it may ({error}) and was stopped") from None
        except OSError as error:
            raise TemporaryError(f"{name} cannot be started: {error.strerror or error}") from error
        except BaseException:
            await self._clean(invocation)
            raise
        if code < 0:
            await self._clean(invocation)
        output.heading(f"{name}: exit code {code} after {time.monotonic() - started:.1f} s")
        if code != 0:
            raise output.error(f"{name} {_ending(code)}", code)

    async def _execute(self, invocation: Invocation, output: _Output) -> int:
        timeout_s, memory_bytes = self.around.graphs.step_timeout_s, invocation.memory_bytes
        if self.around.pool and invocation.module:
            return await self.around.pool.run(
                invocation.module,
                invocation.arguments,
                workdir=self.workdir,
                timeout_s=timeout_s,
                on_line=output.line,
                memory_bytes=memory_bytes,
            )
        return await run_process(
            invocation.command,
            workdir=self.workdir,
            environment={**self.around.environment(), **invocation.environment},
            timeout_s=timeout_s,
            on_line=output.line,
            memory_bytes=memory_bytes,
        )

    async def _clean(self, invocation: Invocation) -> None:
        """End what lives on where its command was killed, also while being cancelled: a container is nobody's child."""
        environment = {**self.around.environment(), **invocation.environment}

        async def clean() -> None:
            for command in invocation.afterwards:
                try:
                    await run_process(command, workdir=self.workdir, environment=environment, timeout_s=_CLEANING_S, on_line=log.debug)
                except (OSError, TimeoutError) as error:
                    log.warning("%s failed: %s", " ".join(command), error)

        await settled(clean())

    def _exists(self, file: OutFile) -> bool:
        return (self.workdir / file_name(self.tiles.current, file.layer, file.extension)).exists()

    def _format(self, file: OutFile, *, failed: bool) -> RasterFormat | None:
        if file.action is not Action.INDEX:
            return None
        try:
            if file.dformat_out is None:
                return file.own_format()
            return parse_raster_format(argument_value(file.dformat_out, self.config, self.tiles))
        except (ThresherError, ValueError) as error:
            if failed:
                return None  # the failure that is reported already comes first
            raise ThresherError(f"graph '{self.graph.name}', dformat_out of layer '{file.layer}': {error}") from None


class _Output:
    """What a step has printed, and what that says about its failure."""

    def __init__(self, invocation: Invocation, tail: deque[str], record: StepRecord | None) -> None:
        self._invocation = invocation
        self._tail = tail
        self._record = record
        self._last: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._kinds: dict[ErrorKind, str] = {}

    def heading(self, text: str) -> None:
        if self._record:
            self._record.heading(text)

    def line(self, text: str) -> None:
        log.debug("%s", text)
        if self._record:
            self._record.line(text)
        self._tail.append(text)
        self._last.append(text)
        kind = self._invocation.failure(text)
        if kind is not None:
            self._kinds[kind] = text

    def error(self, what: str, code: int) -> ThresherError:
        for kind, error in _BY_KIND.items():
            if kind in self._kinds:
                return error(f"{what}: {self._kinds[kind].strip()}")
        kind = self._invocation.exit_kind(code, self._shown()) or ErrorKind.ERROR
        return _BY_KIND[kind](f"{what}{self._shown()}")

    def stopped(self, what: str) -> ThresherError:
        self.heading(what)
        return ThresherError(f"{what}{self._shown()}")

    def _shown(self) -> str:
        return ": " + " | ".join(self._last) if self._last else ""


_BY_KIND: dict[ErrorKind, Callable[[str], ThresherError]] = {
    ErrorKind.FATAL: FatalError,
    ErrorKind.TEMPORARY: TemporaryError,
    ErrorKind.ERROR: ThresherError,
}
"""In the order of weight: one fatal line decides."""


def _ending(code: int) -> str:
    if code >= 0:
        return f"failed with exit code {code}" + (" (is there enough memory?)" if code == _KILLED else "")
    name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
    return f"was killed by {name}" + (" (is there enough memory?)" if -code == signal.SIGKILL else "")
