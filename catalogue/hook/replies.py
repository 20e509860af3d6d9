"""What clients get to read: the names, types and wrapping they know. No secret is among it: none is left in what is told here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from catalogue.hook.orders import OrderStatus
from catalogue.hook.views import ItemRow, OrderRow
from catalogue.hook.workflows import OptionSpec, Workflow, WorkflowShelf

BATCH_ORDER = "#metadata/Odata.CSC.BatchOrder"
ITEM = "#metadata/OData.CSC.BatchorderItem"
PRODUCTION_ORDER = "$metadata#ProductionOrder/$entity"
PRODUCTION_ORDERS = "$metadata#ProductionOrders"
WORKFLOW = "$metadata#Workflows/$entity"
WORKFLOWS = "$metadata#Workflows"

Document = dict[str, Any]

_MESSAGES = {
    OrderStatus.QUEUED: "request is queued for processing",
    OrderStatus.IN_PROGRESS: "request is under processing",
    OrderStatus.COMPLETED: "requested output product is available",
    OrderStatus.FAILED: "request has failed",
    OrderStatus.CANCELLED: "request was cancelled",
}


def wrapped(context: str, value: Document | Sequence[Document], *, count: int | None = None, next_link: str | None = None) -> Document:
    """The reply around an entity or a list."""
    document: Document = {"@odata.context": context}
    if count is not None:
        document["@odata.count"] = count
    document["value"] = value
    if next_link is not None:
        document["@odata.nextLink"] = next_link
    return document


def workflow_document(name: str, workflow: Workflow, *, expanded: bool) -> Document:
    """`name`: the one to show, its own or an older one."""
    return {
        "@odata.context": WORKFLOW,
        "Id": str(workflow.number),
        "Uuid": str(workflow.uuid),
        "Name": name,
        "DisplayName": workflow.title,
        "Documentation": workflow.documentation,
        "Description": workflow.description,
        "InputProductType": _first(workflow.input_product_types),
        "InputProductTypes": workflow.input_product_types,
        "OutputProductType": _first(workflow.output_product_types),
        "OutputProductTypes": workflow.output_product_types,
        "WorkflowVersion": workflow.version,
        "WorkflowOptions": [_option(spec) for spec in workflow.options] if expanded else [],
    }


def order_document(order: OrderRow, shelf: WorkflowShelf) -> Document:
    workflow = shelf.get(order.workflow)
    return {
        "@odata.context": BATCH_ORDER,
        "Id": order.id,
        "KeycloakUUID": str(order.uuid),
        "Name": order.name,
        "Status": order.status.value,
        "Priority": order.priority,
        "SubmissionDate": _moment(order.submitted_at),
        "EstimatedDate": _moment(order.estimated_at),
        "CompletedDate": _moment(order.completed_at),
        "WorkflowId": workflow.number if workflow else None,
        "WorkflowName": order.workflow,
        "WorkflowDisplayName": workflow.title if workflow else order.workflow,
        "WorkflowVersion": order.version,
        "WorkflowOptions": _given(order.given),
        "BatchSize": order.batch_size,
        "NotificationEndpoint": order.notification_endpoint or None,
        "NotificationEpUsername": order.notification_username or None,
        "NotificationStatus": order.notification_status or None,
    }


def item_document(item: ItemRow, link: str | None) -> Document:
    return {
        "@odata.context": ITEM,
        "Id": item.id,
        "BatchOrderId": item.order_id,
        "InputProductReference": item.identifier,
        "SubmissionDate": _moment(item.submitted_at),
        "Status": item.status.value,
        "StatusMessage": _message(item),
        "ProcessedName": item.processed_name or None,
        "ProcessedSize": item.processed_size,
        "OutputUUID": str(item.output_uuid) if item.output_uuid else None,
        "DownloadLink": link,
        "NotificationStatus": item.notification_status or None,
        "CompletedDate": _moment(item.completed_at),
    }


def production_order_document(item: ItemRow, shelf: WorkflowShelf) -> Document:
    workflow = shelf.get(item.workflow)
    reference: Document = {"Reference": item.identifier, "ContentDate": item.content_date}
    return {
        "@odata.context": PRODUCTION_ORDER,
        "Id": str(item.id),
        "Status": item.status.value,
        "StatusMessage": _message(item),
        "SubmissionDate": _moment(item.submitted_at),
        "Name": item.name,
        "EstimatedDate": _moment(item.estimated_at),
        "InputProductReference": reference,
        "WorkflowOptions": _given(item.given),
        "WorkflowName": item.workflow,
        "WorkflowId": workflow.number if workflow else None,
        "Priority": item.priority,
        "NotificationStatus": item.notification_status or None,
    }


def _option(spec: OptionSpec) -> Document:
    return {
        "Name": spec.name,
        "Description": spec.description,
        "Type": spec.type,
        "Default": spec.default,
        "Value": spec.choices or None,
        "Required": spec.required,
    }


def _given(given: list[list[Any]]) -> list[Document]:
    return [{"Name": name, "Value": value} for name, value in given]


def _message(item: ItemRow) -> str:
    return item.message or _MESSAGES[item.status]


def _first(types: Sequence[str]) -> str | None:
    return types[0] if types else None


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
