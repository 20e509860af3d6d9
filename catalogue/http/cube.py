"""`/cube`: variables and instances to create and list, records and datasets to look at."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from catalogue.cube import datasets, records, variables
from catalogue.http.requests import json_answer, page_of, query_text, read_json
from catalogue.http.services import services
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
    page = _page(request)
    async with services(request).pool.acquire() as connection:
        found = await records.list_records(connection, name=_text(request, "name"), offset=page.offset, limit=_one_more(page))
    return _paged("records", found, page)


async def get_record(request: web.Request) -> web.Response:
    async with services(request).pool.acquire() as connection:
        return json_answer(await records.get_record(connection, _uuid(request.match_info["id"], "id")))


async def list_datasets(request: web.Request) -> web.Response:
    page = _page(request)
    async with services(request).pool.acquire() as connection:
        found = await datasets.list_datasets(
            connection,
            aoi=_text(request, "aoi"),
            record=_uuid(request.query["record"], "record") if "record" in request.query else None,
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


def _uuid(text: str, field: str) -> UUID:
    try:
        found = UUID(text)
    except ValueError:
        found = None
    if found is None or str(found) != text.lower():
        raise UserError(f"'{text[:60]}' is not a UUID", field=field)
    return found
