"""`python -P -m downloader`: run a downloader."""

from __future__ import annotations

import asyncio
import sys

from common.config import Settings
from common.messages import JobKind
from common.process import run_service
from common.worker_service import serve_worker
from downloader.work import download_scene

DEFAULT_CONCURRENCY = 4
"""Scenes at once: downloads wait for the network, and providers allow about as many connections."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    await serve_worker(JobKind.SCENE, download_scene, DEFAULT_CONCURRENCY, settings, stop)


if __name__ == "__main__":
    sys.exit(run_service("downloader", "A worker that fetches scenes and runs their scene graph.", serve))
