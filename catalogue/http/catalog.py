"""`/catalog`: list scenes, list tiles, post an area."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from catalogue.http.problems import problem_of
from catalogue.http.requests import json_answer, query_number, read_form, read_object, wants_json
from catalogue.http.services import Services, services
from catalogue.ingestion import Ingestion, check_scenes, ingest
from catalogue.inventory import find_scenes
from catalogue.tiles import find_tiles
from common.errors import ConfigurationError, UserError
from common.features import SceneCollection
from common.layers import open_layer_store
from common.payload import Payload, parse_payload
from common.validation import as_user_error


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
    scenes = await _posted(form["scenes"], "scenes") or await find_scenes(area.payload, services(request).catalogues)
    return json_answer(await asyncio.to_thread(lambda: find_tiles(area.payload, scenes).geojson()))


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
    await asyncio.to_thread(_check_graphs, payload, around)
    tiles = await _posted(form["tiles"], "tiles")
    if tiles is None:
        scenes = await _posted(form["scenes"], "scenes") or await find_scenes(payload, around.catalogues)
        tiles = await asyncio.to_thread(find_tiles, payload, scenes)
    await asyncio.to_thread(check_scenes, payload, tiles.scenes, around.settings, shelf)
    async with around.pool.acquire() as connection:
        result = await ingest(connection, payload, area.document, tiles.scenes, shelf)
    return Ingestion(result.name, result.scenes, [*tiles.notes, *result.notes])


def _check_graphs(payload: Payload, around: Services) -> None:
    shelf = around.shelf()
    shelf.get(payload.scene_graph_name, field="scene_graph_name")
    shelf.check_layers(payload.tile_graph_name, payload.layers)
    if payload.storage_uri:
        try:
            open_layer_store(payload.storage_uri, around.settings)
        except (UserError, ConfigurationError) as error:
            raise UserError(error.detail if isinstance(error, UserError) else str(error), field="storage_uri") from None


async def _area(request: web.Request, text: bytes) -> Area:
    document = read_object(text, "area")
    for key in ("page", "limit"):
        if (number := query_number(request, key)) is not None:
            document[key] = number
    return Area(await asyncio.to_thread(parse_payload, document), document)


def _single(areas: list[bytes]) -> bytes:
    if not areas:
        raise UserError("missing: send the payload as form field 'area' (curl -F 'area=@payload.json' …)", field="area")
    if len(areas) > 1:
        raise UserError("one area at a time here; a batch goes to POST /catalog/aoi", field="area")
    return areas[0]


async def _posted(values: list[bytes], field: str) -> SceneCollection | None:
    """The reviewed scenes of a form field, or None where there are none."""
    if not values or not values[0].strip():
        return None

    def read() -> SceneCollection:
        document = read_object(values[0], field)
        if not isinstance(document.get("features"), list):
            raise UserError("must be a list of GeoJSON features, as /catalog/scenes and /catalog/tiles answer", field=f"{field}.features")
        try:
            return SceneCollection.model_validate(document)
        except ValidationError as error:
            raise as_user_error(error, where=field) from None

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
