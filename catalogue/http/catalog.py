"""`/catalog`: list scenes, list tiles, post an area."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from catalogue.cube.variables import resolve_layers
from catalogue.graphs import GraphShelf
from catalogue.http.problems import problem_of
from catalogue.http.requests import json_answer, query_number, read_form, wants_json
from catalogue.http.services import Services, services
from catalogue.ingestion import Ingestion, check_features, check_scenes, check_storage, ingest
from catalogue.inventory import find_scenes
from catalogue.sentinel1.ingested import existing_bursts
from catalogue.sentinel1.series import SeriesTile
from catalogue.tiles import find_tiles
from catalogue.workflow.views import ORDER_PREFIX
from common.config import Settings
from common.errors import UserError
from common.features import SceneCollection
from common.payload import Payload, decode, parse_payload
from common.urls import check_url


@dataclass(frozen=True)
class Area:
    """A posted payload, checked, and as it was written."""

    payload: Payload
    document: dict[str, Any]


async def list_scenes(request: web.Request) -> web.Response:
    form = await read_form(request)
    area = await _area(request, _single(form["area"]))
    scenes = await find_scenes(area.payload, services(request).catalogues)
    return json_answer(await asyncio.to_thread(scenes.geojson))


async def list_tiles(request: web.Request) -> web.Response:
    form = await read_form(request)
    area = await _area(request, _single(form["area"]))
    posted = await _posted(request, form, "scenes")
    if posted is not None:
        await asyncio.to_thread(check_features, posted.scenes, "scenes")
    scenes = posted or await find_scenes(area.payload, services(request).catalogues)
    tiles = await _tiles(area.payload, scenes, services(request))
    return json_answer(await asyncio.to_thread(tiles.geojson))


async def post_aoi(request: web.Request) -> web.Response:
    """One area, with its scenes or tiles where these were reviewed; or several areas, each with a result of its own."""
    form = await read_form(request)
    if len(form["area"]) > 1:
        return await _post_batch(request, form)
    begun = time.perf_counter()
    result = await _post(request, _single(form["area"]), form)
    seconds = time.perf_counter() - begun
    if wants_json(request):
        return json_answer(_summary(result, seconds))
    return web.Response(text=f"Ingestion of {len(result.scenes)} scenes and {result.tile_count} tiles in progress ({seconds:.1f}s)\n")


async def _post_batch(request: web.Request, form: dict[str, list[bytes]]) -> web.Response:
    if form["scenes"] or form["tiles"]:
        field = "scenes" if form["scenes"] else "tiles"
        raise UserError("a batch of areas cannot come with scenes or tiles; post them one by one", field=field)
    results: list[dict[str, Any]] = []
    for index, text in enumerate(form["area"]):
        begun = time.perf_counter()
        try:
            result = await _post(request, text, form)
        except Exception as error:  # noqa: BLE001 - one area must not stop the others
            document = problem_of(error)
            results.append({"area": index, "status": document["status"], "problem": document})
        else:
            results.append({"area": index, "status": 200, **_summary(result, time.perf_counter() - begun)})
    failed = any(result["status"] != 200 for result in results)
    return json_answer({"results": results}, status=207 if failed else 200)


async def _post(request: web.Request, text: bytes, form: dict[str, list[bytes]]) -> Ingestion:
    around = services(request)
    area = await _area(request, text)
    payload = area.payload
    shelf = around.shelf()
    await asyncio.to_thread(_check_deployment, payload, around.settings, shelf)
    async with around.pool.acquire() as connection:
        # Asked again when they are used; here so that nobody waits for an external catalogue to be told of a missing one.
        await resolve_layers(connection, payload.layers)
    tiles = await _posted(request, form, "tiles")
    where = "scenes" if tiles is None else "tiles"
    if tiles is None:
        scenes = await _posted(request, form, "scenes") or await find_scenes(payload, around.catalogues)
        tiles = await _tiles(payload, scenes, around)
    await asyncio.to_thread(check_scenes, payload, tiles.scenes, around.settings, shelf, where)
    async with around.pool.acquire() as connection:
        result = await ingest(connection, payload, area.document, tiles.scenes, shelf, where)
    return Ingestion(result.name, result.scenes, [*tiles.notes, *result.notes])


async def _tiles(payload: Payload, scenes: SceneCollection, around: Services) -> SceneCollection:
    """The scenes with their tiles, as they would join those the AOI has."""

    async def existing(tiles: Sequence[SeriesTile]) -> Sequence[SeriesTile]:
        async with around.pool.acquire() as connection:
            return await existing_bursts(connection, payload.name, tiles)

    return await find_tiles(payload, scenes, around.annotations, existing, around.burst_service)


def _check_deployment(payload: Payload, settings: Settings, shelf: GraphShelf) -> None:
    """Raise UserError naming what this deployment does not have or does not allow."""
    if payload.name.startswith(ORDER_PREFIX):
        raise UserError(f"names that begin with '{ORDER_PREFIX}' are those of on-demand orders", field="name")
    shelf.get(payload.scene_graph_name, field="scene_graph_name")
    shelf.check_layers(payload.tile_graph_name, payload.layers)
    check_storage(payload.storage_uri, settings, "storage_uri")
    for index, url in enumerate(payload.annotations_urls):
        # A pattern that begins with a part of its own can be checked only when that is known.
        if not url.startswith("{"):
            check_url(url, settings.limits.allowed_urls, field=f"annotations_urls.{index}")


async def _area(request: web.Request, text: bytes) -> Area:
    given = {key: number for key in ("page", "limit") if (number := query_number(request, key)) is not None}

    def read() -> Area:
        document = {**decode(text), **given}
        return Area(parse_payload(document), document)

    return await asyncio.to_thread(read)


def _single(areas: list[bytes]) -> bytes:
    if not areas:
        raise UserError("missing: send the payload as form field 'area' (curl -F 'area=@payload.json' …)", field="area")
    if len(areas) > 1:
        raise UserError("one area at a time here; a batch goes to POST /catalog/aoi", field="area")
    return areas[0]


async def _posted(request: web.Request, form: dict[str, list[bytes]], field: str) -> SceneCollection | None:
    """The reviewed scenes of a form field, or None where there are none."""
    text = form[field][0] if form[field] else b""
    if not text.strip():
        return None

    def read() -> SceneCollection:
        document = decode(text, where=field, within=field, max_bytes=request.client_max_size)
        return SceneCollection.of_review(document, where=field)

    return await asyncio.to_thread(read)


def _summary(result: Ingestion, seconds: float) -> dict[str, Any]:
    return {
        "name": result.name,
        "scene_count": len(result.scenes),
        "tile_count": result.tile_count,
        "scenes": [{"id": scene.id, "source_id": scene.source_id, "tiles": scene.tiles} for scene in result.scenes],
        "seconds": round(seconds, 3),
        "notes": result.notes,
    }
