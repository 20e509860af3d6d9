"""From scenes to tiles: the bursts of a Sentinel-1 SLC; any other scene is its own tile."""

from __future__ import annotations

from catalogue.sentinel1.annotations.reader import AnnotationReader
from catalogue.sentinel1.burst_tiles import ExistingBursts, list_bursts
from catalogue.sentinel1.bursts_api import BurstService
from common.features import SceneCollection, SceneFeature, TileData, TileFeature, TilePlace
from common.payload import Payload
from common.product_names import Constellation

COPY_GRAPH = "CopyProductToStorage"


async def find_tiles(
    payload: Payload, scenes: SceneCollection, reader: AnnotationReader, existing: ExistingBursts, service: BurstService | None = None
) -> SceneCollection:
    """The scenes with their tiles; scenes without any are left out, the notes say which and why.

    Bursts are linked among the scenes and to the `existing` ones of the AOI. Raises UserError, UpstreamError.
    """
    with_bursts = [scene for scene in scenes.scenes if has_bursts(payload, scene)]
    listed, notes = await list_bursts(payload, with_bursts, reader, existing, service) if with_bursts else ([], [])
    found = {scene.source_id: scene for scene in listed}
    tiled = [found.get(scene.source_id) if has_bursts(payload, scene) else _as_one_tile(payload, scene) for scene in scenes.scenes]
    return scenes.model_copy(update={"scenes": [scene for scene in tiled if scene is not None], "notes": [*scenes.notes, *notes]})


def has_bursts(payload: Payload, scene: SceneFeature) -> bool:
    """Whether the tiles of the scene are bursts: a Sentinel-1 SLC that is processed, not copied."""
    return (
        payload.scene_type.constellation is Constellation.SENTINEL1
        and payload.scene_graph_name != COPY_GRAPH
        and "_SLC_" in scene.source_id
    )


def _as_one_tile(payload: Payload, scene: SceneFeature) -> SceneFeature:
    tile = TileFeature(
        source_id=scene.source_id,
        scene_id=scene.source_id,
        date=scene.data.date,
        wkt=scene.wkt,
        data=TileData(graph_name=payload.tile_graph_name, is_retriable=payload.is_retriable),
    )
    data = scene.data.model_copy(update={"tiles": {scene.source_id: TilePlace()}})
    return scene.model_copy(update={"tiles": [tile], "data": data})
