"""Health, figures, dead letters and deletions of the service."""

from __future__ import annotations

import asyncio

import asyncpg
from aiohttp import web

from catalogue.database import row_number
from catalogue.http.requests import json_answer, page_of
from catalogue.http.services import services
from catalogue.workflow import dead
from catalogue.workflow.deletions import deletion_state, hold_deletions, release_deletions
from common.errors import UserError
from common.metrics import exposition

MOST_MINUTES = 7 * 24 * 60
"""Of a hold: a forgotten one ends by itself."""

DESCRIPTION: web.AppKey[str] = web.AppKey("description", str)


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


async def description(request: web.Request) -> web.Response:
    return web.Response(text=request.app[DESCRIPTION], content_type="application/json")


async def metrics(request: web.Request) -> web.Response:
    """For Prometheus."""
    around = services(request)
    async with around.pool.acquire() as connection:
        await around.metrics.refresh(connection, around.settings.worker.capabilities)
    return exposition(around.metrics.registry)


async def list_dead(request: web.Request) -> web.Response:
    page = page_of(request, default_limit=100, most=1000)
    return json_answer(await dead.list_dead(services(request).client, offset=page.offset, limit=page.limit or 100))


async def retry_dead(request: web.Request) -> web.Response:
    around = services(request)
    done = await dead.retry_dead(around.pool, around.client, row_number(request.match_info["seq"], "seq"))
    return json_answer({"done": done})


async def get_deletions(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await deletion_state(connection))


async def hold_deletions_for(request: web.Request) -> web.Response:
    minutes = row_number(request.match_info["minutes"], "minutes")
    if not 1 <= minutes <= MOST_MINUTES:
        raise UserError(f"a hold lasts 1 to {MOST_MINUTES} minutes", field="minutes")
    async with services(request).pool.acquire() as connection:
        return json_answer(await hold_deletions(connection, minutes))


async def end_hold(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await release_deletions(connection))


async def _database(request: web.Request) -> bool:
    try:
        async with asyncio.timeout(2), services(request).pool.acquire() as connection:
            await connection.execute("SELECT 1")
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True
