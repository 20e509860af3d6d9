"""What is read of orders and items: lists by a compiled `$filter`, single ones by number. Always those of one owner only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from catalogue.database import Connection
from catalogue.hook.odata.filters import Kind, Properties, Property
from catalogue.hook.odata.query import ListQuery
from catalogue.hook.orders import OrderStatus
from catalogue.hook.workflows import Workflow, WorkflowShelf
from common.errors import NotFoundError

Row = TypeVar("Row")

ORDER_PROPERTIES: Properties = {
    "id": Property("o.id", Kind.KEY),
    "name": Property("o.name", Kind.TEXT),
    "status": Property("o.status::text", Kind.TEXT),
    "priority": Property("o.priority", Kind.NUMBER),
    "submissiondate": Property("o.submitted_at", Kind.TIME),
    "estimateddate": Property("o.estimated_at", Kind.TIME),
    "completeddate": Property("o.completed_at", Kind.TIME),
    "workflowname": Property("o.workflow", Kind.TEXT),
    "workflowversion": Property("o.version", Kind.TEXT),
    "notificationendpoint": Property("nullif(o.notification_endpoint, '')", Kind.TEXT),
    "notificationstatus": Property("nullif(o.notification_status, '')", Kind.TEXT),
}

ITEM_PROPERTIES: Properties = {
    "id": Property("i.id", Kind.KEY),
    "batchorderid": Property("i.order_id", Kind.KEY),
    "name": Property("i.name", Kind.TEXT),
    "status": Property("i.status::text", Kind.TEXT),
    "statusmessage": Property("i.message", Kind.TEXT),
    "priority": Property("i.priority", Kind.NUMBER),
    "submissiondate": Property("i.submitted_at", Kind.TIME),
    "completeddate": Property("i.completed_at", Kind.TIME),
    "workflowname": Property("i.workflow", Kind.TEXT),
    "inputproductreference": Property("i.identifier", Kind.TEXT),
    "processedname": Property("nullif(i.processed_name, '')", Kind.TEXT),
    "processedsize": Property("i.processed_size", Kind.NUMBER),
}

WORKFLOW_PROPERTIES: Properties = {
    "id": Property("w.id", Kind.KEY),
    "uuid": Property("w.uuid", Kind.TEXT),
    "name": Property("w.name", Kind.TEXT),
    "displayname": Property("w.display_name", Kind.TEXT),
    "description": Property("w.description", Kind.TEXT),
    "workflowversion": Property("w.version", Kind.TEXT),
}


@dataclass(frozen=True)
class OrderRow:
    """An order as it is told."""

    id: int
    uuid: UUID
    name: str
    workflow: str
    version: str
    priority: int
    given: list[list[Any]]
    batch_size: int | None
    status: OrderStatus
    submitted_at: datetime
    estimated_at: datetime | None
    completed_at: datetime | None
    notification_endpoint: str
    notification_username: str
    notification_status: str


@dataclass(frozen=True)
class ItemRow:
    """An item as it is told, with what it has of its order."""

    id: int
    order_id: int
    name: str
    workflow: str
    priority: int
    identifier: str
    content_date: dict[str, Any] | None
    given: list[list[Any]]
    status: OrderStatus
    message: str
    submitted_at: datetime
    estimated_at: datetime | None
    completed_at: datetime | None
    processed_name: str
    processed_size: int | None
    output_uuid: UUID | None
    output_uri: str
    expires_at: datetime | None
    notification_status: str


@dataclass(frozen=True)
class Found(Generic[Row]):
    """A page of a list."""

    rows: Sequence[Row]
    more: bool
    """Whether another page holds more."""
    count: int | None
    """Of the whole list, where it was asked for."""


_ORDER_COLUMNS = """o.id, o.uuid, o.name, o.workflow, o.version, o.priority, o.given, o.batch_size, o.status, o.submitted_at,
    o.estimated_at, o.completed_at, o.notification_endpoint, o.notification_username, o.notification_status"""

_ITEM_COLUMNS = """i.id, i.order_id, i.name, i.workflow, i.priority, i.identifier, i.content_date, o.given, i.status, i.message,
    i.submitted_at, o.estimated_at, i.completed_at, i.processed_name, i.processed_size, i.output_uuid, i.output_uri, i.expires_at,
    o.notification_status"""


async def list_orders(connection: Connection, owner: str, query: ListQuery) -> Found[OrderRow]:
    """Uses hook_order_owner. The condition's first parameter is number 2."""
    where = f"FROM hook_order o WHERE o.owner = $1 AND {query.condition.sql}"
    parameters = [owner, *query.condition.parameters]
    rows, count = await _page(connection, _ORDER_COLUMNS, where, query, parameters)
    return Found([_order(row) for row in rows[: query.top]], len(rows) > query.top, count)


