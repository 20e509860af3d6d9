"""`python -P -m processor`: run a processor."""

from __future__ import annotations

import asyncio
import os
import sys

from common.config import Settings
from common.graph import StepPool
from common.graph.serving import serve_graphs
from common.messages import JobKind, TileJob
from common.process import run_service
from common.work import JobContext, WorkReport
from common.worker_service import serve_worker
from processor.work import STEPS, process_tile


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """One tile a core at once."""

    async def work(pool: StepPool | None) -> None:
        async def process(job: TileJob, context: JobContext) -> WorkReport:
            return await process_tile(job, context, pool)

        await serve_worker(JobKind.TILE, process, os.cpu_count() or 1, settings, stop)

    await serve_graphs(settings, [STEPS], work)


if __name__ == "__main__":
    sys.exit(run_service("processor", "A worker that runs tile graphs and stores their layers.", serve))
