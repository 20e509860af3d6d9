"""Layers that nobody will ever report: stored by an execution that was killed, or that came too late to be told of.

A tile of which a job was given out more than once is doubtful: some time after its last result its folder is listed, and what lies there
under the key of an execution without a dataset that names it is deleted. Nothing else is touched, so that a storage can be shared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from catalogue.database import DATABASE_ERRORS, Connection, Pool
from common.errors import ThresherError
from common.storage import Storage

log = logging.getLogger(__name__)

_BATCH = 50
_IDLE_S = 2.0


async def doubt_tiles(connection: Connection, tiles: Sequence[int]) -> None:
    """Have the folders of these tiles looked through. What is doubted again is looked at later."""
    if tiles:
        await connection.execute(
            """INSERT INTO doubtful_tile (tile_id) SELECT id FROM tile WHERE id = ANY($1) ORDER BY id
               ON CONFLICT (tile_id) DO UPDATE SET since = now()""",
            list(tiles),
        )


@dataclass
class OrphanSweeper:
    """Looks through doubtful tiles until cancelled. Several replicas may: doing it twice does nothing."""

    pool: Pool
    storage_of: Callable[[str], Storage]
    root: str
    """URI of the default storage."""
    settle_s: float
    """After the last result: time for executions that are late to end."""

    async def run(self) -> None:
        while True:
            try:
                if await self.sweep() == 0:
                    await asyncio.sleep(_IDLE_S)
            except DATABASE_ERRORS as error:
                log.debug("orphans: %s", error)
                await asyncio.sleep(_IDLE_S)

    async def sweep(self) -> int:
        """Look through what is due, up to a batch; how many tiles were."""
        rows = await self.pool.fetch(
            """SELECT d.tile_id, d.since, concat_ws('/', a.name, s.source_id, 'tiles', t.source_id) AS folder,
                      coalesce(nullif(s.data ->> 'storage_uri', ''), $1) AS root
               FROM doubtful_tile d JOIN tile t ON t.id = d.tile_id JOIN scene s ON s.id = t.scene_id JOIN aoi a ON a.id = t.aoi_id
               WHERE d.since < now() - make_interval(secs => $2) ORDER BY d.since LIMIT $3""",
            self.root,
            self.settle_s,
            _BATCH,
        )
        for row in rows:
            try:
                seen = await self._look(row["tile_id"], f"{row['root'].rstrip('/')}/{row['folder']}")
            except (ThresherError, OSError) as error:
                log.warning("orphans of %s cannot be swept yet: %s", row["folder"], error)
                seen = False
            await self.pool.execute(
                "DELETE FROM doubtful_tile WHERE tile_id = $1 AND since = $2"
                if seen
                else "UPDATE doubtful_tile SET since = now() WHERE tile_id = $1 AND since = $2",
                row["tile_id"],
                row["since"],
            )
        return len(rows)

    async def _look(self, tile: int, folder: str) -> bool:
        """Delete the orphans of a tile; False while it is being worked on."""
        storage = self.storage_of(folder)
        found = [uri for uri in await storage.files(folder) if _is_of_execution(uri, folder)]
        # Asked after the listing: what lies there now is named by a dataset, belongs to a live job, or will never be named.
        row = await self.pool.fetchrow(
            """SELECT EXISTS (SELECT FROM job WHERE tile_id = $1 AND state <> 'finished') AS busy,
                      ARRAY(SELECT uri FROM dataset WHERE uri = ANY($2)) AS named""",
            tile,
            found,
        )
        assert row is not None
        if row["busy"]:
            return False
        for uri in sorted(set(found) - set(row["named"])):
            log.info("deleting %s, which an execution left behind", uri)
            await storage.delete(uri)
        return True


def _is_of_execution(uri: str, folder: str) -> bool:
    """Whether a file lies in a folder of a single execution, directly below that of the tile."""
    parts = uri.removeprefix(f"{folder}/").split("/")
    if len(parts) != 2:
        return False
    try:
        return str(UUID(parts[0])) == parts[0]
    except ValueError:
        return False
