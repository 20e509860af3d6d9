"""What a graph would do, in words: the findings of a check, and the explanation of a run that does not take place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from common.errors import ErrorKind, ThresherError
from common.graph.arguments import argument_value, file_name
from common.graph.conditions import is_handled, tile_condition_holds
from common.graph.document import ALL, Action, Condition, ConfigArg, GraphDocument, InArg, OutArg, OutFile
from common.graph.plan import graph_config, planned_step
from common.graph.tiles import GraphTiles
from processor.trial import Trial

OURS = ("workdir", "layers", "clip")
"""Settings that are always there."""

_WORKDIR = Path("/WORKDIR")
_OUTCOMES = (
    ("when all steps have ended well", None),
    ("when a step has failed", ErrorKind.ERROR),
    ("when a step has failed for good", ErrorKind.FATAL),
)
_VERBS = {Action.CREATE: "store", Action.INDEX: "store and index", Action.DELETE: "delete", Action.IGNORE: "ignore"}


def problems(trial: Trial) -> Iterator[str]:
    """What keeps a well-formed graph from running: steps that are nowhere."""
    for number, step in enumerate(trial.graph.document.processing_steps, start=1):
        try:
            _command(trial, number)
        except ThresherError as error:
            yield f"step {number} ({step.command}): {error}"


def remarks(trial: Trial) -> Iterator[str]:
    """What may be meant, and is worth knowing."""
    document = trial.graph.document
    for key, place in _settings(document):
        if key not in document.config and key not in OURS:
            yield f"{place} takes the setting '{key}', which has no default: payloads must give it"
    given = {(slot, file.layer) for slot, files in enumerate(document.in_files) for file in files}
    made: set[str] = set()
    for number, step in enumerate(document.processing_steps, start=1):
        for name, argument in step.args.items():
            if isinstance(argument, InArg) and not {argument.layer, ALL} & made and (argument.tile_index, argument.layer) not in given:
                yield f"step {number} ({step.command}): no in file brings layer '{argument.layer}' of '{name}', and no step makes it"
        made |= {argument.layer for argument in step.args.values() if isinstance(argument, OutArg)}
    for files in document.out_files:
        for file in files:
            if file.action in (Action.CREATE, Action.INDEX) and not {file.layer, ALL} & made and not _is_given(file, document):
                yield f"out file '{file.layer}' is named by no argument of a step: a step must know its name"


def explanation(trial: Trial) -> Iterator[str]:
    """Line by line: configuration, in files, steps with their commands, out files."""
    graph, tiles = trial.graph, trial.tiles
    yield f"graph {graph.name}, for workers that serve {graph.capability}"
    yield f"tile {tiles.current.source_id} of {tiles.current.scene.source_id}, {tiles.current.scene.date:%Y-%m-%d}"
    for slot, name in ((1, "previous"), (2, "reference")):
        yield f"{name}: {tiles.slot(slot).scene.source_id if tiles.slot(slot) is not tiles.current else 'none, the tile itself counts'}"
    config = graph_config(graph, trial.config, _WORKDIR)
    yield "configuration:"
    yield from (f"  {key} = {value}" for key, value in sorted(config.items()))
    yield "in files:"
    yield from _in_files(graph.document, tiles) or ["  none"]
    yield "steps:"
    yield from _steps(trial) or ["  none"]
    for title, failure in _OUTCOMES:
        yield f"out files {title}:"
        yield from _out_files(graph.document, tiles, config, failure) or ["  none"]


def _in_files(document: GraphDocument, tiles: GraphTiles) -> list[str]:
    return [
        f"  fetch {file_name(tiles.slot(slot), file.layer, file.extension)} (T{slot})" + _unless(file.condition, tiles)
        for slot, files in enumerate(document.in_files)
        for file in files
    ]


def _steps(trial: Trial) -> list[str]:
    lines = []
    for number, step in enumerate(trial.graph.document.processing_steps, start=1):
        head = f"  {number} {step.engine}: "
        if not tile_condition_holds(step.condition, trial.tiles):
            lines.append(f"{head}{step.command}{_unless(step.condition, trial.tiles)}")
            continue
        try:
            config = graph_config(trial.graph, trial.config, _WORKDIR)
            invocation = planned_step(trial.graph, number, config, trial.tiles, _WORKDIR, trial.around).invocation
        except ThresherError as error:
            lines.append(f"{head}cannot run: {error}")
        else:
            lines.append(f"{head}{invocation}")
            if invocation.missing:
                lines.append(f"    not on this machine: {invocation.missing}")
    return lines


def _out_files(document: GraphDocument, tiles: GraphTiles, config: Mapping[str, str], failure: ErrorKind | None) -> list[str]:
    lines = []
    for slot, files in enumerate(document.out_files):
        for file in files:
            with_file = is_handled(file, tiles, lambda _: True, failure=failure, is_retriable=True)
            without = is_handled(file, tiles, lambda _: False, failure=failure, is_retriable=True)
            if with_file or without:
                name = file_name(tiles.slot(slot), file.layer, file.extension)
                if_there = "" if with_file and without else ", if it is there" if with_file else ", if it is not there"
                lines.append(f"  {_VERBS[file.action]} {name} (T{slot}){_format(file, tiles, config)}{if_there}")
    return lines


def _format(file: OutFile, tiles: GraphTiles, config: Mapping[str, str]) -> str:
    if file.action is not Action.INDEX:
        return ""
    if file.dformat_out is None:
        return f" as {file.datatype}"
    try:
        return f" as {argument_value(file.dformat_out, config, tiles)}"
    except ThresherError as error:
        return f", but {error}"


def _unless(condition: Condition, tiles: GraphTiles) -> str:
    return "" if tile_condition_holds(condition, tiles) else f": not now, {condition} does not hold"


def _command(trial: Trial, number: int) -> None:
    """Raise ThresherError where the command is nowhere; settings that are not known yet do not matter."""
    document = trial.graph.document
    config = {key: "" for key, _ in _settings(document)} | graph_config(trial.graph, trial.config, _WORKDIR) | dict.fromkeys(OURS, "")
    planned_step(trial.graph, number, config, trial.tiles, _WORKDIR, trial.around)


def _settings(document: GraphDocument) -> Iterator[tuple[str, str]]:
    for number, step in enumerate(document.processing_steps, start=1):
        yield from ((a.value, f"step {number} ({step.command})") for a in step.args.values() if isinstance(a, ConfigArg))
    for files in document.out_files:
        yield from ((f.dformat_out.value, f"out file '{f.layer}'") for f in files if isinstance(f.dformat_out, ConfigArg))


def _is_given(file: OutFile, document: GraphDocument) -> bool:
    """Whether it needs no step: it was fetched, is the product or lies there already."""
    fetched = {each.layer for files in document.in_files for each in files}
    return file.extension == ALL or file.layer in fetched or file.condition.is_file_condition or not document.processing_steps
