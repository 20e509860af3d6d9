"""`/cube`: variables and instances to create and list, records and datasets to look at and search."""

from __future__ import annotations

from aiohttp import web

from catalogue.cube import datasets, records, variables
from catalogue.http.requests import json_answer, page_of, query_text, read_json, uuid_in
from catalogue.http.services import services
from catalogue.stac.search import area_of_bbox, interval, numbers_in
from catalogue.workflow.views import Page
from common.errors import UserError

_LIMIT = 100
_MOST = 10_000


async def list_variables(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await variables.list_variables(connection))


async def get_variable(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await variables.get_variable(connection, query_text(request.match_info["name"], "name")))


async def put_variable(request: web.Request) -> web.Response:
    """Create the variable, or make it as the body says; the same request twice changes nothing."""
    spec = await read_json(request, variables.VariableSpec)
    if spec.name != request.match_info["name"]:
        raise UserError(f"is '{spec.name}', the address says '{request.match_info['name'][:100]}'", field="name")
    async with services(request).pool.acquire() as connection:
        variable, created = await variables.apply_variable(connection, spec)
    return json_answer({**variable.model_dump(mode="json"), "created": created}, status=201 if created else 200)


async def list_records(request: web.Request) -> web.Response:
    page, query = _page(request), _record_query(request)
    async with services(request).pool.acquire() as connection:
        found = await records.list_records(connection, query, offset=page.offset, limit=_one_more(page))
    return _paged("records", found, page)


async def get_record(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await records.get_record(connection, uuid_in(request.match_info["id"], "id")))


async def list_datasets(request: web.Request) -> web.Response:
    page = _page(request)
    async with services(request).pool.acquire() as connection:
        found = await datasets.list_datasets(
            connection,
            aoi=_text(request, "aoi"),
            record=uuid_in(request.query["record"], "record") if "record" in request.query else None,
            variable=_text(request, "variable"),
            instance=_text(request, "instance"),
            offset=page.offset,
            limit=_one_more(page),
        )
    return _paged("datasets", found, page)


def _page(request: web.Request) -> Page:
    return page_of(request, default_limit=_LIMIT, most=_MOST)


def _one_more(page: Page) -> int:
    return (page.limit or _LIMIT) + 1


def _paged(key: str, found: list[datasets.Dataset] | list[records.Record], page: Page) -> web.Response:
    limit = page.limit or _LIMIT
    return json_answer({key: found[:limit], "next": len(found) > limit})


def _text(request: web.Request, key: str) -> str:
    return query_text(request.query.get(key, ""), key)


def _record_query(request: web.Request) -> records.RecordQuery:
    """Name or pattern, tags as `NAME=VALUE,NAME=VALUE`, `datetime` and `bbox` as STAC writes them."""
    tags: dict[str, str] = {}
    for pair in filter(None, _text(request, "tags").split(",")):
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UserError(f"'{pair[:60]}' is not NAME=VALUE", field="tags")
        tags[name] = value
    times, numbers = _text(request, "datetime"), _text(request, "bbox")
    first, last = interval(times) if times else (None, None)
    area = area_of_bbox(numbers_in(numbers)) if numbers else None
    return records.RecordQuery(_text(request, "name"), tags, first, last, area)
