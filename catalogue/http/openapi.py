"""The OpenAPI 3.1 description of the service, made from the table of endpoints."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from catalogue.http.endpoint import Answer, Content, Endpoint, ListOf, Schema
from catalogue.http.endpoints import ENDPOINTS
from catalogue.http.problems import MEDIA_TYPE
from catalogue.workflow.status import Status

_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 999_999_999}

_TEXT: Schema = {"type": "string", "pattern": "^[^\\u0000]*$"}
_NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": 10**15, "examples": [1]}

PARAMETERS: dict[str, tuple[str, Schema]] = {
    "aoi": ("Name of an AOI", {"type": "string", "pattern": "^[A-Za-z0-9_:-]{1,128}$", "examples": ["Example"]}),
    "aoi_or_pattern": (
        "Name of an AOI, or a pattern with * and ?",
        {"type": "string", "pattern": "^[A-Za-z0-9_:*?-]{1,128}$", "examples": ["Example", "Ex*"]},
    ),
    "status": ("State of scenes or tiles", {"type": "string", "enum": [status.value for status in Status]}),
    "in_aoi": ("Name of an AOI", _TEXT),
    "scene": ("Number of a scene", _NUMBER),
    "tile": ("Number of a tile", _NUMBER),
    "name": ("Name", _TEXT),
    "variable_name": (
        "Name of a variable",
        {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$", "examples": ["CloudMask"]},
    ),
    "id": ("Id", {"type": "string", "format": "uuid"}),
    "record": ("Id of a record", {"type": "string", "format": "uuid"}),
    "variable": ("Name of a variable", _TEXT),
    "instance": ("Name of an instance", _TEXT),
    "seq": ("Number of a dead letter", {"type": "integer", "minimum": 0, "maximum": 10**15}),
    "minutes": ("How long nothing is deleted", {"type": "integer", "minimum": 1, "maximum": 7 * 24 * 60}),
    "layers": ("Whether the layers go, too", {"type": "string", "enum": ["true", "false"]}),
    "collection": ("Id of a collection: the name of an AOI", {**_TEXT, "examples": ["Example"]}),
    "item": ("Id of an item", {**_TEXT, "examples": ["Example"]}),
    "file_name": ("Name of the file", {**_TEXT, "examples": ["layer.tif"]}),
    "size": ("Pixels of the longer side", {"type": "integer", "minimum": 16, "maximum": 2048}),
    "record_name": ("A name, or a pattern with * and ?", _TEXT),
    "tags": (
        "Tags and their values: NAME=VALUE, several with commas between",
        {"type": "string", "pattern": "^$|^[^\\u0000=,]+=[^\\u0000,]*$"},
    ),
    "datetime": (
        "A moment, or two with a slash between, .. for an open end",
        {"type": "string", "examples": ["2024-05-14T10:00:00Z", "2024-01-01T00:00:00Z/.."]},
    ),
    "bbox": ("West, south, east, north in degrees", {"type": "string", "examples": ["10,50,11,51"]}),
    "collections": ("Ids of collections, with commas between", {**_TEXT, "examples": ["Example"]}),
    "ids": ("Ids of items, with commas between", _TEXT),
    "intersects": ("A GeoJSON geometry", {"type": "string", "examples": ['{"type": "Point", "coordinates": [10.5, 50.5]}']}),
    "stac_limit": ("Items of a page, not more than 1000", {"type": "integer", "minimum": 1, "maximum": 999_999_999}),
    "stac_token": ("Where the page begins: from the link to the next page", {"type": "string"}),
    "stac_sortby": (
        "Properties to sort by, with commas between; - before one sorts it downwards",
        {"type": "string", "examples": ["-datetime"]},
    ),
    "stac_fields": ("Parts of an item that are wanted, with commas between; - before one leaves it out", _TEXT),
    "stac_filter": ("CQL2", {"type": "string", "examples": ["eo:cloud_cover < 20"]}),
    "stac_filter_lang": ("Language of the filter", {"type": "string", "enum": ["cql2-text", "cql2-json"]}),
    "$filter": ("Condition, in OData", {**_TEXT, "examples": ["Name eq 'data-harvest'", "contains(Name,'x') and Priority gt 1"]}),
    "$orderby": ("Properties to sort by, with commas between", {**_TEXT, "examples": ["Id asc"]}),
    "$top": ("Entries of a page", {"type": "integer", "minimum": 0, "maximum": 1000}),
    "$skip": ("Entries to leave out", {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}),
    "$count": ("Whether to count the whole list", {"type": "string", "enum": ["true", "false"]}),
    "$expand": ("What to show in full: WorkflowOptions, of workflows", {**_TEXT, "examples": ["WorkflowOptions"]}),
    "order_number": ("Number of an order", _NUMBER),
    "product_number": ("Number of a product of an order", _NUMBER),
    "expires": ("Of the link", _TEXT),
    "signature": ("Of the link", _TEXT),
    "page": ("Page, from 0", _COUNT),
    "limit": ("Entries of a page", _COUNT),
    "payload_page": ("Page of the search, from 0; instead of the payload's", {"type": "integer", "minimum": 0, "maximum": 1_000_000}),
    "payload_limit": ("Scenes of a page, 0 for all; instead of the payload's", {"type": "integer", "minimum": 0, "maximum": 100_000}),
}


def describe() -> dict[str, Any]:
    """The OpenAPI document."""
    models = _models()
    names, definitions = models_json_schema(
        [(model, mode) for model, mode in models.items()], by_alias=True, ref_template="#/components/schemas/{model}"
    )
    references: dict[type[BaseModel], Any] = {model: names[(model, mode)] for model, mode in models.items()}
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Thresher catalogue",
            "version": version("thresher"),
            "description": "Ingest areas of interest into a data cube, and see how far it is.",
        },
        "paths": paths,
        "components": {
            "schemas": {**definitions.get("$defs", {}), "Problem": _PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}, {}],
    }


_PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string"},
    },
}


def _models() -> dict[type[BaseModel], JsonSchemaMode]:
    """Every model of the table: those of bodies as they are read, those of answers as they are written."""
    found: dict[type[BaseModel], JsonSchemaMode] = {}

    def visit(content: object, mode: JsonSchemaMode) -> None:
        if isinstance(content, ListOf):
            found.setdefault(content.model, mode)
        elif isinstance(content, dict):
            for value in content.values():
                visit(value, mode)
        elif isinstance(content, list):
            for value in content:
                visit(value, mode)
        elif isinstance(content, type) and issubclass(content, BaseModel):
            found.setdefault(content, mode)

    for endpoint in ENDPOINTS:
        visit(endpoint.body, "validation")
        for answer in endpoint.answers.values():
            visit(answer.content, "serialization")
    return found


def _operation(endpoint: Endpoint, references: dict[type[BaseModel], Any]) -> dict[str, Any]:
    answers = {**_problems(endpoint), **endpoint.answers}
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}{re.sub(r'[^a-z]+', '_', endpoint.path).rstrip('_') or '_root'}",
        "summary": endpoint.summary,
        "responses": {str(status): _answer(status, answers[status], references) for status in sorted(answers)},
    }
    keys = {name: endpoint.described.get(name, name) for name in (*_in_path(endpoint), *endpoint.query)}
    in_path = [{"name": name, "in": "path", "required": True, **_described(keys[name])} for name in _in_path(endpoint)]
    in_query = [{"name": name, "in": "query", "required": False, **_described(keys[name])} for name in endpoint.query]
    if in_path or in_query:
        operation["parameters"] = [*in_path, *in_query]
    if endpoint.body and endpoint.method == "GET":
        # A body on GET is outside of the specification; curl sends it all the same, and the query does too.
        properties = next(iter(endpoint.body.values()))
        assert isinstance(properties, dict)
        operation.setdefault("parameters", []).extend(
            {"name": name, "in": "query", "required": name in properties["required"], "schema": _schema(schema, references)}
            for name, schema in properties["properties"].items()
        )
    elif endpoint.body:
        content = {media: {"schema": _schema(value, references)} for media, value in endpoint.body.items()}
        operation["requestBody"] = {"required": True, "content": content}
    if endpoint.open:
        operation["security"] = [{}]
    return operation


def _problems(endpoint: Endpoint) -> dict[int, Answer]:
    """What can go wrong with any such request."""
    found: dict[int, Answer] = {}
    if not endpoint.open:
        found[400] = Answer("The request is wrong; `field` names the part to mend")
        found |= {401: Answer("The token is missing or wrong"), 503: Answer("The database does not answer at the moment")}
    if _in_path(endpoint):
        found[404] = Answer("It does not exist")
    if endpoint.body:
        found[413] = Answer("The body is too large")
    if endpoint.path.startswith("/catalog/"):
        found[502] = Answer("No external catalogue answers as it should")
    return found


def _in_path(endpoint: Endpoint) -> list[str]:
    return re.findall(r"{(\w+)}", endpoint.path)


def _answer(status: int, answer: Answer, references: dict[type[BaseModel], Any]) -> dict[str, Any]:
    document: dict[str, Any] = {"description": answer.description}
    if answer.content:
        document["content"] = {media: {"schema": _schema(value, references)} for media, value in answer.content.items()}
    elif status >= 400:
        document["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return document


def _schema(content: Content | object, references: dict[type[BaseModel], Any]) -> Any:
    if isinstance(content, ListOf):
        items = {"type": "array", "items": references[content.model]}
        if not content.key:
            return items
        return {"type": "object", "required": [content.key, "next"], "properties": {content.key: items, "next": {"type": "boolean"}}}
    if isinstance(content, dict):
        return {key: _schema(value, references) for key, value in content.items()}
    if isinstance(content, list):
        return [_schema(value, references) for value in content]
    if isinstance(content, type) and issubclass(content, BaseModel):
        return references[content]
    return content


def _described(name: str) -> dict[str, Any]:
    description, schema = PARAMETERS[name]
    return {"description": description, "schema": schema}
