"""How items and orders end: completed, failed or cancelled, each once. With an item ends what it had: its AOI, its files, its secrets."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from catalogue.database import Connection
from catalogue.hook.orders import Delivered, OrderStatus
from catalogue.workflow.deletions import request_deletions
from catalogue.workflow.manual import SentJob, delete_aoi
from common.errors import ConflictError, NotFoundError

_LONGEST_MESSAGE = 1000


@dataclass(frozen=True)
class Ended:
    """Whether the item was ended now, and by us; and the jobs that may still run for it."""

    now: bool
    jobs: list[SentJob] = field(default_factory=list)


async def end_item(
    connection: Connection,
    item: int,
    status: OrderStatus,
    *,
    message: str = "",
    delivered: Delivered | None = None,
    files: Sequence[str] = (),
) -> Ended:
    """End an item, and with the last one its order. `files`: URIs of ours that nobody needs any more. Where it has ended before, nothing
    changes but that a result that came too late is removed.
    """
    async with connection.transaction():
        order = await _lock(connection, item)
        row = await connection.fetchrow("SELECT phase, aoi_id FROM hook_item WHERE id = $1 FOR NO KEY UPDATE", item)
        if order is None or row is None or row["phase"] == "ended":
            await request_deletions(connection, [*files, *([delivered.uri] if delivered and delivered.uri else [])])
            return Ended(False)
        await connection.execute(
            """UPDATE hook_item SET status = $2, phase = 'ended', message = $3, processed_name = $4, processed_size = $5, output_uri = $6,
                      expires_at = $7, output_uuid = $8, completed_at = now() WHERE id = $1""",
            item,
            status.value,
            _plain(message),
            delivered.name if delivered else "",
            delivered.size if delivered else None,
            delivered.uri if delivered else "",
            delivered.expires_at if delivered else None,
            uuid.uuid4() if delivered else None,
        )
        jobs = await _remove_work(connection, row["aoi_id"])
        await request_deletions(connection, files)
        await _end_order(connection, order)
    return Ended(True, jobs)


async def cancel_items(connection: Connection, order: int, items: Sequence[int]) -> list[SentJob]:
    """Cancel what has not ended of these items of an order; the jobs to be stopped. Raises ConflictError where all have ended otherwise."""
    jobs: list[SentJob] = []
    async with connection.transaction():
        await connection.execute("SELECT FROM hook_order WHERE id = $1 FOR NO KEY UPDATE", order)
        rows = await connection.fetch(
            "SELECT id, phase, status, aoi_id FROM hook_item WHERE order_id = $1 AND id = ANY($2) ORDER BY id FOR NO KEY UPDATE",
            order,
            list(items),
        )
        running = [row for row in rows if row["phase"] != "ended"]
        if not running and all(row["status"] != "cancelled" for row in rows):
            states = ", ".join(sorted({row["status"] for row in rows}))
            raise ConflictError(f"it has ended already ({states})")
        for row in running:
            await connection.execute(
                "UPDATE hook_item SET status = 'cancelled', phase = 'ended', completed_at = now(), message = '' WHERE id = $1", row["id"]
            )
            jobs += await _remove_work(connection, row["aoi_id"])
        if running:
            await _end_order(connection, order)
    return jobs


async def begin(connection: Connection, items: Sequence[int]) -> None:
    """Items a worker has begun with are in progress, and their orders with them."""
    async with connection.transaction():
        rows = await connection.fetch("SELECT DISTINCT order_id FROM hook_item WHERE id = ANY($1) AND status = 'queued'", list(items))
        orders = sorted(row["order_id"] for row in rows)
        await connection.execute("SELECT FROM hook_order WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", orders)
        await connection.execute(
            """UPDATE hook_item SET status = 'in_progress', started_at = now(), message = ''
               WHERE id = ANY($1) AND status = 'queued' AND phase <> 'ended'""",
            list(items),
        )
        await connection.execute(
            """UPDATE hook_order SET status = 'in_progress' WHERE id = ANY($1) AND status = 'queued'
               AND EXISTS (SELECT FROM hook_item i WHERE i.order_id = hook_order.id AND i.status <> 'queued')""",
            orders,
        )


async def _lock(connection: Connection, item: int) -> int | None:
    """Number of the order of an item, locked."""
    number: int | None = await connection.fetchval(
        "SELECT o.id FROM hook_order o WHERE o.id = (SELECT order_id FROM hook_item WHERE id = $1) FOR NO KEY UPDATE", item
    )
    return number


async def _remove_work(connection: Connection, aoi_id: int | None) -> list[SentJob]:
    """Scenes, tiles, jobs, datasets and records of an item."""
    name = await connection.fetchval("SELECT name FROM aoi WHERE id = $1", aoi_id) if aoi_id is not None else None
    if name is None:
        return []
    try:
        return await delete_aoi(connection, name, layers=True)
    except NotFoundError:
        return []  # an operator was faster


async def _end_order(connection: Connection, order: int) -> None:
    """Where all items have ended: completed if one is, cancelled if all are, else failed. What was secret is forgotten."""
    await connection.execute(
        """UPDATE hook_order SET status = ended.status::order_status, completed_at = now(), sealed = NULL,
                  notify_at = CASE WHEN notification_endpoint <> '' THEN now() END,
                  notification_status = CASE WHEN notification_endpoint <> '' THEN 'pending' ELSE '' END
           FROM (SELECT CASE WHEN bool_or(status = 'completed') THEN 'completed'
                             WHEN bool_and(status = 'cancelled') THEN 'cancelled' ELSE 'failed' END AS status
                 FROM hook_item WHERE order_id = $1 HAVING bool_and(phase = 'ended')) AS ended
           WHERE hook_order.id = $1""",
        order,
    )
    await connection.execute("SELECT pg_notify('thresher_orders', '')")


def _plain(message: str) -> str:
    return message.replace("\x00", "")[:_LONGEST_MESSAGE]
