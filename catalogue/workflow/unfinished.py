"""What writers that were killed left in the storages: parts of files, and uploads that were never completed.

They are known by their names and their age alone. No writer takes a day for a file, so nobody's work is taken away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from catalogue.database import DATABASE_ERRORS, Pool
from common.errors import ThresherError
from common.storage import Storage

log = logging.getLogger(__name__)

_AGE = timedelta(days=1)
_EVERY_S = 24 * 3600.0
_AGAIN_S = 60.0


@dataclass
class UnfinishedSweeper:
    """Looks once a day until cancelled; every replica of the catalogue may."""

    pool: Pool
    storage_at: Callable[[str], Storage]
    """Opens the storage at a URI, or raises where it may not be touched."""
    root: str
    """URI of the default storage."""

    async def run(self) -> None:
        while True:
            try:
                await self.sweep()
            except DATABASE_ERRORS as error:
                log.debug("unfinished writes: %s", error)
                await asyncio.sleep(_AGAIN_S)
            else:
                await asyncio.sleep(_EVERY_S)

    async def sweep(self) -> None:
        """Look through the default storage and those that payloads name."""
        rows = await self.pool.fetch("SELECT DISTINCT data ->> 'storage_uri' AS uri FROM scene WHERE data ->> 'storage_uri' <> ''")
        for uri in (self.root, *sorted({row["uri"] for row in rows} - {self.root})):
            try:
                count = await self.storage_at(uri).discard_parts(datetime.now(UTC) - _AGE)
            except (ThresherError, OSError) as error:
                log.warning("unfinished writes in %s cannot be swept: %s", uri, error)
                continue
            if count:
                log.info("%d unfinished writes in %s swept", count, uri)
