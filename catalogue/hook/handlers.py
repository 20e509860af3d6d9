"""The handlers of `/odata/v1/`: what is asked, read; what is answered, written. Errors are `{"detail": …}`, as clients expect here."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiohttp import web

from catalogue.auth.caller import caller_of
from catalogue.hook import replies, views
from catalogue.hook.downloads import GONE, check_link, checked_item, redirected
from catalogue.hook.ending import cancel_items
from catalogue.hook.odata.filters import Properties
from catalogue.hook.odata.query import ListQuery, read_query
from catalogue.hook.options import check_options
from catalogue.hook.orders import OrderStatus
from catalogue.hook.placing import Placed, check_sealable, checked_key, find_workflow, place_order
from catalogue.hook.requests import BatchOrderBody, Complaint, InvalidOrderError, ProductionOrderBody, read_order
from catalogue.hook.service import HookService
from catalogue.hook.views import ItemRow
from catalogue.http.problems import problem_of
from catalogue.http.requests import read_body
from catalogue.http.services import services
from catalogue.workflow.cancellation import cancel
from common.errors import ConflictError, NotFoundError, UserError
from common.urls import check_url

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ROOT = "/odata/v1"


def answering(handler: Handler) -> Handler:
    """Turns every error into the reply clients of this API expect."""

    @functools.wraps(handler)
    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except InvalidOrderError as error:
            return _answer({"detail": [complaint.document() for complaint in error.complaints]}, status=422)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the last place where an error can become an answer
            problem = problem_of(error)
            field = problem.get("field")
            detail = f"{field}: {problem['detail']}" if field else problem["detail"]
            return _answer({"detail": detail}, status=problem["status"])

    return answered


@answering
async def list_workflows(request: web.Request) -> web.StreamResponse:
    hook, query = _hook(request), _query(request, views.WORKFLOW_PROPERTIES, "w.place", first=7, expandable=("WorkflowOptions",))
    async with services(request).pool.acquire() as connection:
        found = await views.list_workflows(connection, hook.workflows, query)
    expanded = "WorkflowOptions" in query.expand
    documents = [replies.workflow_document(name, workflow, expanded=expanded) for name, workflow in found.rows]
    return _list(request, replies.WORKFLOWS, documents, query, found.more, found.count)


@answering
async def order_batch(request: web.Request) -> web.StreamResponse:
    placed = await _place(request, BatchOrderBody)
    async with services(request).pool.acquire() as connection:
        order = await views.get_order(connection, caller_of(request).owner, placed.id)
    return _answer(replies.wrapped(replies.BATCH_ORDER, replies.order_document(order, _hook(request).workflows)), status=201)


@answering
async def order_production(request: web.Request) -> web.StreamResponse:
    placed = await _place(request, ProductionOrderBody)
    async with services(request).pool.acquire() as connection:
        item = await views.get_item(connection, caller_of(request).owner, placed.id)
    return _production_order(request, item, status=201)


async def _place(request: web.Request, model: type[BatchOrderBody] | type[ProductionOrderBody]) -> Placed:
    around, hook = services(request), _hook(request)
    allowed = around.settings.limits.allowed_urls
    key = checked_key(request.headers.get("Idempotency-Key"))
    asked = read_order(await read_body(request, "body"), model)
    workflow = await asyncio.to_thread(find_workflow, hook.workflows, asked.body.WorkflowName, around.settings.hook.tools, hook.graphs())
    options = check_options(workflow, asked.body.WorkflowOptions, allowed)
    check_sealable(asked, workflow, options, hook.parts.sealer)
    if asked.body.NotificationEndpoint:
        try:
            check_url(asked.body.NotificationEndpoint, allowed, "NotificationEndpoint")
        except UserError as error:
            raise InvalidOrderError([Complaint(("body", "NotificationEndpoint"), error.detail, "url_parsing")]) from None
    async with around.pool.acquire() as connection:
        return await place_order(connection, caller_of(request).owner, asked, workflow, options, hook.parts.secrets, key)


@answering
async def list_orders(request: web.Request) -> web.StreamResponse:
    query = _query(request, views.ORDER_PROPERTIES, "o.id DESC")
    async with services(request).pool.acquire() as connection:
        found = await views.list_orders(connection, caller_of(request).owner, query)
    shelf = _hook(request).workflows
    documents = [replies.order_document(order, shelf) for order in found.rows]
    return _list(request, replies.BATCH_ORDER, documents, query, found.more, found.count)


@answering
async def get_order(request: web.Request) -> web.StreamResponse:
    async with services(request).pool.acquire() as connection:
        order = await views.get_order(connection, caller_of(request).owner, _key(request, "id"))
    return _answer(replies.wrapped(replies.BATCH_ORDER, replies.order_document(order, _hook(request).workflows)))


@answering
async def list_products(request: web.Request) -> web.StreamResponse:
    query, owner, number = _query(request, views.ITEM_PROPERTIES, "i.id"), caller_of(request).owner, _key(request, "id")
    async with services(request).pool.acquire() as connection:
        await views.get_order(connection, owner, number)
        found = await views.list_items(connection, owner, query, order=number)
    documents = [replies.item_document(item, _link(request, item)) for item in found.rows]
    return _list(request, replies.ITEM, documents, query, found.more, found.count)


@answering
async def get_product(request: web.Request) -> web.StreamResponse:
    item = await _item(request)
    return _answer(replies.wrapped(replies.ITEM, replies.item_document(item, _link(request, item))))


@answering
async def get_product_value(request: web.Request) -> web.StreamResponse:
    """The zip of a TEMPORARY result."""
    item = await _item(request)
    if item.status is not OrderStatus.COMPLETED:
        raise ConflictError(f"product {item.id} is {item.status}")
    if item.expires_at is not None and item.expires_at <= datetime.now(UTC):
        raise _GoneError(f"the result of product {item.id} was kept until {item.expires_at:%Y-%m-%d %H:%M} UTC")
    if not item.output_uri:
        raise NotFoundError(f"product {item.id} has no result in our storage: it was delivered to the bucket of the order, or it has none")
    return await _sent(request, item.output_uri, item.processed_name)


@answering
async def open_link(request: web.Request) -> web.StreamResponse:
    """A TEMPORARY result for whoever has its signed link."""
    number = checked_item(request.match_info["item"])
    async with services(request).pool.acquire() as connection:
        row = await connection.fetchrow("SELECT output_uri, processed_name FROM hook_item WHERE id = $1 AND output_uri <> ''", number)
    if row is None:
        raise NotFoundError(GONE)
    check_link(_hook(request).parts.sealer, request, number, row["output_uri"])
    return await _sent(request, row["output_uri"], row["processed_name"])


async def _sent(request: web.Request, uri: str, name: str) -> web.StreamResponse:
    parts = _hook(request).parts
    return await redirected(parts.delivery, parts.storage_of(uri), uri, name)


@answering
async def list_production_orders(request: web.Request) -> web.StreamResponse:
    query = _query(request, views.ITEM_PROPERTIES, "i.id DESC")
    async with services(request).pool.acquire() as connection:
        found = await views.list_items(connection, caller_of(request).owner, query)
    shelf = _hook(request).workflows
    documents = [replies.production_order_document(item, shelf) for item in found.rows]
    return _list(request, replies.PRODUCTION_ORDERS, documents, query, found.more, found.count)


@answering
async def get_production_order(request: web.Request) -> web.StreamResponse:
    return _production_order(request, await _item(request))


@answering
async def cancel_production_order(request: web.Request) -> web.StreamResponse:
    item = await _item(request)
    await _cancel(request, item.order_id, [item.id])
    return _production_order(request, await _item(request))


@answering
async def cancel_order(request: web.Request) -> web.StreamResponse:
    owner, number = caller_of(request).owner, _key(request, "id")
    async with services(request).pool.acquire() as connection:
        await views.get_order(connection, owner, number)
        rows = await connection.fetch("SELECT id FROM hook_item WHERE order_id = $1", number)
    await _cancel(request, number, [row["id"] for row in rows])
    async with services(request).pool.acquire() as connection:
        order = await views.get_order(connection, owner, number)
    return _answer(replies.wrapped(replies.BATCH_ORDER, replies.order_document(order, _hook(request).workflows)))


def _answer(document: replies.Document, *, status: int = 200) -> web.Response:
    return web.Response(status=status, text=json.dumps(document), content_type="application/json")


async def _cancel(request: web.Request, order: int, items: list[int]) -> None:
    around = services(request)
    async with around.pool.acquire() as connection:
        jobs = await cancel_items(connection, order, items)
    await cancel(around.client, jobs)


async def _item(request: web.Request) -> ItemRow:
    """The item of the URL: `BatchOrder(id)/Product(pid)`, or `ProductionOrder(id)`."""
    in_order = "pid" in request.match_info
    order = _key(request, "id") if in_order else None
    number = _key(request, "pid" if in_order else "id")
    async with services(request).pool.acquire() as connection:
        return await views.get_item(connection, caller_of(request).owner, number, order=order)


def _production_order(request: web.Request, item: ItemRow, *, status: int = 200) -> web.Response:
    document = replies.production_order_document(item, _hook(request).workflows)
    return _answer(replies.wrapped(replies.PRODUCTION_ORDER, document), status=status)


def _list(
    request: web.Request, context: str, documents: list[replies.Document], query: ListQuery, more: bool, count: int | None
) -> web.Response:
    link = query.next_link(_base(request) + request.path.removeprefix(ROOT)) if more and query.top else None
    return _answer(replies.wrapped(context, documents, count=count, next_link=link))


def _query(request: web.Request, properties: Properties, order: str, *, first: int = 2, expandable: tuple[str, ...] = ()) -> ListQuery:
    return read_query(request.query, properties, default_order=order, first=first, expandable=expandable)


def _key(request: web.Request, name: str) -> int:
    """A number in parentheses, with or without quotes; raises NotFoundError for what can be no order's."""
    text = request.match_info[name].strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        text = text[1:-1]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise NotFoundError(f"there is nothing with the number '{text[:40]}'")
    return int(text)


def _link(request: web.Request, item: ItemRow) -> str | None:
    if not item.output_uri or item.expires_at is None:
        return None
    return _hook(request).parts.delivery.link(item.id, item.output_uri, item.expires_at, _base(request))


def _base(request: web.Request) -> str:
    """The root of this API as clients reach it."""
    configured = _hook(request).settings.hook.public_url.rstrip("/")
    return (configured or str(request.url.origin())) + ROOT


def _hook(request: web.Request) -> HookService:
    return services(request).hook


class _GoneError(UserError):
    """What was asked for was there once."""

    status = 410
