"""The endpoints that read the cube: the STAC API, the files of datasets and pictures of them."""

from __future__ import annotations

from catalogue.http import files, stac
from catalogue.http.endpoint import JSON, STRING, Answer, Content, Endpoint, Schema

GEOJSON = "application/geo+json"
_SCHEMA = "application/schema+json"
_PNG = "image/png"
_BINARY: Schema = {"type": "string", "format": "binary"}
_OBJECT: Schema = {"type": "object", "required": ["links"]}
_PAGE: Schema = {
    "type": "object",
    "required": ["type", "features", "links"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": {"type": "object"}},
        "links": {"type": "array", "items": {"type": "object", "required": ["rel", "href"]}},
        "numberReturned": {"type": "integer"},
        "numberMatched": {"type": "integer"},
    },
}
_ITEM: Schema = {"type": "object", "required": ["type", "stac_version", "id", "geometry", "properties", "links", "assets"]}
_NAMES: Schema = {"type": "array", "items": STRING}
_SEARCH: Schema = {
    "type": "object",
    "properties": {
        "collections": _NAMES,
        "ids": _NAMES,
        "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
        "intersects": {"type": "object", "required": ["type"], "properties": {"type": STRING}},
        "datetime": STRING,
        "limit": {"type": "integer", "minimum": 1},
        "sortby": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field"],
                "properties": {"field": STRING, "direction": {"enum": ["asc", "desc"]}},
            },
        },
        "fields": {"type": "object", "properties": {"include": _NAMES, "exclude": _NAMES}},
        "filter": {},
        "filter-lang": {"enum": ["cql2-json", "cql2-text"]},
        "token": STRING,
    },
    "examples": [{"collections": ["Example"], "limit": 10}],
}
_SEARCH_BODY: dict[str, Content] = {JSON: _SEARCH}
_FOUND = {200: Answer("Items", {GEOJSON: _PAGE})}
_ITEMS_QUERY = ("bbox", "datetime", "limit", "token", "sortby", "fields", "filter", "filter-lang")
_STAC = {name: f"stac_{name.replace('-', '_')}" for name in ("limit", "token", "sortby", "fields", "filter", "filter-lang")}
_FILE = {
    200: Answer("The file", {"*/*": _BINARY}),
    206: Answer("The part of it that was asked for", {"*/*": _BINARY}),
    304: Answer("It is still the same"),
    307: Answer("Where it is in S3, for some minutes"),
    412: Answer("It is another now"),
    416: Answer("It has no such part"),
}
_PICTURE = {200: Answer("PNG", {_PNG: _BINARY}), 304: Answer("It is still the same")}

READING: tuple[Endpoint, ...] = (
    Endpoint("GET", "/stac", stac.get_landing, "The cube as STAC: landing page", {200: Answer("Catalogue", {JSON: _OBJECT})}),
    Endpoint(
        "GET",
        "/stac/conformance",
        stac.get_conformance,
        "What the STAC API conforms to",
        {200: Answer("Classes", {JSON: {"type": "object"}})},
    ),
    Endpoint(
        "GET", "/stac/queryables", stac.get_queryables, "What a filter can ask for", {200: Answer("Schema", {_SCHEMA: {"type": "object"}})}
    ),
    Endpoint(
        "GET",
        "/stac/collections",
        stac.list_collections,
        "All collections: AOIs with layers",
        {200: Answer("Collections", {JSON: _OBJECT})},
    ),
    Endpoint("GET", "/stac/collections/{collection}", stac.get_collection, "A collection", {200: Answer("Collection", {JSON: _OBJECT})}),
    Endpoint(
        "GET",
        "/stac/collections/{collection}/queryables",
        stac.get_queryables,
        "What a filter can ask for in a collection",
        {200: Answer("Schema", {_SCHEMA: {"type": "object"}})},
    ),
    Endpoint(
        "GET",
        "/stac/collections/{collection}/items",
        stac.list_items,
        "The items of a collection",
        _FOUND,
        query=_ITEMS_QUERY,
        described=_STAC,
    ),
    Endpoint("GET", "/stac/collections/{collection}/items/{item}", stac.get_item, "An item", {200: Answer("Item", {GEOJSON: _ITEM})}),
    Endpoint(
        "GET",
        "/stac/collections/{collection}/items/{item}/thumbnail.png",
        files.get_thumbnail,
        "Quick look of an item, in colour where it has red, green and blue",
        _PICTURE,
        query=("size",),
    ),
    Endpoint(
        "GET",
        "/stac/search",
        stac.get_search,
        "Search items",
        _FOUND,
        query=("collections", "ids", "intersects", *_ITEMS_QUERY),
        described=_STAC,
    ),
    Endpoint("POST", "/stac/search", stac.post_search, "Search items", _FOUND, body=_SEARCH_BODY),
    Endpoint(
        "GET",
        "/cube/datasets/{id}/preview.png",
        files.get_preview,
        "Picture of a dataset",
        _PICTURE,
        query=("size",),
    ),
    *(
        Endpoint(method, "/cube/datasets/{id}/{name}", files.get_file, summary, answers, described={"name": "file_name"})
        for method, summary, answers in (
            ("GET", "The file of a dataset, or ranges of it", _FILE),
            ("HEAD", "Size of the file of a dataset", {200: Answer("It is there"), 304: Answer("It is still the same")}),
        )
    ),
)
