"""`graph check`, `graph explain` and `graph run`: graphs tried out without a service."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thresher.cli.console import ExitCode, complain, note, output, told_plainly

if TYPE_CHECKING:
    from thresher.trial import Trial

graph = typer.Typer(no_args_is_help=True, help="Processing graphs, tried out without a service.", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="FILE", help="A graph: its file, or the name of one that comes with the program.")]
Folders = Annotated[list[Path] | None, typer.Option("--folder", metavar="DIR", help="Where the scripts of the graph are.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Configuration file.")]
Values = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, as `graph_config` of a payload gives it.")]
Layers = Annotated[str, typer.Option("--layers", metavar="A,B", help="The layers a payload asks for; all by default.")]
Scene = Annotated[str, typer.Option("--scene", metavar="NAME", help="Name of the scene; its date is taken from it.")]
Tile = Annotated[str, typer.Option("--tile", metavar="NAME", help="Name of the tile; by default that of the scene.")]
Date = Annotated[datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="Date of the scene.")]
Previous = Annotated[str, typer.Option("--previous", metavar="NAME", help="Scene of the tile before.")]
Reference = Annotated[str, typer.Option("--reference", metavar="NAME", help="Scene of the first tile of the series.")]
Swath = Annotated[str, typer.Option("--swath", metavar="IW1", help="Swath of the tile.")]
Number = Annotated[int, typer.Option("--number", help="Number of the tile in its swath.")]


@graph.command("check")
@told_plainly
def check(name: Name, folder: Folders = None, config: Config = None) -> None:
    """Read a graph and say what is wrong with it."""
    from thresher.graph_report import problems, remarks

    trial = _trial(name, folder, config)
    for remark in remarks(trial):
        note(remark)
    wrong = list(problems(trial))
    for problem in wrong:
        complain(problem)
    if wrong:
        raise typer.Exit(ExitCode.USAGE)
    steps, layers = len(trial.graph.document.processing_steps), ", ".join(sorted(trial.graph.indexed_layers)) or "none"
    output().print(f"{trial.graph.name}: {steps} steps for workers that serve {trial.graph.capability}; layers it can index: {layers}")


@graph.command("explain")
@told_plainly
def explain(
    name: Name,
    scene: Scene = "",
    tile: Tile = "",
    date: Date = None,
    previous: Previous = "",
    reference: Reference = "",
    swath: Swath = "",
    number: Number = 0,
    layers: Layers = "",
    values: Values = None,
    folder: Folders = None,
    config: Config = None,
) -> None:
    """Print what would run for a tile: files, commands with their arguments, what is kept. Nothing is run."""
    from thresher.graph_report import explanation

    trial = _trial(name, folder, config, scene, tile, date, previous, reference, swath, number, layers, values)
    for line in explanation(trial):
        output().print(line, markup=False)


@graph.command("run")
@told_plainly
def run_graph(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to put the layers.")],
    product: Annotated[Path | None, typer.Option("--product", metavar="PATH", help="The product: its folder or archive.")] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="LAYER=PATH", help="Another in file; LAYER@1 of the previous, LAYER@2 of the reference tile."),
    ] = None,
    clip: Annotated[Path | None, typer.Option("--clip", metavar="FILE", help="Area to cut to (GeoJSON).")] = None,
    scene: Scene = "",
    tile: Tile = "",
    date: Date = None,
    previous: Previous = "",
    reference: Reference = "",
    swath: Swath = "",
    number: Number = 0,
    layers: Layers = "",
    values: Values = None,
    folder: Folders = None,
    config: Config = None,
) -> None:
    """Run a graph on a product at hand. What its steps print is kept in `steps.log`."""
    from dataclasses import replace

    from thresher.trial import product_name, run_trial

    scene = scene or (product_name(product) if product else "")
    trial = _trial(name, folder, config, scene, tile, date, previous, reference, swath, number, layers, values)
    trial = replace(trial, inputs={layer: Path(path) for layer, path in _pairs(inputs, "--input").items()})
    for made in run_trial(trial, product, out, clip):
        output().print(f"{made.path} ({made.layer}: {made.note})" if made.note else str(made.path), markup=False)


def _trial(
    name: str,
    folders: list[Path] | None,
    config: Path | None,
    scene: str = "",
    tile: str = "",
    date: datetime | None = None,
    previous: str = "",
    reference: str = "",
    swath: str = "",
    number: int = 0,
    layers: str = "",
    values: list[str] | None = None,
) -> Trial:
    from common.config import load_settings
    from common.features import TilePlace
    from common.graph.tiles import GraphTiles
    from thresher.trial import SAMPLE_SCENE, Trial, find_graph, sample_tile

    found, around = find_graph(name, folders or [], load_settings(config))
    moment = date.replace(tzinfo=UTC) if date else None
    place = TilePlace(swath_id=swath, tile_nr=number)
    scene = scene or SAMPLE_SCENE
    tiles = GraphTiles(
        sample_tile(scene, tile=tile, date=moment, place=place),
        sample_tile(previous, tile=tile or scene, place=place, number=2) if previous else None,
        sample_tile(reference, tile=tile or scene, place=place, number=3) if reference else None,
    )
    return Trial(found, tiles, {**_pairs(values, "--set"), "layers": layers, "clip": ""}, around)


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    from common.errors import UserError

    pairs = {}
    for text in texts or []:
        key, is_pair, value = text.partition("=")
        if not is_pair or not key:
            raise UserError(f"{option} {text}: KEY=VALUE is expected")
        pairs[key] = value
    return pairs
