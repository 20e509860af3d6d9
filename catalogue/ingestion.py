"""Posting: records, scenes, tiles and their first jobs, all in one transaction. What the AOI has already is left as it is.

`check_scenes` says whether reviewed scenes may be posted; `ingest` posts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import shapely
from pydantic import BaseModel
from shapely.geometry.base import BaseGeometry

from catalogue.cube.records import LINK_TAGS, RecordSpec, reuse_or_create
from catalogue.cube.variables import resolve_layers
from catalogue.database import Connection
from catalogue.graphs import GraphShelf
from catalogue.places import bounding_box
from catalogue.workflow.jobs import create_jobs
from common.config import Settings
from common.errors import UserError
from common.features import SceneFeature, TileFeature, TileLink
from common.messages import JobKind
from common.payload import Payload
from common.urls import check_url

Value = TypeVar("Value")

_SOURCE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")
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


def check_scenes(payload: Payload, scenes: Sequence[SceneFeature], settings: Settings, shelf: GraphShelf) -> None:
    """Raise UserError naming what is wrong with scenes that came back from a review. Nothing is trusted."""
    if len(scenes) > settings.limits.scenes_per_payload:
        raise UserError(f"{len(scenes)} scenes are more than the {settings.limits.scenes_per_payload} allowed at once", field="scenes")
    seen: set[str] = set()
    for index, scene in enumerate(scenes):
        where = f"features.{index}"
        if scene.source_id in seen:
            raise UserError(f"scene '{scene.source_id[:100]}' stands twice", field=f"{where}.source_id")
        seen.add(scene.source_id)
        _check_scene(payload, scene, where, settings, shelf)


def _check_scene(payload: Payload, scene: SceneFeature, where: str, settings: Settings, shelf: GraphShelf) -> None:
    _check_name(scene.source_id, f"{where}.source_id")
    if scene.aoi and scene.aoi != payload.name:
        raise UserError(f"the scene was listed for '{scene.aoi[:100]}', not for '{payload.name}'", field=f"{where}.aoi")
    for tag, value in payload.record_tags.items():
        if scene.tags.get(tag, value) != value:
            raise UserError(
                f"the scene has '{scene.tags[tag][:100]}', the payload's record_tags '{value[:100]}'", field=f"{where}.tags.{tag}"
            )
    _footprint(scene, where)
    _check_graph(scene.data.graph_name or payload.scene_graph_name, shelf, f"{where}.data.graph_name")
    links = [scene.data.metadata.item, scene.data.metadata.download_link, *(link.href for link in scene.data.metadata.assets.values())]
    for link in filter(None, links):
        check_url(link, settings.limits.allowed_urls, field=f"{where}.data.metadata")
    names: set[str] = set()
    for number, tile in enumerate(scene.tiles):
        there = f"{where}.tiles.{number}"
        _check_name(tile.source_id, f"{there}.SourceID")
        if tile.source_id in names:
            raise UserError(f"tile '{tile.source_id[:100]}' stands twice", field=f"{there}.SourceID")
        names.add(tile.source_id)
        if tile.scene_id != scene.source_id:
            raise UserError(f"belongs to '{tile.scene_id[:100]}', not to this scene", field=f"{there}.SceneID")
        _footprint(tile, there)
        _check_graph(tile.data.graph_name or payload.tile_graph_name, shelf, f"{there}.data.graph_name")


async def ingest(
    connection: Connection, payload: Payload, document: dict[str, object], scenes: Iterable[SceneFeature], shelf: GraphShelf
) -> Ingestion:
    """Create what the AOI lacks of the scenes and their tiles, with records and jobs.

    `document` is the payload as it was posted. Raises UserError (a missing variable, an unknown link); then nothing is created.
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
        links = await _resolve_links(connection, aoi_id, new)
        records = await reuse_or_create(connection, [_record(payload, scene) for scene in new])
        ids = await _insert_scenes(connection, aoi_id, payload, new, records, instances, shelf)
        await _insert_tiles(connection, aoi_id, payload, new, ids, links, shelf)
        await create_jobs(connection, JobKind.SCENE, ids)
    return Ingestion(
        payload.name,
        [IngestedScene(scene_id, scene.source_id, len(scene.tiles)) for scene_id, scene in zip(ids, new, strict=True)],
    )


@dataclass(frozen=True)
class _Link:
    """What a new tile follows: a tile of this post by its names, or one that exists by its id."""

    scene_id: str
    source_id: str
    existing: int | None = None


@dataclass(frozen=True)
class _Links:
    previous: dict[tuple[str, str], _Link]
    reference: dict[tuple[str, str], _Link]
    """By (scene, tile) of the new tile."""


