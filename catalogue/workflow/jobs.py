"""Job rows: one attempt at a scene or a tile. Written in the transaction that makes the work ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from catalogue.database import Connection
from common.messages import JobKind

CHANNEL = "thresher_jobs"
"""NOTIFY on it is a hint to dispatchers that jobs are ready."""


async def create_jobs(connection: Connection, kind: JobKind, items: Sequence[int], *, delays_s: Mapping[int, float] | None = None) -> None:
    """A ready job for each of the items (ids of scenes or tiles), not to be sent before its delay has passed."""
    if not items:
        return
    delays = [(delays_s or {}).get(item, 0.0) for item in items]
    await connection.execute(_INSERT[kind], list(items), delays)
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, kind.value)


_INSERT = {
    JobKind.SCENE: """
        INSERT INTO job (kind, scene_id, attempt, priority, capability, state, not_before)
        SELECT 'scene', s.id, 1 + (SELECT count(*) FROM job j WHERE j.scene_id = s.id), s.priority, s.capability,
               CASE WHEN a.paused THEN 'held' ELSE 'ready' END::job_state,
               CASE WHEN wanted.delay > 0 THEN now() + make_interval(secs => wanted.delay) END
        FROM unnest($1::bigint[], $2::float8[]) WITH ORDINALITY AS wanted (id, delay, place)
        JOIN scene s ON s.id = wanted.id JOIN aoi a ON a.id = s.aoi_id
        ORDER BY wanted.place""",
    JobKind.TILE: """
        INSERT INTO job (kind, tile_id, attempt, priority, capability, state, not_before)
        SELECT 'tile', t.id, 1 + (SELECT count(*) FROM job j WHERE j.tile_id = t.id), s.priority, t.capability,
               CASE WHEN a.paused THEN 'held' ELSE 'ready' END::job_state,
               CASE WHEN wanted.delay > 0 THEN now() + make_interval(secs => wanted.delay) END
        FROM unnest($1::bigint[], $2::float8[]) WITH ORDINALITY AS wanted (id, delay, place) JOIN tile t ON t.id = wanted.id
        JOIN scene s ON s.id = t.scene_id JOIN aoi a ON a.id = t.aoi_id
        ORDER BY wanted.place""",
}


async def supersede(connection: Connection, kind: JobKind, items: Sequence[int], reason: str) -> None:
    """End the live jobs of items whose state was changed by hand; a result that still comes is late."""
    await connection.execute(
        """UPDATE job SET state = 'finished', outcome = 'superseded', message = $3, ended_at = now()
           WHERE id IN (SELECT id FROM job WHERE state <> 'finished'
                        AND CASE WHEN $1 = 'scene' THEN scene_id ELSE tile_id END = ANY($2) ORDER BY id FOR NO KEY UPDATE)""",
        kind.value,
        list(items),
        reason,
    )


async def hold(connection: Connection) -> None:
    """Hold the ready jobs of paused AOIs. Also those made while the AOI was being paused: the dispatcher calls it now and then."""
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM aoi WHERE paused)"):
        return
    await connection.execute(
        """UPDATE job SET state = 'held' WHERE id IN (
               SELECT j.id FROM aoi a JOIN scene s ON s.aoi_id = a.id JOIN job j ON j.scene_id = s.id WHERE a.paused AND j.state = 'ready'
               UNION ALL
               SELECT j.id FROM aoi a JOIN tile t ON t.aoi_id = a.id JOIN job j ON j.tile_id = t.id WHERE a.paused AND j.state = 'ready'
           ) AND state = 'ready'"""
    )


async def unhold(connection: Connection, aoi_id: int) -> None:
    """Make the held jobs of an AOI ready."""
    await connection.execute(
        """UPDATE job SET state = 'ready' WHERE state = 'held' AND (
               scene_id IN (SELECT id FROM scene WHERE aoi_id = $1) OR tile_id IN (SELECT id FROM tile WHERE aoi_id = $1))""",
        aoi_id,
    )
    for kind in JobKind:
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, kind.value)
