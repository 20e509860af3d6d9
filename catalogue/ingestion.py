"""Posting: records, scenes, tiles and their first jobs, all in one transaction. What the AOI has already is left as it is.

`check_features` and `check_scenes` say whether reviewed scenes are what they should be and may be posted; `ingest` posts them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

import shapely
from pydantic import BaseModel
from shapely.geometry.base import BaseGeometry

from catalogue.cube.records import LINK_TAGS, RecordSpec, reuse_or_create
from catalogue.cube.variables import resolve_layers
from catalogue.database import Connection
from catalogue.graphs import GraphShelf
from catalogue.linking import LinkPlan, apply_links, plan_links, scene_list
from catalogue.places import bounding_box, bounding_boxes
from catalogue.sentinel1.series import TileName
from catalogue.workflow.jobs import create_jobs
from common.config import Settings
from common.errors import ConfigurationError, UserError
from common.features import SceneFeature
from common.geometry import as_multipolygon, check_footprints, footprints_from_wkt
from common.graph.document import PRODUCT_MEMBERS
from common.layers import open_layer_store
from common.messages import JobKind
from common.payload import Payload
from common.urls import check_url
from common.validation import shown_key

Value = TypeVar("Value")

_SOURCE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")
_SWATH = re.compile(r"[A-Za-z0-9_-]{0,32}")
_MARGIN = 0.01
"""Degrees around a scene within which the AOI is kept for cutting layers: footprints are coarser than pixels."""


@dataclass(frozen=True)
class IngestedScene:
    id: int
    source_id: str
    tiles: int


@dataclass(frozen=True)
class Ingestion:
    """What a post has created."""

    name: str
    scenes: list[IngestedScene] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def tile_count(self) -> int:
        return sum(scene.tiles for scene in self.scenes)


def check_features(scenes: Sequence[SceneFeature], where: str) -> None:
    """Raise UserError naming what is wrong in the scenes of the document `where` themselves: names and footprints."""
    seen: set[str] = set()
    footprints: dict[str, str] = {}
    for index, scene in enumerate(scenes):
        here = f"{where}.features.{index}.properties"
        _check_name(scene.source_id, f"{here}.source_id")
        if scene.source_id in seen:
            raise UserError(f"scene '{scene.source_id[:100]}' stands twice", field=f"{here}.source_id")
        seen.add(scene.source_id)
        footprints[f"{here}.wkt"] = scene.wkt
        tiles: set[str] = set()
        for number, tile in enumerate(scene.tiles):
            there = f"{here}.tiles.{number}"
            _check_name(tile.source_id, f"{there}.SourceID")
            if tile.source_id in tiles:
                raise UserError(f"tile '{tile.source_id[:100]}' stands twice", field=f"{there}.SourceID")
            tiles.add(tile.source_id)
            if tile.scene_id != scene.source_id:
                raise UserError(f"belongs to '{tile.scene_id[:100]}', not to this scene", field=f"{there}.SceneID")
            footprints[f"{there}.wkt"] = tile.wkt
            if not _SWATH.fullmatch(tile.data.swath_id):
                raise UserError(f"{tile.data.swath_id!r} is not the name of a swath", field=f"{there}.data.swath_id")
        for name, place in scene.data.tiles.items():
            if not _SWATH.fullmatch(place.swath_id):
                raise UserError(f"{place.swath_id!r} is not the name of a swath", field=f"{here}.data.tiles.{shown_key(name)}.swath_id")
    check_footprints(footprints)


def check_scenes(payload: Payload, scenes: Sequence[SceneFeature], settings: Settings, shelf: GraphShelf, where: str) -> None:
    """Raise UserError naming what in the scenes of the document `where` does not go with the payload or with this deployment. Nothing
    that comes back from a review is trusted.
    """
    if len(scenes) > settings.limits.scenes_per_payload:
        raise UserError(f"{len(scenes)} scenes are more than the {settings.limits.scenes_per_payload} allowed at once", field=where)
    check_features(scenes, where)
    for index, scene in enumerate(scenes):
        _check_scene(payload, scene, f"{where}.features.{index}.properties", settings, shelf)


def _check_scene(payload: Payload, scene: SceneFeature, where: str, settings: Settings, shelf: GraphShelf) -> None:
    if scene.aoi and scene.aoi != payload.name:
        raise UserError(f"the scene was listed for '{scene.aoi[:100]}', not for '{payload.name}'", field=f"{where}.aoi")
    for tag, value in payload.record_tags.items():
        if scene.tags.get(tag, value) != value:
            raise UserError(
                f"the scene has '{scene.tags[tag][:100]}', the payload's record_tags '{value[:100]}'", field=f"{where}.tags.{tag}"
            )
    shelf.get(scene.data.graph_name or payload.scene_graph_name, field=f"{where}.data.graph_name")
    if scene.data.storage_uri != payload.storage_uri:
        check_storage(scene.data.storage_uri, settings, f"{where}.data.storage_uri")
    if _crops(payload) and not payload.area.intersects(scene.footprint()):
        raise UserError("the scene lies outside of the area that its layers are to be cut to (graph_config.crop)", field=f"{where}.wkt")
    metadata = scene.data.metadata
    links = {"item": metadata.item, "download_link": metadata.download_link}
    links.update((f"assets.{shown_key(key)}.href", asset.href) for key, asset in metadata.assets.items())
    for name, link in links.items():
        if link or name.startswith("assets."):
            check_url(link, settings.limits.allowed_urls, field=f"{where}.data.metadata.{name}")
    for number, tile in enumerate(scene.tiles):
        shelf.get(tile.data.graph_name or payload.tile_graph_name, field=f"{where}.tiles.{number}.data.graph_name")


def check_storage(uri: str, settings: Settings, where: str) -> None:
    """Raise UserError naming `where` if files may not be kept at `uri` (empty: the default storage)."""
    try:
        if uri:
            open_layer_store(uri, settings)
    except (UserError, ConfigurationError) as error:
        raise UserError(error.detail if isinstance(error, UserError) else str(error), field=where) from None


async def ingest(
    connection: Connection,
    payload: Payload,
    document: dict[str, object],
    scenes: Sequence[SceneFeature],
    shelf: GraphShelf,
    where: str = "scenes",
) -> Ingestion:
    """Create what the AOI lacks of the scenes and their tiles, with records and jobs.

    `document` is the payload as it was posted, `where` the name of the document of the scenes.
    Raises UserError (a missing variable, an unknown link); then nothing is created.
    """
    async with connection.transaction():
        instances = await resolve_layers(connection, payload.layers)
        await connection.execute("INSERT INTO aoi (name) VALUES ($1) ON CONFLICT (name) DO NOTHING", payload.name)
        # Posts to one AOI take turns from here on.
        aoi_id: int = await connection.fetchval("SELECT id FROM aoi WHERE name = $1 FOR NO KEY UPDATE", payload.name)
        await connection.execute(
            "INSERT INTO payload (aoi_id, document, area) VALUES ($1, $2, $3)", aoi_id, document, shapely.to_wkb(payload.area)
        )
        wanted = sorted((scene for scene in scenes if scene.tiles), key=lambda scene: (scene.data.date, scene.source_id))
        existing = {
            row["source_id"]
            for row in await connection.fetch(
                "SELECT source_id FROM scene WHERE aoi_id = $1 AND source_id = ANY($2)", aoi_id, [scene.source_id for scene in wanted]
            )
        }
        new = [scene for scene in wanted if scene.source_id not in existing]
        if not new:
            return Ingestion(payload.name)
        fields = {scene.source_id: f"{where}.features.{index}.properties" for index, scene in enumerate(scenes)}
        plan = await plan_links(connection, aoi_id, new, fields)
        records = await reuse_or_create(connection, [_record(payload, scene, plan) for scene in plan.scenes])
        ids = await _insert_scenes(connection, aoi_id, payload, plan.scenes, records, instances, shelf)
        tiles = await _insert_tiles(connection, aoi_id, payload, plan, ids, shelf)
        await apply_links(connection, plan, tiles)
        await create_jobs(connection, JobKind.SCENE, ids)
    return Ingestion(
        payload.name,
        [IngestedScene(scene_id, scene.source_id, len(scene.tiles)) for scene_id, scene in zip(ids, plan.scenes, strict=True)],
        plan.notes,
    )


def _record(payload: Payload, scene: SceneFeature, plan: LinkPlan) -> RecordSpec:
    tags = {**payload.record_tags, **scene.tags}
    links = [plan.links[TileName(scene.source_id, tile.source_id)] for tile in scene.tiles]
    for tag, names in zip(LINK_TAGS, zip(*links, strict=True), strict=True):
        tags[tag] = scene_list(name.scene for name in names if name is not None)
    return RecordSpec(scene.source_id, scene.data.date, tags, scene.footprint())


async def _insert_scenes(
    connection: Connection,
    aoi_id: int,
    payload: Payload,
    scenes: Sequence[SceneFeature],
    records: Sequence[UUID],
    instances: dict[str, str],
    shelf: GraphShelf,
) -> list[int]:
    crop = _crops(payload)
    data = [
        scene.data.model_copy(
            update={
                "graph_name": scene.data.graph_name or payload.scene_graph_name,
                "graph_config": _graph_config(payload, scene, shelf),
                "is_retriable": _given(scene.data, "is_retriable", payload.is_retriable),
                "storage_uri": scene.data.storage_uri or payload.storage_uri,
                "record_id": str(record),
                "instances_id": instances,
            }
        )
        for scene, record in zip(scenes, records, strict=True)
    ]
    rows = await connection.fetch(
        """INSERT INTO scene (aoi_id, source_id, date, data, tags, footprint, bbox, record_id, clip, capability, priority, retries_left)
           SELECT $1, source_id, date, data, tags, footprint, bbox, record_id, clip, capability, $2, $3
           FROM unnest($4::text[], $5::timestamptz[], $6::jsonb[], $7::jsonb[], $8::bytea[], $9::box[], $10::uuid[], $11::bytea[],
                       $12::text[])
                WITH ORDINALITY AS new (source_id, date, data, tags, footprint, bbox, record_id, clip, capability, place)
           ORDER BY new.place RETURNING id, source_id""",
        aoi_id,
        payload.priority,
        payload.retry_count,
        [scene.source_id for scene in scenes],
        [scene.data.date for scene in scenes],
        [document.document() for document in data],
        [scene.tags for scene in scenes],
        [shapely.to_wkb(scene.footprint()) for scene in scenes],
        [bounding_box(scene.footprint()) for scene in scenes],
        list(records),
        [_clip(payload.area, scene.footprint()) if crop else None for scene in scenes],
        [shelf.get(document.graph_name, field="scene_graph_name").capability for document in data],
    )
    ids = {row["source_id"]: row["id"] for row in rows}
    return [ids[scene.source_id] for scene in scenes]


async def _insert_tiles(
    connection: Connection,
    aoi_id: int,
    payload: Payload,
    plan: LinkPlan,
    scene_ids: Sequence[int],
    shelf: GraphShelf,
) -> dict[TileName, int]:
    """The ids of the new tiles; their links are not written yet."""
    tiles = [
        (scene_id, scene, tile)
        for scene_id, scene in zip(scene_ids, plan.scenes, strict=True)
        for tile in sorted(scene.tiles, key=lambda tile: (tile.data.swath_id, tile.data.tile_nr, tile.source_id))
    ]
    places = [scene.data.tiles.get(tile.source_id) for _, scene, tile in tiles]
    graphs = [tile.data.graph_name or payload.tile_graph_name for _, _, tile in tiles]
    footprints = footprints_from_wkt([tile.wkt for _, _, tile in tiles])
    tile_names = [TileName(scene.source_id, tile.source_id) for _, scene, tile in tiles]
    rows = await connection.fetch(
        """INSERT INTO tile (aoi_id, retries_left, scene_id, source_id, swath_id, tile_nr, graph_name, is_retriable, anx_time, footprint,
                             bbox, capability, place, linked_by_hand)
           SELECT $1, $2, new.* FROM unnest($3::bigint[], $4::text[], $5::text[], $6::int[], $7::text[], $8::bool[], $9::int[],
                                            $10::bytea[], $11::box[], $12::text[], $13::text[], $14::bool[]) AS new
           RETURNING id, scene_id, source_id""",
        aoi_id,
        payload.retry_count,
        [scene_id for scene_id, _, _ in tiles],
        [tile.source_id for _, _, tile in tiles],
        [tile.data.swath_id or (place.swath_id if place else "") for (_, _, tile), place in zip(tiles, places, strict=True)],
        [tile.data.tile_nr or (place.tile_nr if place else 0) for (_, _, tile), place in zip(tiles, places, strict=True)],
        graphs,
        [_given(tile.data, "is_retriable", payload.is_retriable) for _, _, tile in tiles],
        [tile.anx_time for _, _, tile in tiles],
        shapely.to_wkb(footprints).tolist(),
        bounding_boxes(footprints),
        [shelf.get(graph, field="tile_graph_name").capability for graph in graphs],
        [plan.places[name] for name in tile_names],
        [name in plan.by_hand for name in tile_names],
    )
    names = {scene_id: scene.source_id for scene_id, scene, _ in tiles}
    return {TileName(names[row["scene_id"]], row["source_id"]): row["id"] for row in rows}


def _graph_config(payload: Payload, scene: SceneFeature, shelf: GraphShelf) -> dict[str, str]:
    """What the payload says, or the scene for itself; with what the tile graphs need of the product, unless it says that too."""
    config = _given(scene.data, "graph_config", payload.graph_config)
    tile_graphs = [tile.data.graph_name or payload.tile_graph_name for tile in scene.tiles]
    members = shelf.members_for(scene.data.graph_name or payload.scene_graph_name, tile_graphs)
    return {PRODUCT_MEMBERS: ",".join(members), **config} if members else config


def _given(model: BaseModel, name: str, default: Value) -> Value:
    """What a reviewed scene or tile says for itself, else what the payload says."""
    value: Value = getattr(model, name) if name in model.model_fields_set else default
    return value


def _crops(payload: Payload) -> bool:
    return payload.graph_config.get("crop", "").lower() in ("true", "1", "yes")


def _clip(area: BaseGeometry, footprint: BaseGeometry) -> bytes:
    wkb: bytes = shapely.to_wkb(as_multipolygon(shapely.intersection(area, footprint.envelope.buffer(_MARGIN))))
    return wkb


def _check_name(text: str, where: str) -> None:
    if not _SOURCE_ID.fullmatch(text) or ".." in text:
        raise UserError(f"{text[:100]!r} is not a product name (letters, digits and _ . : -)", field=where)