async def _resolve_links(connection: Connection, aoi_id: int, scenes: Sequence[SceneFeature]) -> _Links:
    """Find what the new tiles follow. Existing tiles are locked, so that none fails unseen before the new ones are there; a link to a
    tile that failed goes to what it followed itself.
    """
    posted = {(tile.scene_id, tile.source_id): scene.data.date for scene in scenes for tile in scene.tiles}
    named = {
        (link.scene_id, link.source_id)
        for scene in scenes
        for tile in scene.tiles
        for link in (tile.previous, tile.reference)
        if link is not None
    } - posted.keys()
    rows = await connection.fetch(
        """WITH RECURSIVE linked AS (
               SELECT t.id, t.previous_id, s.source_id AS scene, t.source_id AS tile, t.id AS first FROM tile t
               JOIN scene s ON s.id = t.scene_id
               JOIN unnest($2::text[], $3::text[]) AS named (scene, tile) ON s.source_id = named.scene AND t.source_id = named.tile
               WHERE t.aoi_id = $1
               UNION
               SELECT p.id, p.previous_id, l.scene, l.tile, l.first FROM linked l JOIN tile p ON p.id = l.previous_id
           ) SELECT * FROM linked""",
        aoi_id,
        [scene for scene, _ in named],
        [tile for _, tile in named],
    )
    await connection.execute("SELECT FROM tile WHERE id = ANY($1) ORDER BY id FOR SHARE", sorted({row["id"] for row in rows}))
    alive = {
        row["id"]
        for row in await connection.fetch("SELECT id FROM tile WHERE id = ANY($1) AND status <> 'FAILED'", [row["id"] for row in rows])
    }
    chains: dict[tuple[str, str], dict[int, int | None]] = {}
    starts: dict[tuple[str, str], int] = {}
    for row in rows:
        chains.setdefault((row["scene"], row["tile"]), {})[row["id"]] = row["previous_id"]
        starts[(row["scene"], row["tile"])] = row["first"]

    def follow(link: TileLink | None, date: datetime, where: str) -> _Link | None:
        if link is None:
            return None
        key = (link.scene_id, link.source_id)
        if key in posted:
            if posted[key] >= date:
                raise UserError(f"scene '{link.scene_id[:100]}' is not earlier than this one", field=where)
            return _Link(*key)
        if key not in starts:
            raise UserError(f"tile '{link.source_id[:100]}' of '{link.scene_id[:100]}' is neither posted nor in the AOI", field=where)
        tile: int | None = starts[key]
        while tile is not None and tile not in alive:
            tile = chains[key].get(tile)
        return _Link(*key, existing=tile) if tile is not None else None

    previous: dict[tuple[str, str], _Link] = {}
    reference: dict[tuple[str, str], _Link] = {}
    for scene in scenes:
        for tile in scene.tiles:
            key = (scene.source_id, tile.source_id)
            if (found := follow(tile.previous, scene.data.date, f"{tile.source_id}.previous")) is not None:
                previous[key] = found
                # A series whose root failed has its reference where its first tile now is.
                reference[key] = follow(tile.reference, scene.data.date, f"{tile.source_id}.reference") or found
    return _Links(previous, reference)


def _record(payload: Payload, scene: SceneFeature) -> RecordSpec:
    tags = {**payload.record_tags, **scene.tags}
    for tag, links in zip(LINK_TAGS, ([t.previous for t in scene.tiles], [t.reference for t in scene.tiles]), strict=True):
        tags[tag] = json.dumps(sorted({link.scene_id for link in links if link is not None}))
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
    crop = payload.graph_config.get("crop", "").lower() in ("true", "1", "yes")
    data = [
        scene.data.model_copy(
            update={
                "graph_name": scene.data.graph_name or payload.scene_graph_name,
                "graph_config": _given(scene.data, "graph_config", payload.graph_config),
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
    scenes: Sequence[SceneFeature],
    scene_ids: Sequence[int],
    links: _Links,
    shelf: GraphShelf,
) -> None:
    tiles = [
        (scene_id, scene, tile)
        for scene_id, scene in zip(scene_ids, scenes, strict=True)
        for tile in sorted(scene.tiles, key=lambda tile: (tile.data.swath_id, tile.data.tile_nr, tile.source_id))
    ]
    places = [scene.data.tiles.get(tile.source_id) for _, scene, tile in tiles]
    graphs = [tile.data.graph_name or payload.tile_graph_name for _, _, tile in tiles]
    rows = await connection.fetch(
        """INSERT INTO tile (aoi_id, retries_left, scene_id, source_id, swath_id, tile_nr, graph_name, is_retriable, anx_time, footprint,
                             bbox, capability)
           SELECT $1, $2, new.* FROM unnest($3::bigint[], $4::text[], $5::text[], $6::int[], $7::text[], $8::bool[], $9::int[],
                                            $10::bytea[], $11::box[], $12::text[]) AS new
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
        [shapely.to_wkb(tile.footprint()) for _, _, tile in tiles],
        [bounding_box(tile.footprint()) for _, _, tile in tiles],
        [shelf.get(graph, field="tile_graph_name").capability for graph in graphs],
    )
    names = {scene_id: scene.source_id for scene_id, scene, _ in tiles}
    ids = {(names[row["scene_id"]], row["source_id"]): row["id"] for row in rows}

    def target(link: _Link | None) -> int | None:
        return None if link is None else link.existing or ids[(link.scene_id, link.source_id)]

    linked = [key for key in ids if key in links.previous]
    await connection.execute(
        """UPDATE tile SET previous_id = new.previous_id, reference_id = new.reference_id
           FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS new (id, previous_id, reference_id) WHERE tile.id = new.id""",
        [ids[key] for key in linked],
        [target(links.previous[key]) for key in linked],
        [target(links.reference[key]) for key in linked],
    )


def _given(model: BaseModel, name: str, default: Value) -> Value:
    """What a reviewed scene or tile says for itself, else what the payload says."""
    value: Value = getattr(model, name) if name in model.model_fields_set else default
    return value


def _clip(area: BaseGeometry, footprint: BaseGeometry) -> bytes:
    wkb: bytes = shapely.to_wkb(shapely.intersection(area, footprint.envelope.buffer(_MARGIN)))
    return wkb


def _check_name(text: str, where: str) -> None:
    if not _SOURCE_ID.fullmatch(text) or ".." in text:
        raise UserError(f"{text[:100]!r} is not a product name (letters, digits and _ . : -)", field=where)


def _check_graph(name: str, shelf: GraphShelf, where: str) -> None:
    shelf.get(name, field=where)


def _footprint(item: SceneFeature | TileFeature, where: str) -> BaseGeometry:
    try:
        return item.footprint()
    except UserError as error:
        raise UserError(error.detail, field=f"{where}.wkt") from None
