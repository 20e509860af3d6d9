"""How fast the workflow itself is: graphs that do nothing, everything on one machine.

Run: python tests/benchmarks/workflow.py [--tiles N]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import asyncpg
from stack import Stack, running_stack, tiles, wait_done


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=10_000, help="tiles of the throughput run")
    parser.add_argument("--hops", type=int, default=100, help="length of the chain of the latency run")
    parser.add_argument("--done", type=int, default=1_000_000, help="tiles already done in the database for the last run")
    arguments = parser.parse_args()
    async with running_stack() as stack:
        database = await asyncpg.connect(stack.database_url)
        stack.start("downloader", "downloader", THRESHER_WORKER_CONCURRENCY="16")
        stack.start("processor", "processor", THRESHER_WORKER_CONCURRENCY="16")
        print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
        await answer_times(stack)
        await latency(stack, database, arguments.hops)
        before = stack.processor_seconds()
        await throughput(stack, database, "many", arguments.tiles)
        costs = {name: (spent - before[name]) / arguments.tiles * 1000 for name, spent in stack.processor_seconds().items()}
        if arguments.done:
            await fill(database, arguments.done)
            await throughput(stack, database, "later", arguments.tiles, f", {arguments.done:,} tiles done before")
        print("processor time a tile:   " + ", ".join(f"{name} {cost:.2f} ms" for name, cost in costs.items()))
        print("memory, peak:            " + ", ".join(f"{name} {size} MB" for name, size in stack.memory_mb().items()))
        await database.close()


async def answer_times(stack: Stack) -> None:
    for scenes, each in ((200, 9), (1000, 27)):
        seconds = await stack.post(f"answer{scenes}", tiles(scenes, each), priority=-1000)
        print(f"POST {scenes} × {each} tiles:".ljust(25) + f"{seconds:.2f} s")
        async with stack.http.delete(f"{stack.url}/aoi/answer{scenes}") as response:
            assert response.status == 204


async def latency(stack: Stack, database: asyncpg.Connection, hops: int) -> None:
    await stack.post("chain", tiles(hops, 1))
    await wait_done(database, "chain")
    rows = await database.fetch(
        """SELECT extract(epoch FROM j.started_at - p.ended_at) * 1000 AS hop FROM tile t JOIN aoi a ON a.id = t.aoi_id
           JOIN job j ON j.tile_id = t.id JOIN job p ON p.tile_id = t.previous_id WHERE a.name = 'chain' ORDER BY t.id"""
    )
    figures = sorted(float(row["hop"]) for row in rows[len(rows) // 10 :])
    print(f"previous → next hop:     median {figures[len(figures) // 2]:.1f} ms, p99 {figures[int(len(figures) * 0.99)]:.1f} ms")


async def fill(database: asyncpg.Connection, count: int) -> None:
    """Tiles that are done, with their finished jobs, as a long life leaves them: a thousand to a scene."""
    scenes = max(1, count // 1000)
    await database.execute(
        """WITH a AS (INSERT INTO aoi (name) VALUES ('past') RETURNING id),
           s AS (INSERT INTO scene (aoi_id, source_id, date, data, tags, footprint, bbox, capability, priority, status, retries_left)
                 SELECT a.id, 'past_' || n, now(), '{}', '{}', '', box(point(0, 0), point(1, 1)), 'python', 1, 'DONE', 0
                 FROM a, generate_series(1, $1) AS n RETURNING id, aoi_id),
           t AS (INSERT INTO tile (scene_id, aoi_id, source_id, swath_id, tile_nr, graph_name, is_retriable, anx_time, footprint, bbox,
                                   capability, status, retries_left)
                 SELECT s.id, s.aoi_id, 'T' || n, '', 0, 'Pass', false, 0, '', box(point(0, 0), point(1, 1)), 'python', 'DONE', 0
                 FROM s, generate_series(1, 1000) AS n RETURNING id)
           INSERT INTO job (kind, tile_id, attempt, priority, capability, state, outcome)
           SELECT 'tile', id, 1, 1, 'python', 'finished', 'done' FROM t""",
        scenes,
        timeout=600,
    )
    await database.execute("ANALYZE", timeout=600)


async def throughput(stack: Stack, database: asyncpg.Connection, name: str, count: int, remark: str = "") -> None:
    """Steady state: the middle eight tenths of the tiles, by the time their attempts ended."""
    scenes = max(1, count // 100)
    await stack.post(name, tiles(scenes, 100, chained=False))
    await wait_done(database, name)
    row = await database.fetchrow(
        """WITH ended AS (SELECT j.ended_at, percent_rank() OVER (ORDER BY j.ended_at) AS rank
                          FROM job j JOIN tile t ON t.id = j.tile_id JOIN aoi a ON a.id = t.aoi_id WHERE a.name = $1)
           SELECT count(*) AS n, extract(epoch FROM max(ended_at) - min(ended_at)) AS seconds FROM ended WHERE rank BETWEEN 0.1 AND 0.9""",
        name,
    )
    print(f"tiles, steady state:     {row['n'] / float(row['seconds']):.0f} tiles/s ({scenes * 100} tiles of {scenes} scenes{remark})")


if __name__ == "__main__":
    asyncio.run(main())
