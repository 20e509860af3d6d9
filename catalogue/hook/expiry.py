"""TEMPORARY results that have expired: their items forget them, and the files are deleted."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from catalogue.database import DATABASE_ERRORS, Pool
from catalogue.workflow.deletions import request_deletions

log = logging.getLogger(__name__)

_BATCH = 500
_IDLE_S = 60.0


@dataclass
class ExpirySweeper:
    """Looks every minute until cancelled; every replica of the catalogue may."""

    pool: Pool

    async def run(self) -> None:
        while True:
            swept = 0
            try:
                swept = await self.sweep()
            except DATABASE_ERRORS as error:
                log.debug("expired results: %s", error)
            if swept < _BATCH:
                await asyncio.sleep(_IDLE_S)

    async def sweep(self) -> int:
        """Have what has expired deleted, up to a batch; how many results. Uses hook_item_expires."""
        async with self.pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                """UPDATE hook_item SET output_uri = '' FROM
                       (SELECT id, output_uri FROM hook_item WHERE output_uri <> '' AND expires_at <= now()
                        ORDER BY expires_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) AS old
                   WHERE hook_item.id = old.id RETURNING old.output_uri""",
                _BATCH,
            )
            await request_deletions(connection, [row["output_uri"] for row in rows])
        return len(rows)
