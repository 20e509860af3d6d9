"""`/stac`: the read-only STAC API over the cube."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from catalogue.http.requests import query_text, read_body
from catalogue.http.services import services
from catalogue.stac import api
from catalogue.stac.collections import Collections, collection_of, exists
from catalogue.stac.documents import addressed, documents
from catalogue.stac.fields import trimmed
from catalogue.stac.pages import find_page
from catalogue.stac.search import Asked, ItemSearch, search_of_query
from common.errors import NotFoundError, UserError
from common.payload import decode
from common.validation import validated

_COLLECTIONS: web.AppKey[Collections] = web.AppKey("collections", Collections)
_GEOJSON = "application/geo+json"
_SCHEMA = "application/schema+json"


def prepare(app: web.Application) -> None:
    """Give the application what these handlers keep."""
    app[_COLLECTIONS] = Collections()


async def get_landing(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        facts = await request.app[_COLLECTIONS].all(connection)
    return _answer(request, api.landing([each.aoi for each in facts]))


async def get_conformance(request: web.Request) -> web.Response:
    return _answer(request, {"conformsTo": list(api.CONFORMANCE)})


async def list_collections(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        facts = await request.app[_COLLECTIONS].all(connection)
    return _answer(request, api.collections_page([collection_of(each) for each in facts]))


async def get_collection(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        facts = await request.app[_COLLECTIONS].one(connection, _name(request, "collection"))
    return _answer(request, collection_of(facts))


async def get_queryables(request: web.Request) -> web.Response:
    if "collection" in request.match_info:
        async with services(request).pool.acquire() as connection:
            await exists(connection, _name(request, "collection"))
    return _answer(request, api.queryables(request.rel_url.raw_path), kind=_SCHEMA)


async def list_items(request: web.Request) -> web.Response:
    """The items of a collection."""
    collection = _name(request, "collection")
    search = search_of_query(request.query).model_copy(update={"collections": [collection], "ids": []})
    async with services(request).pool.acquire() as connection:
        await exists(connection, collection)
    return await _search(request, Asked(search, dict(request.query)))


async def get_item(request: web.Request) -> web.Response:
    collection, item = _name(request, "collection"), _name(request, "item")
    async with services(request).pool.acquire() as connection:
        number = await connection.fetchval("SELECT number FROM stac_item WHERE aoi = $1 AND id = $2", collection, item)
        found = await documents(connection, [number]) if number is not None else []
    if not found:
        raise NotFoundError(f"there is no item '{item[:200]}' in '{collection[:100]}'", field="item")
    return _text(request, found[0], _GEOJSON)


async def get_search(request: web.Request) -> web.Response:
    return await _search(request, Asked(search_of_query(request.query), dict(request.query)))


async def post_search(request: web.Request) -> web.Response:
    body = decode(await read_body(request, "body"), where="body")
    if not isinstance(body, dict):
        raise UserError("a search is a JSON object", field="body")
    return await _search(request, Asked(validated(ItemSearch, body), {}, body))


async def _search(request: web.Request, asked: Asked) -> web.Response:
    async with services(request).pool.acquire() as connection:
        page = await find_page(connection, asked.search)
    items = page.items
    if asked.search.fields is not None:
        fields = asked.search.fields
        items = await asyncio.to_thread(lambda: [trimmed(item, fields) for item in items])
    return _text(request, api.items_page(items, page.token, request.rel_url.raw_path, asked), _GEOJSON)


def _answer(request: web.Request, document: Mapping[str, Any], *, kind: str = "application/json") -> web.Response:
    return _text(request, json.dumps(document, allow_nan=False), kind)


def _text(request: web.Request, text: str, kind: str) -> web.Response:
    return web.Response(text=addressed(text, _root(request)), content_type=kind)


def _root(request: web.Request) -> str:
    """The address of the service, as it is configured or as the client calls it."""
    return services(request).settings.server.public_url.rstrip("/") or f"{request.scheme}://{request.host}"


def _name(request: web.Request, key: str) -> str:
    return query_text(request.match_info[key], key)
