"""Job messages written from the rows they are about, a whole batch in one query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from catalogue.database import Connection
from catalogue.places import wkt_of
from common.features import SceneData, SceneMetadata, TilePlace
from common.messages import Job, JobKind, SceneJob, SceneRef, TileJob, TileRef


@dataclass(frozen=True)
class Letter:
    """A job message and what its envelope needs."""

    kind: JobKind
    capability: str
    priority: int
    job: Job


async def write_letters(connection: Connection, kind: JobKind, jobs: Sequence[UUID]) -> list[Letter]:
    """The messages of the jobs, in the order in which they are to be sent."""
    if kind is JobKind.SCENE:
        rows = await connection.fetch(_SCENES, list(jobs))
        return [_letter(kind, row, _scene_job(row)) for row in rows]
    rows = await connection.fetch(_TILES, list(jobs))
    return [_letter(kind, row, _tile_job(row)) for row in rows]


_SCENES = """
SELECT j.id AS job, j.send, j.capability, j.priority, s.id, s.source_id, s.date, s.data, s.clip, a.name AS aoi,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'source_id', t.source_id, 'swath_id', t.swath_id, 'tile_nr', t.tile_nr)
               ORDER BY t.id), '[]') FROM tile t WHERE t.scene_id = s.id) AS tiles
FROM job j JOIN scene s ON s.id = j.scene_id JOIN aoi a ON a.id = s.aoi_id WHERE j.id = ANY($1) ORDER BY j.priority DESC, j.seq
"""

_TILES = """
SELECT j.id AS job, j.send, j.capability, j.priority, a.name AS aoi, s.data, s.clip, t.graph_name, t.is_retriable,
       t.id, t.source_id, t.swath_id, t.tile_nr, s.id AS scene_id, s.source_id AS scene, s.date, s.data ->> 'storage_uri' AS storage,
       p.id AS p_id, p.source_id AS p_source_id, p.swath_id AS p_swath_id, p.tile_nr AS p_tile_nr,
       ps.id AS p_scene_id, ps.source_id AS p_scene, ps.date AS p_date, ps.data ->> 'storage_uri' AS p_storage,
       r.id AS r_id, r.source_id AS r_source_id, r.swath_id AS r_swath_id, r.tile_nr AS r_tile_nr,
       rs.id AS r_scene_id, rs.source_id AS r_scene, rs.date AS r_date, rs.data ->> 'storage_uri' AS r_storage
FROM job j JOIN tile t ON t.id = j.tile_id JOIN scene s ON s.id = t.scene_id JOIN aoi a ON a.id = t.aoi_id
LEFT JOIN tile p ON p.id = t.previous_id LEFT JOIN scene ps ON ps.id = p.scene_id
LEFT JOIN tile r ON r.id = t.reference_id LEFT JOIN scene rs ON rs.id = r.scene_id
WHERE j.id = ANY($1) ORDER BY j.priority DESC, j.seq
"""


def _letter(kind: JobKind, row: Any, job: Job) -> Letter:
    return Letter(kind, row["capability"], row["priority"], job)


def _scene_job(row: Any) -> SceneJob:
    data = SceneData.model_validate({**row["data"], "date": row["date"]})
    scene = SceneRef(
        id=row["id"], source_id=row["source_id"], aoi=row["aoi"], date=row["date"], storage_uri=data.storage_uri, metadata=data.metadata
    )
    plain = scene.model_copy(update={"metadata": SceneMetadata()})
    return SceneJob(
        job=row["job"],
        send=row["send"],
        is_retriable=data.is_retriable,
        graph_name=data.graph_name,
        graph_config=data.graph_config,
        layers=sorted(data.instances_id),
        clip_wkt=wkt_of(row["clip"]) if row["clip"] is not None else None,
        scene=scene,
        tiles=[
            TileRef(
                id=tile["id"],
                source_id=tile["source_id"],
                scene=plain,
                place=TilePlace(swath_id=tile["swath_id"], tile_nr=tile["tile_nr"]),
            )
            for tile in row["tiles"]
        ],
    )


def _tile_job(row: Any) -> TileJob:
    data = SceneData.model_validate({**row["data"], "date": row["date"]})
    tile = _tile(row, "")
    assert tile is not None
    return TileJob(
        job=row["job"],
        send=row["send"],
        is_retriable=row["is_retriable"],
        graph_name=row["graph_name"],
        graph_config=data.graph_config,
        layers=sorted(data.instances_id),
        clip_wkt=wkt_of(row["clip"]) if row["clip"] is not None else None,
        tile=tile,
        previous=_tile(row, "p_"),
        reference=_tile(row, "r_"),
        instances=data.instances_id,
    )


def _tile(row: Any, prefix: str) -> TileRef | None:
    if row[prefix + "id"] is None:
        return None
    return TileRef(
        id=row[prefix + "id"],
        source_id=row[prefix + "source_id"],
        scene=SceneRef(
            id=row[prefix + "scene_id"],
            source_id=row[prefix + "scene"],
            aoi=row["aoi"],
            date=row[prefix + "date"],
            storage_uri=row[prefix + "storage"] or "",
        ),
        place=TilePlace(swath_id=row[prefix + "swath_id"], tile_nr=row[prefix + "tile_nr"]),
    )
