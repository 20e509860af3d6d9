"""What the graphs of an item have made: the files the customer is to get, and all that lies in our storage for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from catalogue.database import Connection
from catalogue.graphs import GraphShelf
from catalogue.hook.orders import OrderItem, OutputFile
from catalogue.hook.workflows import SourceKind, Workflow
from common.config import Settings
from common.features import TilePlace
from common.graph import Graph
from common.graph.document import Action, OutFile
from common.layers import EVERYTHING, PRODUCT, is_folder, layer_file_name, open_layer_store
from common.messages import SceneRef, TileRef


async def files_of(item: OrderItem, settings: Settings) -> list[str]:
    """The URIs of everything in our storage that belongs to the item alone."""
    storage = open_layer_store("", settings).storage
    return await storage.files(storage.uri(item.aoi))


async def outputs_of(
    connection: Connection, item: OrderItem, workflow: Workflow, shelf: GraphShelf, settings: Settings, stored: Sequence[str]
) -> list[OutputFile]:
    """The layers its tile graph indexed and created; of a tile graph that does nothing, what its scene graph created."""
    # Of a pair, the partner is there for its sake only.
    only = item.product if workflow.source is SourceKind.PAIR else None
    tiles = {row["id"]: _tile(row) for row in await connection.fetch(_TILES, item.aoi) if only in (None, row["scene"])}
    layers = [
        OutputFile(row["uri"], layer_file_name(tiles[row["tile_id"]], row["layer"], _suffix(row["uri"])))
        for row in await connection.fetch("SELECT uri, layer, tile_id FROM dataset WHERE aoi = $1 ORDER BY tile, layer", item.aoi)
        if row["tile_id"] in tiles
    ]
    tile_graph = shelf.get(workflow.graphs.tile, field="graphs.tile")
    makes = tile_graph.document.processing_steps or any(tile_graph.document.out_files)
    graph = tile_graph if makes else shelf.get(workflow.graphs.scene, field="graphs.scene")
    there = frozenset(stored)
    store = open_layer_store("", settings)
    created = [
        _created(tile, file, uri)
        for tile in tiles.values()
        for file in _creates(graph)
        if (uri := store.uri(tile, file.layer, file.extension)) in there
    ]
    return [*layers, *created]


_TILES = """
SELECT t.id, t.source_id, t.swath_id, t.tile_nr, s.id AS scene_id, s.source_id AS scene, s.date, a.name AS aoi
FROM tile t JOIN scene s ON s.id = t.scene_id JOIN aoi a ON a.id = t.aoi_id WHERE a.name = $1 AND t.status = 'DONE' ORDER BY s.date, t.id
"""


def _tile(row: Any) -> TileRef:
    scene = SceneRef(id=row["scene_id"], source_id=row["scene"], aoi=row["aoi"], date=row["date"])
    return TileRef(id=row["id"], source_id=row["source_id"], scene=scene, place=TilePlace(swath_id=row["swath_id"], tile_nr=row["tile_nr"]))


def _creates(graph: Graph) -> Iterator[OutFile]:
    return (file for file in graph.document.out_files[0] if file.action is Action.CREATE)


def _created(tile: TileRef, file: OutFile, uri: str) -> OutputFile:
    name = layer_file_name(tile, file.layer, file.extension)
    if not is_folder(file.extension):
        return OutputFile(uri, name)
    if file.extension == EVERYTHING:
        # Of the product itself: as it came. A folder of files without one around them gets the product's name.
        return OutputFile(uri, f"{name}.zip", packed=True, folder=tile.scene.source_id if file.layer == PRODUCT else name)
    if file.extension == "data":
        return OutputFile(uri, f"{name}.zip", packed=True, within=name, folder=tile.scene.source_id)
    return OutputFile(uri, f"{name}.zip", packed=True)


def _suffix(uri: str) -> str:
    return uri.rpartition("/")[2].rpartition(".")[2]
