"""`graph check`, `graph explain` and `graph run`: graphs tried out without a service, by the processor in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from thresher.cli.console import told_plainly
from thresher.cli.download import service_environment

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
    _ask("check", name, folder=folder, config=config)


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
    tiles = {"scene": scene, "tile": tile, "date": date, "previous": previous, "reference": reference, "swath": swath, "number": number}
    _ask("explain", name, **tiles, layers=layers, set=values, folder=folder, config=config)


@graph.command("run")
@told_plainly
def run(
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
    tiles = {"scene": scene, "tile": tile, "date": date, "previous": previous, "reference": reference, "swath": swath, "number": number}
    files = {"out": out, "product": product, "input": inputs, "clip": clip}
    _ask("run", name, **files, **tiles, layers=layers, set=values, folder=folder, config=config)


def _ask(action: str, name: str, **options: object) -> None:
    """Have the processor do it; its exit code is ours."""
    command = [sys.executable, "-P", "-m", "processor.graphs", action]
    for key, value in options.items():
        command += [f"--{key}={_text(each)}" for each in (value if isinstance(value, list) else [value]) if each]
    code = subprocess.run([*command, "--", name], env=service_environment(), check=False).returncode
    if code:
        raise typer.Exit(code if code > 0 else 128 - code)


def _text(value: object) -> str:
    return value.date().isoformat() if isinstance(value, datetime) else str(value)
