"""AOIs, scenes and tiles as people look at them: the objects of the reference, with its field names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from catalogue.database import Connection
from catalogue.workflow.status import DOT_COLOURS, Status, overall
from common.errors import NotFoundError
from common.features import SceneData, TileData
from common.times import UtcDatetime

ORDER_PREFIX = "order:"
"""Of the names of AOIs that belong to on-demand orders."""


class View(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Attempt(View):
    """One attempt at a scene or a tile."""

    attempt: int
    state: str
    outcome: str
    worker: str
    created_at: UtcDatetime
    started_at: UtcDatetime | None
    ended_at: UtcDatetime | None
    not_before: UtcDatetime | None
    error_kind: str
    message: str
    log: str
    """URI of what its steps printed; empty: none is kept."""


class SceneHead(View):
    """A scene where the tile is what matters. In lists of tiles its data holds the date alone."""

    id: int
    source_id: str
    aoi: str
    data: dict[str, JsonValue]


class SceneView(SceneHead):
    status: Status
    message: str
    retry_count_down: int = Field(serialization_alias="RetryCountDown")
    attempts: list[Attempt] | None = None
    """Only when a single scene is asked for."""


class TileHead(View):
    """A tile without its state: roots and leaves."""

    id: int
    source_id: str
    scene: SceneHead
    data: TileData


class TileView(TileHead):
    status: Status
    message: str
    previous_id: int | None = Field(serialization_alias="PreviousID")
    reference_id: int | None = Field(serialization_alias="ReferenceID")
    retry_count_down: int = Field(serialization_alias="RetryCountDown")
    attempts: list[Attempt] | None = None


class AoiHead(View):
    id: str = Field(serialization_alias="ID")
    status: Status


class StatusCounts(View):
    new: int = 0
    pending: int = 0
    done: int = 0
    retry: int = 0
    failed: int = 0
    total: int = 0


class AoiSummary(View):
    """Where an AOI stands."""

    name: str
    status: Status
    scenes: StatusCounts
    tiles: StatusCounts
    root_tiles: int
    from_date: date | None = Field(serialization_alias="from")
    """Of the first root tile."""
    to_date: date | None = Field(serialization_alias="to")
    """Of the last leaf tile."""

    def text(self) -> str:
        """The summary of the reference."""
        lines: list[str] = []
        for title, counts in (("Scenes", self.scenes), ("Tiles", self.tiles)):
            lines.append(f"{title}:")
            lines += [f"  {key + ':':<8} {getattr(counts, key)}" for key in ("new", "pending", "done", "retry", "failed")]
            lines.append(f"  Total:   {counts.total}")
        dates = [f"  From: {self.from_date or '-'}", f"  To:   {self.to_date or '-'}"]
        return "\n".join([*lines, "", f"Root tiles : {self.root_tiles}", *dates, ""])


@dataclass(frozen=True)
class Page:
    """A page of a list; `limit` None: all."""

    number: int = 0
    limit: int | None = None

    @property
    def offset(self) -> int:
        return self.number * (self.limit or 0)


async def list_aois(connection: Connection, pattern: str = "*") -> list[AoiHead]:
    """The AOIs whose name matches a pattern of `*` and `?`; those of orders only if it says `order:`."""
    like = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%").replace("?", "_")
    rows = await connection.fetch(
        """SELECT a.name, c.counts FROM aoi a LEFT JOIN LATERAL (
               SELECT jsonb_object_agg(status, n) AS counts FROM (
                   SELECT status, sum(n) AS n FROM (
                       SELECT status, count(*) AS n FROM scene WHERE aoi_id = a.id GROUP BY status
                       UNION ALL SELECT status, count(*) FROM tile WHERE aoi_id = a.id GROUP BY status) AS both_kinds
                   GROUP BY status) AS by_status) AS c ON true
           WHERE a.name LIKE $1 AND ($2 OR NOT starts_with(a.name, $3)) ORDER BY a.name""",
        like,
        pattern.startswith(ORDER_PREFIX),
        ORDER_PREFIX,
    )
    return [AoiHead(id=row["name"], status=overall({Status(key): int(n) for key, n in (row["counts"] or {}).items()})) for row in rows]


async def summarise(connection: Connection, name: str) -> AoiSummary:
    """Raises NotFoundError."""
    aoi_id = await find_aoi(connection, name)
    scenes = await _counts(connection, "SELECT status, count(*) AS n FROM scene WHERE aoi_id = $1 GROUP BY status", aoi_id)
    tiles = await _counts(connection, "SELECT status, count(*) AS n FROM tile WHERE aoi_id = $1 GROUP BY status", aoi_id)
    row = await connection.fetchrow(
        """SELECT count(*) FILTER (WHERE t.previous_id IS NULL) AS roots, min(s.date) FILTER (WHERE t.previous_id IS NULL) AS first,
                  max(s.date) FILTER (WHERE NOT EXISTS (SELECT FROM tile n WHERE n.previous_id = t.id)) AS last
           FROM tile t JOIN scene s ON s.id = t.scene_id WHERE t.aoi_id = $1 AND t.status <> 'FAILED'""",
        aoi_id,
    )
    assert row is not None
    both = {status: scenes.get(status, 0) + tiles.get(status, 0) for status in Status}
    return AoiSummary(
        name=name,
        status=overall(both),
        scenes=_status_counts(scenes),
        tiles=_status_counts(tiles),
        root_tiles=row["roots"],
        from_date=row["first"].date() if row["first"] else None,
        to_date=row["last"].date() if row["last"] else None,
    )


async def find_aoi(connection: Connection, name: str) -> int:
    """The id of an AOI; raises NotFoundError."""
    aoi_id: int | None = await connection.fetchval("SELECT id FROM aoi WHERE name = $1", name)
    if aoi_id is None:
        raise NotFoundError(f"there is no AOI '{name[:100]}'", field="aoi")
    return aoi_id


async def list_scenes(connection: Connection, name: str, status: Status | None, page: Page) -> list[SceneView]:
    """Raises NotFoundError."""
    aoi_id = await find_aoi(connection, name)
    rows = await connection.fetch(
        f"{_SCENE} WHERE s.aoi_id = $1 AND ($2::item_status IS NULL OR s.status = $2) ORDER BY s.id OFFSET $3 LIMIT $4",
        aoi_id,
        status,
        page.offset,
        page.limit,
    )
    return [_scene(row) for row in rows]


async def get_scene(connection: Connection, scene_id: int) -> SceneView:
    """With its attempts. Raises NotFoundError."""
    row = await connection.fetchrow(f"{_SCENE} WHERE s.id = $1", scene_id)
    if row is None:
        raise NotFoundError(f"there is no scene {scene_id}", field="scene")
    return _scene(row).model_copy(update={"attempts": await _attempts(connection, scene_id, None)})


async def list_tiles(connection: Connection, name: str, status: Status, page: Page) -> list[TileView]:
    """Raises NotFoundError."""
    aoi_id = await find_aoi(connection, name)
    rows = await connection.fetch(
        f"{_TILE} WHERE t.aoi_id = $1 AND t.status = $2 ORDER BY t.id OFFSET $3 LIMIT $4", aoi_id, status, page.offset, page.limit
    )
    return [_tile(row, whole=False) for row in rows]


async def list_scene_tiles(connection: Connection, scene_id: int) -> list[TileView]:
    """Raises NotFoundError."""
    await get_scene(connection, scene_id)
    return [_tile(row, whole=False) for row in await connection.fetch(f"{_TILE} WHERE t.scene_id = $1 ORDER BY t.id", scene_id)]


async def get_tile(connection: Connection, tile_id: int) -> TileView:
    """With its attempts. Raises NotFoundError."""
    row = await connection.fetchrow(f"{_TILE} WHERE t.id = $1", tile_id)
    if row is None:
        raise NotFoundError(f"there is no tile {tile_id}", field="tile")
    return _tile(row, whole=True).model_copy(update={"attempts": await _attempts(connection, None, tile_id)})


async def list_ends(connection: Connection, name: str, *, roots: bool) -> list[TileHead]:
    """The tiles that follow none (roots), or that none follows (leaves); FAILED ones are out of their series. Raises NotFoundError."""
    aoi_id = await find_aoi(connection, name)
    condition = "t.previous_id IS NULL" if roots else "NOT EXISTS (SELECT FROM tile n WHERE n.previous_id = t.id AND n.status <> 'FAILED')"
    rows = await connection.fetch(f"{_TILE} WHERE t.aoi_id = $1 AND t.status <> 'FAILED' AND {condition} ORDER BY t.id", aoi_id)
    return [TileHead(**dict(_tile(row, whole=True))) for row in rows]


async def dot(connection: Connection, name: str) -> str:
    """The scenes and tiles of an AOI and what follows what, in the language of Graphviz. Raises NotFoundError."""
    aoi_id = await find_aoi(connection, name)
    scenes = await connection.fetch("SELECT id, source_id, status FROM scene WHERE aoi_id = $1 ORDER BY id", aoi_id)
    tiles = await connection.fetch(
        "SELECT id, scene_id, source_id, previous_id, status FROM tile WHERE aoi_id = $1 ORDER BY scene_id, id", aoi_id
    )
    lines = [f"digraph {name if name.isalnum() else _quoted(name)} {{"]
    for prefix, rows, shape in (("s", scenes, " shape=box"), ("t", tiles, "")):
        for row in rows:
            label = f'"{row["source_id"]}\\n(id={row["id"]})"'
            lines.append(f"{prefix}{row['id']} [label={label}{shape} color={DOT_COLOURS[Status(row['status'])]}];")
    done = {row["id"] for row in scenes if row["status"] == Status.DONE}
    for tile in tiles:
        lines.append(f"s{tile['scene_id']} -> t{tile['id']} [color=gray{'' if tile['scene_id'] in done else ' style=dotted'}];")
        if tile["previous_id"] is not None:
            lines.append(f"t{tile['previous_id']} -> t{tile['id']}{'' if tile['status'] == Status.DONE else ' [style=dotted]'};")
    return "\n".join([*lines, "}", ""])


_SCENE = """
SELECT s.id, s.source_id, s.date, s.data, s.status, s.message, s.retries_left, a.name AS aoi FROM scene s JOIN aoi a ON a.id = s.aoi_id
"""

_TILE = """
SELECT t.id, t.source_id, t.swath_id, t.tile_nr, t.graph_name, t.is_retriable, t.previous_id, t.reference_id, t.status, t.message,
       t.retries_left, s.id AS scene_id, s.source_id AS scene, s.date, s.data, a.name AS aoi
