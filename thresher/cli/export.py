"""`export stac` and `export geoparquet`: the items of the cube as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thresher.cli.console import output, run, told_plainly

export = typer.Typer(no_args_is_help=True, help="What was made, as a catalogue in files.", rich_markup_mode=None)

Areas = Annotated[list[str] | None, typer.Option("--aoi", help="Only this area; may stand several times.")]


@export.command("stac")
@told_plainly
def stac(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that is not there yet, or empty.")], aoi: Areas = None
) -> None:
    """Write a static STAC catalogue; its items link to the layers in the service."""
    output().print(f"{run(_stac(folder, aoi or []))} items in {folder / 'catalog.json'}")


@export.command("geoparquet")
@told_plainly
def geoparquet(file: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="The file to write.")], aoi: Areas = None) -> None:
    """Write all items into one GeoParquet file."""
    output().print(f"{run(_geoparquet(file, aoi or []))} items in {file}")


async def _stac(folder: Path, aois: list[str]) -> int:
    from thresher.client import Client
    from thresher.export import export_stac

    async with Client() as client:
        return await export_stac(client, folder, aois)


async def _geoparquet(file: Path, aois: list[str]) -> int:
    from thresher.client import Client
    from thresher.export import export_geoparquet

    async with Client() as client:
        return await export_geoparquet(client, file, aois)
