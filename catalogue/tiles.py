"""From scenes to tiles: the whole scene is its own tile, unless it is made of bursts."""

from __future__ import annotations

from common.errors import UserError
from common.features import SceneCollection, SceneFeature, TileData, TileFeature, TilePlace
from common.payload import Payload
from common.product_names import Constellation

COPY_GRAPH = "CopyProductToStorage"


def find_tiles(payload: Payload, scenes: SceneCollection) -> SceneCollection:
    """The scenes with their tiles. Raises UserError for products whose tiles cannot be listed."""
    return scenes.with_scenes([_with_tiles(payload, scene) for scene in scenes.scenes])


def has_bursts(payload: Payload, scene: SceneFeature) -> bool:
    """Whether the tiles of the scene are bursts: a Sentinel-1 SLC that is processed, not copied."""
    return (
        payload.scene_type.constellation is Constellation.SENTINEL1
        and payload.scene_graph_name != COPY_GRAPH
        and "_SLC_" in scene.source_id
    )


def _with_tiles(payload: Payload, scene: SceneFeature) -> SceneFeature:
    if has_bursts(payload, scene):
        raise UserError(
            f"{scene.source_id} is made of bursts, which cannot be listed yet: post its tiles, or copy it with '{COPY_GRAPH}'",
            field="scene_graph_name",
        )
    tile = TileFeature(
        source_id=scene.source_id,
        scene_id=scene.source_id,
        date=scene.data.date,
        wkt=scene.wkt,
        data=TileData(graph_name=payload.tile_graph_name, is_retriable=payload.is_retriable),
    )
    data = scene.data.model_copy(update={"tiles": {scene.source_id: TilePlace()}})
    return scene.model_copy(update={"tiles": [tile], "data": data})
