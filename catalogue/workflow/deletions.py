"""Files nobody needs any more: asked for in the transaction that makes them superfluous, deleted after it, as often as it takes.

Workers never delete, so that a crash or a retry always finds its inputs. A hold, for the time of a backup, puts all of it off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel

from catalogue.database import DATABASE_ERRORS, Connection, Pool
from common.errors import ThresherError
from common.storage import Storage

log = logging.getLogger(__name__)

_BATCH = 50
_IDLE_S = 1.0
_LEASE_S = 15.0


async def request_deletions(connection: Connection, uris: Sequence[str]) -> None:
    """Have files deleted once this transaction is committed. A file a dataset names is kept whoever asks."""
    if uris:
        await connection.execute("INSERT INTO deletion (uri) SELECT DISTINCT unnest($1::text[])", list(uris))


class DeletionState(BaseModel):
    """What waits to be deleted."""

    waiting: int
    held_until: datetime | None = None
    """Nothing is deleted before."""


async def deletion_state(connection: Connection) -> DeletionState:
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM deletion) AS waiting, (SELECT held_until FROM deletion_hold WHERE held_until > now()) AS held_until"
    )
    return DeletionState.model_validate(dict(row or {}))


async def hold_deletions(connection: Connection, minutes: int) -> DeletionState:
    """Delete nothing from now on, for so long at most: what a transaction after this one makes superfluous stays."""
    await connection.execute(
        """INSERT INTO deletion_hold (held_until) VALUES (now() + make_interval(mins => $1))
           ON CONFLICT (single) DO UPDATE SET held_until = EXCLUDED.held_until""",
        minutes,
    )
    return await deletion_state(connection)


async def release_deletions(connection: Connection) -> DeletionState:
    await connection.execute("DELETE FROM deletion_hold")
    return await deletion_state(connection)


@dataclass
class Sweeper:
    """Carries out deletions until cancelled. `storage_of` opens the storage a URI lies in, or raises where it may not be touched."""

    pool: Pool
    storage_of: Callable[[str], Storage]

    async def run(self) -> None:
        while True:
            try:
                if await self.sweep() == 0:
                    await asyncio.sleep(_IDLE_S)
            except DATABASE_ERRORS as error:
                log.debug("deletions: %s", error)
                await asyncio.sleep(_IDLE_S)

    async def sweep(self) -> int:
        """Delete what is due, up to a batch; how many files were tried."""
        async with self.pool.acquire() as connection:
            # The lease makes a replica that dies here harmless: its share is due again later, and deleting twice does nothing.
            rows = await connection.fetch(
                """UPDATE deletion SET attempts = attempts + 1, not_before = now() + make_interval(secs => $2 * least(attempts + 1, 60))
                   WHERE id IN (SELECT id FROM deletion WHERE not_before <= now() ORDER BY not_before LIMIT $1 FOR UPDATE SKIP LOCKED)
                         AND NOT EXISTS (SELECT FROM deletion_hold WHERE held_until > now())
                   RETURNING id, uri, EXISTS (SELECT FROM dataset d WHERE d.uri = deletion.uri) AS kept""",
                _BATCH,
                _LEASE_S,
            )
            errors = await asyncio.gather(*(self._delete(row["uri"]) for row in rows if not row["kept"]))
            failed = {row["id"]: error for row, error in zip([row for row in rows if not row["kept"]], errors, strict=True) if error}
            await connection.execute("DELETE FROM deletion WHERE id = ANY($1)", [row["id"] for row in rows if row["id"] not in failed])
            await connection.executemany("UPDATE deletion SET last_error = $2 WHERE id = $1", list(failed.items()))
        return len(rows)

    async def _delete(self, uri: str) -> str:
        try:
            await self.storage_of(uri).delete(uri)
        except (ThresherError, OSError) as error:
            log.warning("%s cannot be deleted yet: %s", uri, error)
            return str(error)[:1000]
        log.debug("deleted %s", uri)
        return ""