async def list_items(connection: Connection, owner: str, query: ListQuery, *, order: int | None = None) -> Found[ItemRow]:
    """Of one order, or all of the owner. Uses hook_item_owner, hook_item_order. The condition's first parameter is number 2."""
    only = "" if order is None else f"AND i.order_id = {int(order)} "
    where = f"FROM hook_item i WHERE i.owner = $1 {only}AND {query.condition.sql}"
    parameters = [owner, *query.condition.parameters]
    # The join is for what is shown only: it must not keep the limit from ending the scan early.
    found, count = await _page(connection, "i.id", where, query, parameters)
    numbers = [row["id"] for row in found]
    shown = numbers[: query.top]
    rows = await connection.fetch(
        f"SELECT {_ITEM_COLUMNS} FROM hook_item i JOIN hook_order o ON o.id = i.order_id WHERE i.id = ANY($1)",  # noqa: S608 - constants
        shown,
    )
    by_id = {row["id"]: _item(row) for row in rows}
    return Found([by_id[number] for number in shown if number in by_id], len(numbers) > query.top, count)


async def list_workflows(connection: Connection, shelf: WorkflowShelf, query: ListQuery) -> Found[tuple[str, Workflow]]:
    """With the name to show: an older one where a workflow was only found by that. The condition's first parameter is number 7."""
    condition, named = query.condition, shelf.named()
    rows = await connection.fetch(
        f"""SELECT w.place FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
                 AS w (id, uuid, name, display_name, description, version, place)
            WHERE {condition.sql} ORDER BY {query.order}""",  # noqa: S608 - of the compiler, and constants
        *_workflow_columns(named),
        *condition.parameters,
    )
    found = [named[row["place"] - 1] for row in rows]
    present = {workflow.name for name, workflow in found if name == workflow.name}
    chosen: dict[str, tuple[str, Workflow]] = {}
    for name, workflow in found:
        if name == workflow.name or workflow.name not in present:
            chosen.setdefault(workflow.name, (name, workflow))
    last = query.skip + query.top
    return Found(list(chosen.values())[query.skip : last], len(chosen) > last, len(chosen) if query.count else None)


async def get_order(connection: Connection, owner: str, number: int) -> OrderRow:
    """Raises NotFoundError, also where it is somebody else's."""
    row = await connection.fetchrow(
        f"SELECT {_ORDER_COLUMNS} FROM hook_order o WHERE o.id = $1 AND o.owner = $2",  # noqa: S608 - constants
        number,
        owner,
    )
    if row is None:
        raise NotFoundError(f"there is no order {number}")
    return _order(row)


async def get_item(connection: Connection, owner: str, number: int, *, order: int | None = None) -> ItemRow:
    """Raises NotFoundError, also where it is somebody else's or of another order."""
    row = await connection.fetchrow(
        f"""SELECT {_ITEM_COLUMNS} FROM hook_item i JOIN hook_order o ON o.id = i.order_id
            WHERE i.id = $1 AND i.owner = $2 AND ($3::bigint IS NULL OR i.order_id = $3)""",  # noqa: S608 - constants
        number,
        owner,
        order,
    )
    if row is None:
        raise NotFoundError(f"there is no product {number}" if order is None else f"order {order} has no product {number}")
    return _item(row)


async def _page(
    connection: Connection, columns: str, where: str, query: ListQuery, parameters: Sequence[object]
) -> tuple[list[Any], int | None]:
    """One row more than a page, and the whole count where it is asked for."""
    # Of narrow rows both come of one scan; wide ones would be kept for it, all of them.
    narrow = query.count and columns.endswith(".id")
    whole = ", count(*) OVER () AS whole" if narrow else ""
    rows = await connection.fetch(
        f"SELECT {columns}{whole} {where} ORDER BY {query.order} LIMIT {query.top + 1} OFFSET {query.skip}",
        *parameters,
    )
    if not query.count:
        return rows, None
    if rows and narrow:
        return rows, rows[0]["whole"]
    return rows, await connection.fetchval(f"SELECT count(*) {where}", *parameters)


def _order(row: Any) -> OrderRow:
    return OrderRow(**{**row, "status": OrderStatus(row["status"])})


def _item(row: Any) -> ItemRow:
    return ItemRow(**{**row, "status": OrderStatus(row["status"])})


def _workflow_columns(named: Sequence[tuple[str, Workflow]]) -> tuple[list[Any], ...]:
    return (
        [workflow.number for _, workflow in named],
        [str(workflow.uuid) for _, workflow in named],
        [name for name, _ in named],
        [workflow.title for _, workflow in named],
        [workflow.description for _, workflow in named],
        [workflow.version for _, workflow in named],
    )
