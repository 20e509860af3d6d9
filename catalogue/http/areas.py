"""`/aoi`, `/scene`, `/tile`: where the work stands, and what a person changes of it by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re

from aiohttp import web

from catalogue.database import row_number
from catalogue.http.requests import json_answer, page_of, wants_json
from catalogue.http.services import services
from catalogue.workflow import manual, views
from catalogue.workflow.cancellation import cancel
from catalogue.workflow.status import Status
from common.errors import ConflictError, NotFoundError, UserError
from common.messages import JobKind

_KEEP_ALIVE_S = 10.0
_NAME = re.compile(r"[A-Za-z0-9_:-]{1,128}")
_PATTERN = re.compile(r"[A-Za-z0-9_:*?-]{1,128}")


async def list_aois(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await views.list_aois(connection))


async def get_aoi(request: web.Request) -> web.Response:
    """A text summary, JSON where it is asked for; with `*` or `?` in the name the list of the AOIs that match."""
    name = request.match_info["aoi"]
    async with services(request).pool.acquire() as connection:
        if "*" in name or "?" in name:
            if not _PATTERN.fullmatch(name):
                raise UserError("a pattern is made of letters, digits, - : _ * and ?", field="aoi")
            return json_answer(await views.list_aois(connection, name))
        summary = await views.summarise(connection, _name(request))
    return json_answer(summary) if wants_json(request) else web.Response(text=summary.text())


async def create_aoi(request: web.Request) -> web.Response:
    name = _name(request)
    if name.startswith(views.ORDER_PREFIX):
        raise UserError(f"names that begin with '{views.ORDER_PREFIX}' are those of on-demand orders", field="aoi")
    async with services(request).pool.acquire() as connection:
        if not await manual.create_aoi(connection, name):
            raise ConflictError(f"AOI '{name}' exists already", field="aoi")
    return web.Response(status=204)


async def delete_aoi(request: web.Request) -> web.Response:
    """Its running work is cancelled. With `layers=true` its layers go, too."""
    text = request.query.get("layers", "false")
    if text not in ("true", "false"):
        raise UserError(f"'{text[:40]}' is neither true nor false", field="layers")
    around = services(request)
    async with around.pool.acquire() as connection:
        jobs = await manual.delete_aoi(connection, _name(request), layers=text == "true")
    await cancel(around.client, jobs)
    return web.Response(status=204)


async def pause_aoi(request: web.Request) -> web.Response:
    return await _pause(request, paused=True)


async def resume_aoi(request: web.Request) -> web.Response:
    return await _pause(request, paused=False)


async def _pause(request: web.Request, *, paused: bool) -> web.Response:
    async with services(request).pool.acquire() as connection:
        await manual.pause_aoi(connection, _name(request), paused=paused)
    return web.Response(status=204)


async def watch_aoi(request: web.Request) -> web.StreamResponse:
    """Server-sent events until the client leaves or the AOI is deleted: first the summary, then each change and the progress of jobs."""
    around = services(request)
    name = _name(request)
    async with around.pool.acquire() as connection:
        await views.find_aoi(connection, name)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    await response.prepare(request)
    async with around.events.watch(name) as queue:
        await _send_summary(request, response, name)
        with contextlib.suppress(ConnectionError, NotFoundError):
            while True:
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_S):
                        event = await queue.get()
                except TimeoutError:
                    await _send_summary(request, response, name)
                    continue
                if event.name == "closed":
                    break
                if event.name == "behind":
                    await _send_summary(request, response, name)
                else:
                    await response.write(f"event: {event.name}\ndata: {json.dumps(event.data)}\n\n".encode())
    return response


async def _send_summary(request: web.Request, response: web.StreamResponse, name: str) -> None:
    async with services(request).pool.acquire() as connection:
        summary = await views.summarise(connection, name)
    await response.write(f"event: summary\ndata: {summary.model_dump_json(by_alias=True)}\n\n".encode())


async def retry_aoi(request: web.Request) -> web.Response:
    return await _retry_aoi(request, force=False)


async def force_retry_aoi(request: web.Request) -> web.Response:
    return await _retry_aoi(request, force=True)


async def _retry_aoi(request: web.Request, *, force: bool) -> web.Response:
    async with services(request).pool.acquire() as connection:
        retried = await manual.retry_aoi(connection, _name(request), force=force)
    if not retried.scenes and not retried.tiles:
        return web.Response(status=204)
    return json_answer({"Scenes": retried.scenes, "Tiles": retried.tiles})


async def get_dot(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return web.Response(text=await views.dot(connection, _name(request)))


async def list_scenes(request: web.Request) -> web.Response:
    status = _status(request) if "status" in request.match_info else None
    async with services(request).pool.acquire() as connection:
        return json_answer(await views.list_scenes(connection, _name(request), status, page_of(request)))


async def list_tiles(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await views.list_tiles(connection, _name(request), _status(request), page_of(request)))


async def list_root_tiles(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await views.list_ends(connection, _name(request), roots=True))


async def list_leaf_tiles(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await views.list_ends(connection, _name(request), roots=False))


async def get_scene(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await views.get_scene(connection, _item(request, JobKind.SCENE)))


async def list_scene_tiles(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await views.list_scene_tiles(connection, _item(request, JobKind.SCENE)))


async def get_tile(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await views.get_tile(connection, _item(request, JobKind.TILE)))


async def retry_scene(request: web.Request) -> web.Response:
    return await _set(request, JobKind.SCENE, Status.PENDING)


async def fail_scene(request: web.Request) -> web.Response:
    return await _set(request, JobKind.SCENE, Status.FAILED)


async def force_scene(request: web.Request) -> web.Response:
    return await _set(request, JobKind.SCENE, _status(request), force=True)


async def retry_tile(request: web.Request) -> web.Response:
    return await _set(request, JobKind.TILE, Status.PENDING)


async def fail_tile(request: web.Request) -> web.Response:
    return await _set(request, JobKind.TILE, Status.FAILED)


async def force_tile(request: web.Request) -> web.Response:
    return await _set(request, JobKind.TILE, _status(request), force=True)


async def _set(request: web.Request, kind: JobKind, status: Status, *, force: bool = False) -> web.Response:
    async with services(request).pool.acquire() as connection:
        await manual.set_status(connection, kind, _item(request, kind), status, force=force)
    return web.Response(status=200)


def _name(request: web.Request) -> str:
    name = request.match_info["aoi"]
    if not _NAME.fullmatch(name):
        raise UserError("a name is 1 to 128 letters, digits and - : _", field="aoi")
    return name


def _item(request: web.Request, kind: JobKind) -> int:
    return row_number(request.match_info[kind.value], kind.value)


def _status(request: web.Request) -> Status:
    text = request.match_info["status"].upper()
    if text not in Status.__members__:
        raise UserError(f"'{text[:40]}' is not one of {', '.join(Status)}", field="status")
    return Status(text)