FROM tile t JOIN scene s ON s.id = t.scene_id JOIN aoi a ON a.id = t.aoi_id
"""


async def _attempts(connection: Connection, scene_id: int | None, tile_id: int | None) -> list[Attempt]:
    rows = await connection.fetch(
        """SELECT attempt, state, outcome, worker, created_at, started_at, ended_at, not_before, error_kind, message, log
           FROM job WHERE scene_id = $1 OR tile_id = $2 ORDER BY seq""",
        scene_id,
        tile_id,
    )
    return [Attempt.model_validate(dict(row)) for row in rows]


async def _counts(connection: Connection, query: str, aoi_id: int) -> dict[Status, int]:
    return {Status(row["status"]): row["n"] for row in await connection.fetch(query, aoi_id)}


def _status_counts(counts: Mapping[Status, int]) -> StatusCounts:
    return StatusCounts(**{status.lower(): n for status, n in counts.items()}, total=sum(counts.values()))


def _data(row: Any) -> SceneData:
    return SceneData.model_validate({**row["data"], "date": row["date"]})


def _scene(row: Any) -> SceneView:
    return SceneView(
        id=row["id"],
        source_id=row["source_id"],
        aoi=row["aoi"],
        data=_data(row).document(),
        status=row["status"],
        message=row["message"],
        retry_count_down=row["retries_left"],
    )


def _tile(row: Any, *, whole: bool) -> TileView:
    data = _data(row) if whole else SceneData(date=row["date"])
    return TileView(
        id=row["id"],
        source_id=row["source_id"],
        scene=SceneHead(id=row["scene_id"], source_id=row["scene"], aoi=row["aoi"], data=data.document()),
        data=TileData(swath_id=row["swath_id"], tile_nr=row["tile_nr"], graph_name=row["graph_name"], is_retriable=row["is_retriable"]),
        status=row["status"],
        message=row["message"],
        previous_id=row["previous_id"],
        reference_id=row["reference_id"],
        retry_count_down=row["retries_left"],
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
