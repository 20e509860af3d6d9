"""`scenes` and `tiles`: what a payload finds, to look at and to edit before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thresher.cli.console import complaints, note, output, run, told_plainly

if TYPE_CHECKING:
    from rich.table import Table

    from common.features import SceneCollection

PayloadPath = Annotated[Path, typer.Argument(metavar="PAYLOAD", help="Payload, JSON or YAML; - reads standard input.")]
OutputPath = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Keep them as GeoJSON, to edit and submit; - writes to standard output."),
]
Page = Annotated[int | None, typer.Option(min=0, help="Page of the answer, from 0; default: the payload's.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Scenes on a page; default: the payload's, else all.")]


@told_plainly
def scenes(payload: PayloadPath, output_file: OutputPath = None, page: Page = None, limit: Limit = None) -> None:
    """List the scenes a payload finds, with their volume."""
    from thresher.cli.files import load_payload
    from thresher.client import Client
    from thresher.tables import scenes_table

    loaded = load_payload(payload)

    async def find() -> SceneCollection:
        async with Client() as client:
            return await client.scenes(loaded.document, page=page, limit=limit)

    with complaints().status("asking the catalogues"):
        found = run(find())
    _present(found, scenes_table(found, loaded.payload), output_file)


@told_plainly
def tiles(
    payload: PayloadPath,
    scenes_file: Annotated[
        Path | None, typer.Option("--scenes", metavar="FILE", help="Split these scenes, as kept by `scenes -o`.")
    ] = None,
    output_file: OutputPath = None,
    map_file: Annotated[Path | None, typer.Option("--map", metavar="PNG", help="Draw them on a map.")] = None,
    page: Page = None,
    limit: Limit = None,
) -> None:
    """List the tiles of the scenes a payload finds, or of edited scenes."""
    from thresher.cli.files import load_payload, load_scenes
    from thresher.client import Client
    from thresher.tables import tiles_table

    loaded = load_payload(payload)
    edited = load_scenes(scenes_file) if scenes_file else None

    async def find() -> SceneCollection:
        async with Client() as client:
            return await client.tiles(loaded.document, edited, page=page, limit=limit)

    with complaints().status("asking the catalogues"):
        found = run(find())
    _present(found, tiles_table(found, loaded.payload), output_file)
    if map_file is not None:
        from thresher.map import draw_map

        draw_map(found, loaded.payload.area, map_file, name=loaded.payload.name)
        note(f"map in {map_file}")


def _present(found: SceneCollection, table: Table, output_file: Path | None) -> None:
    from thresher.cli.files import STANDARD, write_json
    from thresher.tables import print_table

    if output_file is not None:
        write_json(output_file, found.geojson())
    print_table(complaints() if output_file == STANDARD else output(), table)
    if not found.scenes:
        note("nothing found: look at the dates, the area and scene_type.parameters of the payload")
    for sentence in found.notes:
        note(sentence)
    if found.has_next:
        note("there may be more: ask for the next --page")
