"""A worker as a running service: its connection, its loop, its health and its metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from nats.aio.client import Client

from common.config import Settings
from common.errors import ConfigurationError
from common.messages import JobKind, SceneJob, TileJob
from common.messaging import connect
from common.metrics import exposition
from common.work import Handler
from common.worker import Worker


async def serve_worker(
    kind: JobKind, handler: Handler[SceneJob] | Handler[TileJob], concurrency: int, settings: Settings, stop: asyncio.Event
) -> None:
    """Take jobs of a kind until `stop` is set, then finish or hand back what runs. Raises ConfigurationError."""
    client = await connect(settings.nats, f"worker of {kind} jobs")
    worker = Worker(client, kind, handler, settings, settings.worker.concurrency or concurrency)
    try:
        async with _health(worker, client, settings):
            running = asyncio.create_task(worker.run())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            worker.stop()
            await running
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def _health(worker: Worker, client: Client, settings: Settings) -> AsyncIterator[None]:
    """`/healthz`, `/readyz` and `/metrics`, where a port is configured."""
    port = settings.worker.http_port
    if port is None:
        yield
        return

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        ready = worker.ready.is_set() and client.is_connected
        state = {"ready": ready, "broker": client.is_connected, "queues": worker.ready.is_set(), "refusing": worker.refusing}
        return web.json_response(state, status=200 if ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return exposition(worker.metrics.registry)

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.server.host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigurationError(f"worker.http_port: cannot listen on {settings.server.host}:{port}: {error}") from None
    try:
        yield
    finally:
        await runner.cleanup()
