"""What would run: the configuration of a graph for a tile, and of each step whose condition holds the command with its arguments.

Nothing is started here: running a graph carries out its plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigurationError, FatalError, ThresherError
from common.graph.arguments import argument_values
from common.graph.conditions import tile_condition_holds
from common.graph.document import Step
from common.graph.engines import ENGINES
from common.graph.hooks import CONFIG_FILE, CONFIG_NAME
from common.graph.invocation import Invocation, StepCall, Surroundings
from common.graph.library import Graph
from common.graph.tiles import GraphTiles
from common.step_settings import GraphSettings


@dataclass(frozen=True)
class PlannedStep:
    """A step that runs, and how."""

    number: int
    """From 1, in the graph."""
    step: Step
    invocation: Invocation

    @property
    def title(self) -> str:
        return f"step {self.number} ({self.step.command})"


def graph_config(graph: Graph, config: Mapping[str, str], workdir: Path) -> dict[str, str]:
    """The graph's defaults, over them `config`, over them what is always ours; a graph may have a setting of its own named like ours."""
    ours = {"workdir": str(workdir)} | ({} if CONFIG_FILE in graph.config else {CONFIG_FILE: CONFIG_NAME})
    return {**graph.config, **config, **ours}


def planned_steps(graph: Graph, config: Mapping[str, str], tiles: GraphTiles, workdir: Path, around: Surroundings) -> list[PlannedStep]:
    """The steps that run for these tiles. `config` is whole; raises ThresherError naming graph, step and what is wrong with it."""
    planned = [
        planned_step(graph, number, config, tiles, workdir, around)
        for number, step in enumerate(graph.document.processing_steps, start=1)
        if tile_condition_holds(step.condition, tiles)
    ]
    for each in planned:
        if each.invocation.missing:
            raise FatalError(f"graph '{graph.name}', step {each.number}: {each.invocation.missing}")
    return planned


def planned_step(
    graph: Graph, number: int, config: Mapping[str, str], tiles: GraphTiles, workdir: Path, around: Surroundings
) -> PlannedStep:
    """Step `number` as if its condition held; raises ThresherError."""
    step = graph.document.processing_steps[number - 1]
    try:
        values = argument_values(step, config, tiles)
        call = StepCall(step, values, config, workdir, graph.document.envs, memory_mb(graph, around.graphs))
        return PlannedStep(number, step, ENGINES[step.engine].invocation(call, around))
    except ThresherError as error:
        raise type(error)(f"graph '{graph.name}', step {number}: {error}") from None


def memory_mb(graph: Graph, settings: GraphSettings) -> int:
    """What each of its steps may take (0: as much as there is); raises ConfigurationError where its class is not known."""
    name = graph.document.memory_class
    if not name:
        return settings.step_memory_mb
    if name not in settings.memory_classes:
        known = ", ".join(sorted(settings.memory_classes)) or "none"
        raise ConfigurationError(f"memory class '{name}' is not known here (graphs.memory_classes: {known})")
    return settings.memory_classes[name]
