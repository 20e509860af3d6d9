"""What a person changes by hand: retry, fail, force a status, pause, resume, delete. A result that comes after it is late."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from catalogue.database import Connection
from catalogue.workflow.deletions import request_deletions
from catalogue.workflow.jobs import create_jobs, hold, supersede, unhold
from catalogue.workflow.status import Status
from catalogue.workflow.transitions import Change, change_scenes, change_tiles, lock_items, revive_tiles
from catalogue.workflow.views import find_aoi
from common.errors import ForbiddenTransitionError, NotFoundError
from common.messages import JobKind

_ALLOWED = {
    Status.PENDING: {Status.RETRY},
    Status.FAILED: {Status.PENDING, Status.RETRY},
}
"""Without force: the states an item may be retried or failed from."""


@dataclass(frozen=True)
class Retried:
    scenes: int
    tiles: int


async def set_status(connection: Connection, kind: JobKind, item: int, status: Status, *, force: bool = False) -> None:
    """Bring a scene or tile to `status`. Raises NotFoundError, ForbiddenTransitionError."""
    async with connection.transaction():
        await lock_items(connection, *(([item], []) if kind is JobKind.SCENE else ([], [item])))
        row = await connection.fetchrow(_ITEM[kind], item)
        if row is None:
            raise NotFoundError(f"there is no {kind} {item}", field=kind.value)
        current = Status(row["status"])
        if not force and current not in _ALLOWED.get(status, set()):
            raise ForbiddenTransitionError(f"a {kind} that is {current} cannot become {status}")
        if status is Status.PENDING and row["waits"]:
            raise ForbiddenTransitionError(f"the {kind} waits for its scene or the tile before it")
        await supersede(connection, kind, [item], f"set to {status} by hand")
        message = "" if status in (Status.PENDING, Status.DONE, Status.NEW) else row["message"]
        change = change_scenes if kind is JobKind.SCENE else change_tiles
        await change(connection, [Change(item, status, row["retries_left"], message)])
        if status is Status.PENDING:
            await create_jobs(connection, kind, [item])
            if kind is JobKind.SCENE:
                await revive_tiles(connection, [item])


async def retry_aoi(connection: Connection, name: str, *, force: bool = False) -> Retried:
    """Retry all that is RETRY; with `force` also what is PENDING or FAILED and waits for nothing. Raises NotFoundError."""
    async with connection.transaction():
        aoi_id = await find_aoi(connection, name)
        states = [Status.RETRY, Status.PENDING, Status.FAILED] if force else [Status.RETRY]
        scenes = await _ids(connection, "SELECT id FROM scene WHERE aoi_id = $1 AND status = ANY($2::item_status[])", aoi_id, states)
        tiles = await _ids(
            connection,
            """SELECT t.id FROM tile t JOIN scene s ON s.id = t.scene_id LEFT JOIN tile p ON p.id = t.previous_id
               WHERE t.aoi_id = $1 AND t.status = ANY($2::item_status[]) AND s.status = 'DONE'
                 AND (p.id IS NULL OR p.status = 'DONE')""",
            aoi_id,
            states,
        )
        await lock_items(connection, scenes, tiles)
        # Read again under the locks: what a result has changed meanwhile is left alone.
        scenes = await _ids(connection, "SELECT id FROM scene WHERE id = ANY($1) AND status = ANY($2::item_status[])", scenes, states)
        tiles = await _ids(connection, "SELECT id FROM tile WHERE id = ANY($1) AND status = ANY($2::item_status[])", tiles, states)
        for kind, items in ((JobKind.SCENE, scenes), (JobKind.TILE, tiles)):
            await supersede(connection, kind, items, "retried by hand")
            await connection.execute(_RETRY[kind], items)
            await create_jobs(connection, kind, items)
        await revive_tiles(connection, scenes)
    return Retried(len(scenes), len(tiles))


async def create_aoi(connection: Connection, name: str) -> bool:
    """Whether it is new."""
    return bool(await connection.fetchval("INSERT INTO aoi (name) VALUES ($1) ON CONFLICT (name) DO NOTHING RETURNING true", name))


async def pause_aoi(connection: Connection, name: str, *, paused: bool) -> None:
    """Send no more jobs of the AOI, or send them again; what runs already runs on. Raises NotFoundError."""
    async with connection.transaction():
        aoi_id = await connection.fetchval("UPDATE aoi SET paused = $2 WHERE name = $1 RETURNING id", name, paused)
        if aoi_id is None:
            raise NotFoundError(f"there is no AOI '{name[:100]}'", field="aoi")
        if not paused:
            await unhold(connection, aoi_id)
    if paused:
        # After the commit, so that jobs made meanwhile either see the pause or are seen here.
        await hold(connection)


@dataclass(frozen=True)
class SentJob:
    """A job that may wait in the broker or run somewhere."""

    id: UUID
    stream_seq: int | None


async def delete_aoi(connection: Connection, name: str, *, layers: bool = False) -> list[SentJob]:
    """Remove the AOI with its scenes, tiles and jobs; the jobs that were sent, to be cancelled. With `layers` also its datasets with
    their files, and the records no dataset and no scene needs any more. Raises NotFoundError.
    """
    async with connection.transaction():
        aoi_id = await connection.fetchval("SELECT id FROM aoi WHERE name = $1 FOR UPDATE", name)
        if aoi_id is None:
            raise NotFoundError(f"there is no AOI '{name[:100]}'", field="aoi")
        # In the order of locks, so that it never meets a result in a circle.
        await connection.execute("SELECT FROM scene WHERE aoi_id = $1 ORDER BY id FOR UPDATE", aoi_id)
        await connection.execute("SELECT FROM tile WHERE aoi_id = $1 ORDER BY id FOR UPDATE", aoi_id)
        records = await connection.fetch("SELECT DISTINCT record_id AS id FROM scene WHERE aoi_id = $1 AND record_id IS NOT NULL", aoi_id)
        deleted = [
            *await connection.fetch("DELETE FROM job USING tile t WHERE job.tile_id = t.id AND t.aoi_id = $1 RETURNING job.*", aoi_id),
            *await connection.fetch("DELETE FROM job USING scene s WHERE job.scene_id = s.id AND s.aoi_id = $1 RETURNING job.*", aoi_id),
        ]
        for statement in ("DELETE FROM tile WHERE aoi_id = $1", "DELETE FROM scene WHERE aoi_id = $1", "DELETE FROM aoi WHERE id = $1"):
            await connection.execute(statement, aoi_id)
        await request_deletions(connection, [row["log"] for row in deleted if row["log"]])
        if layers:
            await _delete_layers(connection, name, [row["id"] for row in records])
    return [SentJob(row["id"], row["stream_seq"]) for row in deleted if row["state"] == "sent"]


async def _delete_layers(connection: Connection, name: str, records: list[UUID]) -> None:
    datasets = await connection.fetch("DELETE FROM dataset WHERE aoi = $1 RETURNING uri, record_id", name)
    await request_deletions(connection, [row["uri"] for row in datasets])
    await connection.execute(
        """DELETE FROM record r WHERE r.id = ANY($1) AND NOT EXISTS (SELECT FROM dataset WHERE record_id = r.id)
           AND NOT EXISTS (SELECT FROM scene WHERE record_id = r.id)""",
        sorted({*records, *(row["record_id"] for row in datasets)}),
    )


_RETRY = {
    JobKind.SCENE: "UPDATE scene SET status = 'PENDING', message = '' WHERE id = ANY($1)",
    JobKind.TILE: "UPDATE tile SET status = 'PENDING', message = '' WHERE id = ANY($1)",
}

_ITEM = {
    JobKind.SCENE: "SELECT status, retries_left, message, false AS waits FROM scene WHERE id = $1",
    JobKind.TILE: """SELECT t.status, t.retries_left, t.message, s.status <> 'DONE' OR coalesce(p.status <> 'DONE', false) AS waits
                     FROM tile t JOIN scene s ON s.id = t.scene_id LEFT JOIN tile p ON p.id = t.previous_id WHERE t.id = $1""",
}


async def _ids(connection: Connection, query: str, *arguments: object) -> list[int]:
    return sorted(row["id"] for row in await connection.fetch(query, *arguments))
