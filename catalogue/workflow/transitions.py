"""Changes of state, as set-based SQL: scenes and tiles done or failed, and the tiles that become ready by it.

The caller holds the locks of `lock_items`. Every function takes ids and works on all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalogue.database import Connection
from catalogue.workflow.jobs import create_jobs, supersede
from catalogue.workflow.status import Status
from common.messages import JobKind

_SCENE_FAILED = "its scene failed"


@dataclass(frozen=True)
class Change:
    """The new state of one scene or tile."""

    item: int
    status: Status
    retries_left: int
    message: str = ""


async def lock_items(connection: Connection, scenes: Sequence[int], tiles: Sequence[int]) -> None:
    """Lock scenes, their tiles, `tiles`, and the tiles that come next or refer to one of these, each by ascending id."""
    if scenes:
        await connection.execute("SELECT FROM scene WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", scenes)
    # Uses tile_previous, tile_reference and the primary keys.
    await connection.execute(
        """WITH named AS (
               SELECT id FROM tile WHERE scene_id = ANY($1) UNION SELECT unnest($2::bigint[])
           ), touched AS (
               SELECT id FROM named
               UNION SELECT t.id FROM tile t JOIN named n ON t.previous_id = n.id
               UNION SELECT t.id FROM tile t JOIN named n ON t.reference_id = n.id
           )
           SELECT FROM tile WHERE id IN (SELECT id FROM touched) ORDER BY id FOR NO KEY UPDATE""",
        scenes,
        tiles,
    )


async def change_scenes(connection: Connection, changes: Sequence[Change]) -> None:
    """Set the state of scenes; a scene that is FAILED fails its tiles, one that is DONE makes tiles ready."""
    if not changes:
        return
    await connection.execute(
        """UPDATE scene SET status = new.status::item_status, retries_left = new.retries_left, message = new.message
           FROM unnest($1::bigint[], $2::text[], $3::int[], $4::text[]) AS new (id, status, retries_left, message)
           WHERE scene.id = new.id""",
        *_columns(changes),
    )
    failed = [change.item for change in changes if change.status is Status.FAILED]
    if failed:
        rows = await connection.fetch("SELECT id FROM tile WHERE scene_id = ANY($1) AND status IN ('NEW', 'PENDING', 'RETRY')", failed)
        tiles = sorted(row["id"] for row in rows)
        await supersede(connection, JobKind.TILE, tiles, _SCENE_FAILED)
        await change_tiles(connection, [Change(tile, Status.FAILED, 0, _SCENE_FAILED) for tile in tiles], keep_retries=True)
    done = [change.item for change in changes if change.status is Status.DONE]
    if done:
        rows = await connection.fetch("SELECT id FROM tile WHERE scene_id = ANY($1)", done)
        await make_ready(connection, [row["id"] for row in rows])


async def change_tiles(connection: Connection, changes: Sequence[Change], *, keep_retries: bool = False) -> None:
    """Set the state of tiles; those that are DONE make the next ones ready, those that are FAILED are taken out of their series."""
    if not changes:
        return
    await connection.execute(
        """UPDATE tile SET status = new.status::item_status, message = new.message,
                  retries_left = CASE WHEN $5 THEN tile.retries_left ELSE new.retries_left END
           FROM unnest($1::bigint[], $2::text[], $3::int[], $4::text[]) AS new (id, status, retries_left, message)
           WHERE tile.id = new.id""",
        *_columns(changes),
        keep_retries,
    )
    # One after the other, the latest first: two tiles of a series may fail at once.
    failed = await connection.fetch(
        "SELECT t.id FROM tile t JOIN scene s ON s.id = t.scene_id WHERE t.id = ANY($1) ORDER BY s.date DESC, t.id DESC",
        [change.item for change in changes if change.status is Status.FAILED],
    )
    touched: list[int] = []
    for row in failed:
        touched += await _unlink(connection, row["id"])
    done = [change.item for change in changes if change.status is Status.DONE]
    if done:
        touched += [row["id"] for row in await connection.fetch("SELECT id FROM tile WHERE previous_id = ANY($1)", done)]
    await make_ready(connection, touched)


async def make_ready(connection: Connection, candidates: Sequence[int]) -> None:
    """Those of the tiles that are NEW, whose scene is DONE and whose previous is none or DONE become PENDING, each with a job."""
    if not candidates:
        return
    rows = await connection.fetch(
        """UPDATE tile SET status = 'PENDING', message = '' FROM scene s
           WHERE tile.id = ANY($1) AND tile.status = 'NEW' AND s.id = tile.scene_id AND s.status = 'DONE'
             AND (tile.previous_id IS NULL OR EXISTS (SELECT FROM tile p WHERE p.id = tile.previous_id AND p.status = 'DONE'))
           RETURNING tile.id""",
        list(candidates),
    )
    await create_jobs(connection, JobKind.TILE, sorted(row["id"] for row in rows))


async def revive_tiles(connection: Connection, scenes: Sequence[int]) -> None:
    """The tiles that failed with their scenes wait for these again, each behind the nearest tile before it that did not fail."""
    rows = await connection.fetch(
        "UPDATE tile SET status = 'NEW', message = '' WHERE scene_id = ANY($1) AND status = 'FAILED' AND message = $2 RETURNING id",
        list(scenes),
        _SCENE_FAILED,
    )
    await connection.execute(
        """WITH RECURSIVE up AS (
               SELECT t.id, t.previous_id AS ancestor FROM tile t JOIN tile p ON p.id = t.previous_id
               WHERE t.id = ANY($1) AND p.status = 'FAILED'
               UNION ALL SELECT up.id, p.previous_id FROM up JOIN tile p ON p.id = up.ancestor WHERE p.status = 'FAILED'
           )
           UPDATE tile SET previous_id = up.ancestor FROM up LEFT JOIN tile a ON a.id = up.ancestor
           WHERE tile.id = up.id AND (up.ancestor IS NULL OR a.status <> 'FAILED')""",
        [row["id"] for row in rows],
    )


async def _unlink(connection: Connection, tile: int) -> list[int]:
    """Take a failed tile out of its series: the next ones take its previous as theirs. Of a root, the first next becomes the new root,
    previous of the other next ones and reference of the series. Returns the next tiles.
    """
    rows = await connection.fetch(
        """SELECT t.id FROM tile t JOIN scene s ON s.id = t.scene_id
           WHERE t.previous_id = $1 AND t.status = 'NEW' ORDER BY s.date, t.id""",
        tile,
    )
    nexts = [row["id"] for row in rows]
    if nexts:
        await connection.execute(
            """UPDATE tile SET previous_id = CASE WHEN failed.previous_id IS NULL AND tile.id <> $2 THEN $2 ELSE failed.previous_id END
               FROM tile failed WHERE failed.id = $1 AND tile.id = ANY($3)""",
            tile,
            nexts[0],
            nexts,
        )
    # Uses tile_reference. The root of each tile's own series, as it now is.
    await connection.execute(
        """WITH RECURSIVE up AS (
               SELECT id, id AS ancestor, previous_id FROM tile WHERE reference_id = $1 AND status = 'NEW'
               UNION ALL SELECT up.id, p.id, p.previous_id FROM up JOIN tile p ON p.id = up.previous_id
           )
           UPDATE tile SET reference_id = CASE WHEN up.ancestor <> tile.id THEN up.ancestor END FROM up
           WHERE tile.id = up.id AND up.previous_id IS NULL""",
        tile,
    )
    return nexts


def _columns(changes: Sequence[Change]) -> tuple[list[int], list[str], list[int], list[str]]:
    return (
        [change.item for change in changes],
        [change.status.value for change in changes],
        [change.retries_left for change in changes],
        [change.message for change in changes],
    )
