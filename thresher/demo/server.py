"""A small HTTP server for a folder on loopback: byte ranges, conditional requests, and a count of what was asked."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType

from aiohttp import web
from aiohttp.typedefs import Handler

_START_S = 10.0


class FolderServer:
    """Serves `folder` from a thread of its own while entered as a context."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.requests: Counter[str] = Counter()
        """How often each path was asked for."""
        self._folder = folder
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="folder-server", daemon=True)
        self._runner: web.AppRunner | None = None
        self.url = ""
        """`http://127.0.0.1:PORT`, once entered."""

    def __enter__(self) -> FolderServer:
        self._thread.start()
        started: Future[str] = asyncio.run_coroutine_threadsafe(self._start(), self._loop)
        try:
            self.url = started.result(_START_S)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    async def _start(self) -> str:
        application = web.Application(middlewares=[self._counted])
        application.router.add_static("/", self._folder)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests[request.path] += 1
        return await handler(request)

    def _end(self) -> None:
        if self._runner is not None:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(_START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()
