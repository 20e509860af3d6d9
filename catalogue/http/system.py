"""Health and self-description of the service."""

from __future__ import annotations

import asyncio

import asyncpg
from aiohttp import web

from catalogue.http.requests import json_answer
from catalogue.http.services import services


async def root(_: web.Request) -> web.Response:
    return web.Response(text="ingester ok")


async def healthz(_: web.Request) -> web.Response:
    """The process lives and its event loop turns."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """Database and broker answer."""
    parts = {"database": await _database(request), "broker": services(request).client.is_connected}
    ready = all(parts.values())
    return json_answer({"ready": ready, **parts}, status=200 if ready else 503)


async def _database(request: web.Request) -> bool:
    try:
        async with asyncio.timeout(2), services(request).pool.acquire() as connection:
            await connection.execute("SELECT 1")
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True
