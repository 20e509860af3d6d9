"""`python -P -m downloader`: run a downloader."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from common.config import Settings
from common.graph import StepPool
from common.graph.serving import serve_graphs
from common.messages import JobKind, SceneJob
from common.messaging import connect
from common.process import run_service
from common.work import JobContext, WorkReport
from common.worker_service import serve_worker
from downloader.leases import SharedLeases
from downloader.providers import check_providers
from downloader.shared import Shared
from downloader.work import STEPS, download_scene

DEFAULT_CONCURRENCY = 4
"""Scenes at once: downloads wait for the network, and providers allow about as many connections."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    client = await connect(settings.nats, "permits of downloads")
    leases = SharedLeases(client, f"{socket.gethostname()}:{os.getpid()}")
    try:
        shared = Shared(settings, leases)
        check_providers(settings, shared)

        async def work(pool: StepPool | None) -> None:
            async def download(job: SceneJob, context: JobContext) -> WorkReport:
                return await download_scene(job, context, shared, pool)

            await serve_worker(JobKind.SCENE, download, DEFAULT_CONCURRENCY, settings, stop)

        # Few scene graphs have steps of their own.
        await serve_graphs(settings, STEPS, work, preload=False)
    finally:
        await leases.close()
        await client.close()


if __name__ == "__main__":
    sys.exit(run_service("downloader", "A worker that fetches scenes and runs their scene graph.", serve))
