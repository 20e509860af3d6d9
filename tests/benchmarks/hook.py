"""Orders: how soon an urgent one begins before a backlog, and how fast lists are with many orders.

Run: python tests/benchmarks/hook.py [--backlog N] [--orders N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import asyncpg
from stack import Stack, running_stack

ORDER = "/odata/v1/BatchOrder/OData.CSC.Order"
SLEEP_S = 3


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=1_000, help="orders that wait when the urgent one comes")
    parser.add_argument("--orders", type=int, default=100_000, help="orders in the database for the lists")
    arguments = parser.parse_args()
    async with running_stack() as stack:
        database = await asyncpg.connect(stack.database_url)
        print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
        if arguments.backlog:
            stack.start("downloader", "downloader")
            stack.start("processor", "processor", THRESHER_WORKER_CONCURRENCY="2")
            await urgent(stack, database, arguments.backlog)
        if arguments.orders:
            await lists(stack, database, arguments.orders)
        await database.close()


async def place(stack: Stack, priority: int = 1) -> tuple[int, float]:
    """The number of a new order, and the seconds until the answer."""
    options = [{"Name": "sleep_time", "Value": SLEEP_S}]
    body = {"Name": "backlog", "WorkflowName": "odp-test", "IdentifierList": [], "WorkflowOptions": options, "Priority": priority}
    begun = time.perf_counter()
    async with stack.http.post(stack.url + ORDER, data=json.dumps(body)) as response:
        document = await response.json()
        assert response.status == 201, document
    return document["value"]["Id"], time.perf_counter() - begun


async def urgent(stack: Stack, database: asyncpg.Connection, count: int) -> None:
    gate = asyncio.Semaphore(8)

    async def one() -> float:
        async with gate:
            return (await place(stack))[1]

    begun = time.perf_counter()
    times = sorted(await asyncio.gather(*(one() for _ in range(count))))
    print(f"{count} orders placed:       {time.perf_counter() - begun:.1f} s, each {times[len(times) // 2] * 1000:.0f} ms (median)")
    while await database.fetchval("SELECT count(*) FROM hook_item WHERE phase = 'resolve'"):
        await asyncio.sleep(0.05)
    print(f"all of them are work after: {time.perf_counter() - begun:.1f} s")
    while await database.fetchval("SELECT count(*) FROM scene WHERE status <> 'DONE'"):
        await asyncio.sleep(0.05)
    waiting = await database.fetchval("SELECT count(*) FROM hook_item WHERE status = 'queued'")
    number, _ = await place(stack, priority=10)
    placed = time.time()
    while (state := await database.fetchval("SELECT status FROM hook_item WHERE id = $1", number)) == "queued":
        await asyncio.sleep(0.005)
    seconds = time.time() - placed
    running = await database.fetchval("SELECT count(*) FROM hook_item WHERE status = 'in_progress'")
    assert state == "in_progress", state
    behind = await database.fetchval("SELECT count(*) FROM hook_item WHERE status = 'queued'")
    print(
        f"urgent order:            in progress {seconds:.2f} s after it was placed behind {waiting} queued ones; a worker is free "
        f"every {SLEEP_S / 2:.1f} s on average; {waiting - behind} of them began meanwhile, {running} are running"
    )
    async with stack.http.get(f"{stack.url}/odata/v1/BatchOrder", params={"$top": "1000", "$filter": "Status ne 'completed'"}) as response:
        orders = [each["Id"] for each in (await response.json())["value"]]

    async def cancel(order: int) -> None:
        async with gate, stack.http.post(f"{stack.url}/odata/v1/BatchOrder({order})/OData.CSC.Cancel") as answer:
            assert answer.status in (200, 409)

    begun = time.perf_counter()
    await asyncio.gather(*(cancel(order) for order in orders))
    print(f"{len(orders)} orders cancelled:    {time.perf_counter() - begun:.1f} s")


async def lists(stack: Stack, database: asyncpg.Connection, count: int) -> None:
    await database.execute(
        """WITH o AS (
               INSERT INTO hook_order (uuid, owner, name, workflow, version, priority, options, given, status)
               SELECT gen_random_uuid(), '', 'DEDL - Hook presentation - ' || n, CASE n % 3 WHEN 0 THEN 'lai' ELSE 'data-harvest' END,
                      '1.0', 1, '{}', '[["output_storage", "TEMPORARY"], ["source_type", "DESP"]]',
                      CASE n % 5 WHEN 0 THEN 'failed' ELSE 'completed' END
               FROM generate_series(1, $1) AS n RETURNING *)
           INSERT INTO hook_item (id, order_id, owner, name, workflow, priority, submitted_at, identifier, status, phase)
           SELECT id, id, owner, name, workflow, priority, submitted_at, 'S2A_' || id, status, 'ended' FROM o""",
        count,
        timeout=600,
    )
    await database.execute("VACUUM ANALYZE", timeout=600)
    newest = await database.fetchval("SELECT max(id) FROM hook_order")
    queries = {
        "ProductionOrders": {},
        "ProductionOrders, $top=1000": {"$top": "1000"},
        "… by number": {"$filter": f"id eq {newest - count // 2}"},
        "… contains(Name, …), many": {"$filter": "contains(Name,'060')"},
        "… contains(Name, …), none": {"$filter": "contains(Name,'nothing like it')"},
        "… endswith(Name, …), counted": {"$filter": "endswith(Name,'060')", "$count": "true"},
        "… WorkflowName and Status": {"$filter": "WorkflowName eq 'lai' and Status eq 'completed'", "$count": "true"},
        "… by name": {"$orderby": "Name asc"},
        "BatchOrder": {"$count": "true"},
        f"BatchOrder({newest})/Products": {},
    }
    print(f"lists with {count:,} orders:   median, longest of 100")
    for name, query in queries.items():
        path = name.split(",")[0] if not name.startswith("…") else "ProductionOrders"
        times = []
        for _ in range(101):
            begun = time.perf_counter()
            async with stack.http.get(f"{stack.url}/odata/v1/{path}", params=query) as response:
                await response.read()
                assert response.status == 200
            times.append((time.perf_counter() - begun) * 1000)
        times = sorted(times[1:])
        print(f"  {name:34} {times[len(times) // 2]:6.1f} ms {times[-1]:6.1f} ms")


if __name__ == "__main__":
    asyncio.run(main())
