"""What the STAC API says of itself: landing page, conformance, queryables, and the frames around pages of items."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from catalogue.stac.collections import QUERYABLES
from catalogue.stac.items import ROOT, STAC_VERSION
from catalogue.stac.properties import PROPERTIES, TAG
from catalogue.stac.search import Asked

CONFORMANCE = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#fields",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#sort",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#fields",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0/item-search#filter",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/simple-query",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
    "http://www.opengis.net/spec/cql2/1.0/conf/advanced-comparison-operators",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-functions",
)
_JSON = "application/json"
_GEOJSON = "application/geo+json"
_SCHEMA = "application/schema+json"


def landing(aois: Sequence[str]) -> dict[str, Any]:
    """The root catalogue; its links begin with `ROOT`."""
    here = f"{ROOT}/stac"
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": "thresher",
        "title": "Thresher",
        "description": "Layers that Thresher made, an item for each scene or burst of an area of interest.",
        "conformsTo": list(CONFORMANCE),
        "links": [
            _link("self", _JSON, here),
            _link("root", _JSON, here),
            _link("conformance", _JSON, f"{here}/conformance"),
            _link("data", _JSON, f"{here}/collections"),
            _link("service-desc", _JSON, f"{ROOT}/openapi.json"),
            {**_link("search", _GEOJSON, f"{here}/search"), "method": "GET"},
            {**_link("search", _GEOJSON, f"{here}/search"), "method": "POST"},
            _link(QUERYABLES, _SCHEMA, f"{here}/queryables"),
            *({**_link("child", _JSON, f"{here}/collections/{quote(aoi, safe='')}"), "title": aoi} for aoi in aois),
        ],
    }


def collections_page(collections: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The list of all collections."""
    return {
        "collections": list(collections),
        "links": [_link("self", _JSON, f"{ROOT}/stac/collections"), _link("root", _JSON, f"{ROOT}/stac")],
    }


def queryables(path: str) -> dict[str, Any]:
    """What can be asked for by a filter, as the JSON Schema at `path`."""
    geometry = {"$ref": "https://geojson.org/schema/Geometry.json", "title": "Outline of the item"}
    return {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": f"{ROOT}{path}",
        "type": "object",
        "title": "Queryables",
        "description": f"Every tag of a record can be asked for, too, as {TAG}NAME.",
        "properties": {**{name: found.schema for name, found in PROPERTIES.items()}, "geometry": geometry},
        "additionalProperties": True,
    }


def items_page(items: Sequence[str], token: str | None, path: str, asked: Asked) -> str:
    """A FeatureCollection of items that are JSON already; its links begin with `ROOT`."""
    here = f"{ROOT}{path}"
    links = [_link("root", _JSON, f"{ROOT}/stac"), _link("self", _GEOJSON, here + (f"?{urlencode(asked.query)}" if asked.query else ""))]
    if path.endswith("/items"):
        links.append(_link("collection", _JSON, here.removesuffix("/items")))
    if token is not None:
        links.append(_next(here, token, asked))
    # How many there are is known only where all of them are here.
    matched = f',"numberMatched":{len(items)}' if token is None and asked.search.token is None else ""
    return (
        f'{{"type":"FeatureCollection","features":[{",".join(items)}],"links":{json.dumps(links)},"numberReturned":{len(items)}{matched}}}'
    )


def _next(here: str, token: str, asked: Asked) -> dict[str, Any]:
    if asked.body is None:
        return _link("next", _GEOJSON, f"{here}?{urlencode({**asked.query, 'token': token})}")
    return {**_link("next", _GEOJSON, here), "method": "POST", "body": {**asked.body, "token": token}}


def _link(rel: str, kind: str, href: str) -> dict[str, Any]:
    return {"rel": rel, "type": kind, "href": href}
