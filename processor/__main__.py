"""`python -P -m processor`: run a processor."""

from __future__ import annotations

import asyncio
import os
import sys

from common.config import Settings
from common.messages import JobKind
from common.process import run_service
from common.worker_service import serve_worker
from processor.work import process_tile


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """One tile a core at once."""
    await serve_worker(JobKind.TILE, process_tile, os.cpu_count() or 1, settings, stop)


if __name__ == "__main__":
    sys.exit(run_service("processor", "A worker that runs tile graphs and stores their layers.", serve))
