"""A STAC API server on loopback that answers from recorded items, in the manner of each public API.

It evaluates the query it is sent (collections, intersects or bbox, datetime, ids, `query` or CQL2 filter, sort, limit) and pages with
`next` links; it can be made to fail before it answers.
"""

from __future__ import annotations

import gzip
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

from shapely.geometry import box, shape

from tests.replay_server import Fault, ReplayHandler, serving

Item = dict[str, Any]
Manner = Literal["get-token", "post-body", "post-merge"]
"""How the next page is linked: GET with everything in the URL; POST with the whole body; POST with a body to merge."""

QUERY = "https://api.stacspec.org/v1.0.0/item-search#query"
SORT = "https://api.stacspec.org/v1.0.0/item-search#sort"
CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json"


@dataclass
class StacReplay:
    """The server's items and manners, and what it was asked."""

    items: list[Item]
    manner: Manner = "post-body"
    conformance: tuple[str, ...] = (QUERY, SORT)
    search_methods: tuple[str, ...] = ("GET", "POST")
    faults: deque[Fault] = field(default_factory=deque)
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Every search asked, also those that were answered with a fault."""
    next_of: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """Changes a `next` link before it is sent."""
    static: dict[str, Any] = field(default_factory=dict)
    """Documents by path, for static catalogues: JSON values, bytes as they are, or a fault."""
    url: str = ""

    @contextmanager
    def running(self) -> Iterator[StacReplay]:
        with serving(_handler(self)) as root:
            self.url = f"{root}/stac/v1"
            yield self

    @property
    def root(self) -> str:
        return self.url.removesuffix("/stac/v1")

    def fault(self) -> Fault | None:
        """The fault to answer with now."""
        while self.faults:
            fault = self.faults[0]
            if not fault.lasts_s:
                return self.faults.popleft()
            if fault.begun is None:
                fault.begun = time.monotonic()
            if time.monotonic() - fault.begun < fault.lasts_s:
                return fault
            self.faults.popleft()
        return None

    def document(self, path: str) -> Fault:
        """What stands at a path other than that of the search."""
        value = self.landing() if path.rstrip("/") == "/stac/v1" else self.static.get(path)
        if isinstance(value, Fault):
            return value
        if value is None:
            return Fault(404, body=b'{"code": "NotFound"}')
        return Fault(200, body=value if isinstance(value, bytes) else json.dumps(value).encode())

    def landing(self) -> dict[str, Any]:
        links = [{"rel": "search", "href": f"{self.url}/search", "method": method} for method in self.search_methods]
        return {
            "type": "Catalog",
            "id": "replay",
            "stac_version": "1.0.0",
            "description": "recorded items",
            "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search", *self.conformance],
            "links": [{"rel": "self", "href": self.url}, *links],
        }

    def page(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        found = [item for item in self.items if _matches(item, body)]
        for key in reversed(body.get("sortby", [])):
            reverse = key["direction"] == "desc"
            found.sort(key=lambda item: (_value(item, key["field"].removeprefix("properties.")) or "", item["id"]), reverse=reverse)
        start, size = int(body.get("token", 0)), int(body.get("limit", 10))
        page = found[start : start + size]
        document: dict[str, Any] = {"type": "FeatureCollection", "features": page, "links": [], "numberReturned": len(page)}
        if start + size < len(found):
            link = self._next(method, body, start + size)
            document["links"].append(self.next_of(link) if self.next_of else link)
        return document

    def _next(self, method: str, body: dict[str, Any], start: int) -> dict[str, Any]:
        if method == "GET" or self.manner == "get-token":
            flat = {key: value if isinstance(value, str) else json.dumps(value) for key, value in {**body, "token": start}.items()}
            return {"rel": "next", "method": "GET", "href": f"{self.url}/search?{urlencode(flat)}"}
        link = {"rel": "next", "method": "POST", "href": f"{self.url}/search", "type": "application/geo+json"}
        if self.manner == "post-merge":
            return {**link, "merge": True, "body": {"token": start}}
        return {**link, "body": {**body, "token": start}}


def recorded(path: Path) -> list[Item]:
    """The items of a recorded answer: a FeatureCollection, a list, an item, or one item a line; gzipped or not."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    if ".ndjson" in path.name:
        return [json.loads(line) for line in text.splitlines()]
    document = json.loads(text)
    if isinstance(document, list):
        return document
    return document["features"] if document["type"] == "FeatureCollection" else [document]


def _matches(item: Item, body: dict[str, Any]) -> bool:
    if body.get("collections") and item.get("collection") not in body["collections"]:
        return False
    if body.get("ids") and item["id"] not in body["ids"]:
        return False
    if body.get("intersects") and not (item.get("geometry") and shape(item["geometry"]).intersects(shape(body["intersects"]))):
        return False
    if body.get("bbox") and not shape(item["geometry"]).intersects(box(*body["bbox"])):
        return False
    if body.get("datetime") and not _within(item, body["datetime"]):
        return False
    for name, tests in body.get("query", {}).items():
        if not all(_test(operator, _value(item, name), wanted) for operator, wanted in tests.items()):
            return False
    return _cql2(item, body["filter"]) if body.get("filter") else True


def _within(item: Item, interval: str) -> bool:
    start, end = (_moment(text) for text in interval.split("/"))
    moment = item["properties"].get("datetime") or item["properties"].get("start_datetime")
    return moment is None or start <= _moment(moment) <= end


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _value(item: Item, name: str) -> Any:
    return item[name] if name in ("id", "collection") else item["properties"].get(name)


def _test(operator: str, value: Any, wanted: Any) -> bool:
    if value is None:
        return False
    match operator:
        case "gte" | ">=":
            return value >= wanted
        case "lte" | "<=":
            return value <= wanted
        case "eq" | "=":
            return value == wanted
        case "in":
            return value in wanted
    raise ValueError(operator)


def _cql2(item: Item, expression: dict[str, Any]) -> bool:
    if expression["op"] == "and":
        return all(_cql2(item, part) for part in expression["args"])
    subject, wanted = expression["args"]
    return _test(expression["op"], _value(item, subject["property"]), wanted)


def _handler(replay: StacReplay) -> type[ReplayHandler]:
    class Handler(ReplayHandler):
        content_type = "application/geo+json"

        def reply(self) -> None:
            parts = urlsplit(self.path)
            if self.command == "GET" and parts.path != "/stac/v1/search":
                return self.fail(replay.document(parts.path))
            if self.command not in replay.search_methods:
                return self.answer(405, b"{}")
            if self.command == "POST":
                return self._search(json.loads(self.body))
            return self._search({key: _decoded(key, values[0]) for key, values in parse_qs(parts.query).items()})

        def _search(self, asked: dict[str, Any]) -> None:
            replay.requests.append({"method": self.command, **asked})
            fault = replay.fault()
            if fault is not None:
                return self.fail(fault)
            return self.answer(200, json.dumps(replay.page(self.command, asked)).encode())

    return Handler


def _decoded(key: str, text: str) -> Any:
    if key == "collections" and not text.startswith("["):
        return text.split(",")
    return json.loads(text) if text[:1] in "[{" else text
