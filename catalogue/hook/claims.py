"""Which replica works on which item: claimed by priority and age under a lease, which is kept while the work goes on."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from catalogue.database import DATABASE_ERRORS, Connection, Pool
from catalogue.hook.orders import Order, OrderItem, Phase
from common.errors import NotFoundError
from common.tasks import stop_tasks

log = logging.getLogger(__name__)

LEASE_S = 60.0
"""An item whose replica is silent for so long is claimed by another."""
_FIRST_DELAY_S = 2.0
_LONGEST_DELAY_S = 600.0


async def claim(connection: Connection, phase: Phase, most: int) -> list[int]:
    """The next items of a phase, now ours. Uses hook_item_due."""
    rows = await connection.fetch(
        """UPDATE hook_item SET due_at = now() + make_interval(secs => $3), attempts = attempts + 1
           WHERE id IN (SELECT id FROM hook_item WHERE phase = $1 AND due_at <= now() ORDER BY priority DESC, id
                        LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
           RETURNING id, priority""",
        phase.value,
        most,
        LEASE_S,
    )
    return [row["id"] for row in sorted(rows, key=lambda row: (-row["priority"], row["id"]))]


@asynccontextmanager
async def kept(pool: Pool, item: int) -> AsyncIterator[None]:
    """Keep the lease of an item while its work goes on."""
    keeping = asyncio.create_task(_keep(pool, item))
    try:
        yield
    finally:
        await stop_tasks([keeping])


async def _keep(pool: Pool, item: int) -> None:
    while True:
        await asyncio.sleep(LEASE_S / 4)
        try:
            await pool.execute(
                "UPDATE hook_item SET due_at = now() + make_interval(secs => $2) WHERE id = $1 AND phase IN ('resolve', 'deliver')",
                item,
                LEASE_S,
            )
        except DATABASE_ERRORS as error:
            log.debug("lease of item %d: %s", item, error)


async def put_off(connection: Connection, item: int, attempts: int, message: str, *, at_least_s: float = 0.0) -> None:
    """Try the item again later: exponentially later with every attempt."""
    delay = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(attempts, 20)) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load
    await connection.execute(
        """UPDATE hook_item SET due_at = now() + make_interval(secs => $2), message = $3
           WHERE id = $1 AND phase IN ('resolve', 'deliver')""",
        item,
        max(delay, at_least_s),
        message,
    )


async def read_item(connection: Connection, number: int) -> OrderItem:
    """Raises NotFoundError where its order is gone."""
    row = await connection.fetchrow(
        """SELECT i.id, i.identifier, i.attempts, i.failure, o.id AS order_id, o.uuid, o.owner, o.name, o.workflow, o.priority,
                  o.options, o.sealed, o.submitted_at, o.notification_endpoint, o.notification_username
           FROM hook_item i JOIN hook_order o ON o.id = i.order_id WHERE i.id = $1""",
        number,
    )
    if row is None:
        raise NotFoundError(f"there is no item {number}")
    return OrderItem(row["id"], _order(row), row["identifier"], max(0, row["attempts"] - 1), row["failure"])


def _order(row: Any) -> Order:
    return Order(
        id=row["order_id"],
        uuid=row["uuid"],
        owner=row["owner"],
        name=row["name"],
        workflow=row["workflow"],
        priority=row["priority"],
        options=row["options"],
        sealed=row["sealed"],
        submitted_at=row["submitted_at"],
        notification_endpoint=row["notification_endpoint"],
        notification_username=row["notification_username"],
    )
