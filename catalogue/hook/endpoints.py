"""The rows of the table of endpoints that are below `/odata/v1/`."""

from __future__ import annotations

from catalogue.hook import handlers
from catalogue.hook.links import PATH
from catalogue.hook.requests import BatchOrderBody, ProductionOrderBody
from catalogue.http.endpoint import JSON, STRING, Answer, Endpoint, Schema

_ENTITY: Schema = {"type": "object", "required": ["@odata.context", "value"], "properties": {"value": {"type": "object"}}}
_LIST: Schema = {
    "type": "object",
    "required": ["@odata.context", "value"],
    "properties": {
        "value": {"type": "array", "items": {"type": "object"}},
        "@odata.count": {"type": "integer"},
        "@odata.nextLink": STRING,
    },
}
_DETAIL: Schema = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {
            "anyOf": [
                STRING,
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["loc", "msg", "type"],
                        "properties": {"loc": {"type": "array"}, "msg": STRING, "type": STRING},
                    },
                },
            ]
        }
    },
}
_ROOT = handlers.ROOT
_OPTIONS = ("$filter", "$orderby", "$top", "$skip", "$count", "$expand")
_NUMBERS = {"id": "order_number", "pid": "product_number"}
_FILE = {200: Answer("The zip", {"application/zip": {"type": "string", "format": "binary"}}), 302: Answer("Where it is")}


def _problem(description: str) -> Answer:
    return Answer(description, {JSON: _DETAIL})


_WRONG = {400: _problem("The request is wrong"), 503: _problem("The database does not answer at the moment")}
_MISSING = {404: _problem("There is no such order, or it is somebody else's")}
_ENDED = {409: _problem("Its state does not allow it")}
_GONE = {410: _problem("It has expired")}
_PLACED = {
    201: Answer("Ordered", {JSON: _ENTITY}),
    409: _problem("The idempotency key was used for another order"),
    413: _problem("The body is too large"),
    422: _problem("The order cannot be accepted as it is; the detail says what is wrong where"),
}


def _list(path: str, handler: handlers.Handler, summary: str, *, of_order: bool = False) -> Endpoint:
    missing = _MISSING if of_order else {}
    answers = {200: Answer("A page", {JSON: _LIST}), **_WRONG, **missing}
    return Endpoint("GET", _ROOT + path, handler, summary, answers, query=_OPTIONS, described=_NUMBERS if of_order else {})


def _one(method: str, path: str, handler: handlers.Handler, summary: str, more: dict[int, Answer] | None = None) -> Endpoint:
    answers = {200: Answer("As it is", {JSON: _ENTITY}), **_WRONG, **_MISSING, **(more or {})}
    return Endpoint(method, _ROOT + path, handler, summary, answers, described=_NUMBERS)


ORDERING: tuple[Endpoint, ...] = (
    _list("/Workflows", handlers.list_workflows, "The workflows that can be ordered"),
    Endpoint(
        "POST",
        f"{_ROOT}/BatchOrder/OData.CSC.Order",
        handlers.order_batch,
        "Order a workflow on products",
        {**_WRONG, **_PLACED},
        body={JSON: BatchOrderBody},
    ),
    _list("/BatchOrder", handlers.list_orders, "Your orders, the newest first"),
    _one("GET", "/BatchOrder({id})", handlers.get_order, "An order"),
    *(_one(method, "/BatchOrder({id})/OData.CSC.Cancel", handlers.cancel_order, "Cancel an order", _ENDED) for method in ("POST", "GET")),
    _list("/BatchOrder({id})/Products", handlers.list_products, "The products of an order", of_order=True),
    _one("GET", "/BatchOrder({id})/Product({pid})", handlers.get_product, "A product of an order"),
    _one("GET", "/BatchOrder({id})/Product({pid})/$value", handlers.get_product_value, "Its result", {**_FILE, **_ENDED, **_GONE}),
    Endpoint(
        "POST",
        f"{_ROOT}/ProductionOrder/OData.CSC.Order",
        handlers.order_production,
        "Order a workflow on one product",
        {**_WRONG, **_PLACED},
        body={JSON: ProductionOrderBody},
    ),
    _list("/ProductionOrders", handlers.list_production_orders, "The products of all your orders, each as an order of its own"),
    _one("GET", "/ProductionOrders({id})", handlers.get_production_order, "The order of a product"),
    _one("GET", "/ProductionOrder({id})", handlers.get_production_order, "The order of a product"),
    *(
        _one(method, "/ProductionOrder({id})/OData.CSC.Cancel", handlers.cancel_production_order, "Cancel a product", _ENDED)
        for method in ("POST", "GET")
    ),
    _one("GET", "/ProductionOrder({id})/Product", handlers.get_product, "The product"),
    _one("GET", "/ProductionOrder({id})/Product/$value", handlers.get_product_value, "Its result", {**_FILE, **_ENDED, **_GONE}),
    Endpoint(
        "GET",
        _ROOT + PATH,
        handlers.open_link,
        "A result by its signed link",
        {**_FILE, **_MISSING, **_WRONG},
        query=("expires", "signature"),
        described={"item": "product_number", "name": "file_name"},
        open=True,
    ),
)
