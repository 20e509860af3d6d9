"""`python -P -m catalogue`: run the catalogue."""

from __future__ import annotations

import asyncio
import logging
import sys

from catalogue.service import running_catalogue
from common.config import Settings
from common.process import run_service


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    async with running_catalogue(settings) as url:
        logging.getLogger(__name__).info("listening on %s", url)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(run_service("catalogue", "The service people talk to: inventory, workflow and cube over HTTP.", serve))
