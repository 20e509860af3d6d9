"""`python -P -m catalogue.migrate`: bring the database up to date and end, as a role that owns it; services need no such rights then."""

from __future__ import annotations

import asyncio
import logging
import sys

from catalogue.database import open_pool
from common.config import Settings, require
from common.process import run_service


async def serve(settings: Settings, _stop: asyncio.Event) -> None:
    pool = await open_pool(require(settings.database.url, "database.url"), size=2, wait_s=120)
    await pool.close()
    logging.getLogger(__name__).info("the database is up to date")


if __name__ == "__main__":
    sys.exit(run_service("catalogue", "Brings the database up to date and ends.", serve))
