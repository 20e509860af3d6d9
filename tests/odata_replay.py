"""An OData catalogue on loopback that answers from recorded products, in the manner of the Copernicus Data Space.

It reads `$filter` with a parser of the OData grammar and evaluates it on every product, sorts, pages with `@odata.nextLink`, refuses what
the public service refuses (422 for a bad option, 400 for a filter it does not understand), and can be made to fail before it answers.
"""

from __future__ import annotations

import copy
import json
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import shapely
from odata_query import ast
from odata_query.exceptions import ODataException
from odata_query.grammar import ODataLexer, ODataParser
from shapely.geometry import Polygon, shape

from tests.replay_server import Fault, ReplayHandler, serving

Product = dict[str, Any]

_ORDERS = ("ContentDate/Start", "ContentDate/End", "PublicationDate", "ModificationDate")
_COLLECTIONS = {"S1": "SENTINEL-1", "S2": "SENTINEL-2"}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": lambda one, other: one == other,
    "NotEq": lambda one, other: one != other,
    "Lt": lambda one, other: one < other,
    "LtE": lambda one, other: one <= other,
    "Gt": lambda one, other: one > other,
    "GtE": lambda one, other: one >= other,
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {"contains": str.__contains__, "startswith": str.startswith, "endswith": str.endswith}


class RefusedError(Exception):
    """The service does not answer such a request; carries the status and the detail."""

    def __init__(self, status: int, detail: Any) -> None:
        self.status, self.detail = status, detail
        super().__init__(str(detail))


@dataclass
class ODataReplay:
    """The server's products and manners, and what it was asked."""

    products: list[Product]
    bursts: list[Product] = field(default_factory=list)
    """Entries of the entity set `Bursts`."""
    max_top: int = 1000
    max_skip: int = 10_000
    longest_url: int = 8000
    stable: bool = True
    """Whether products of one date keep their order from request to request."""
    faults: deque[Fault] = field(default_factory=deque)
    every: dict[int, Fault] = field(default_factory=dict)
    """Every so many requests fail in this way."""
    most_at_once: int = 1000
    """More requests at a time than these are refused with 429."""
    retry_after: str = "0"
    penalty_s: float = 0.0
    """For so long after its first request the server answers every one with 429."""
    next_of: Callable[[str], str] = str
    """Changes the link to the next page before it is sent."""
    seconds: float = 0.0
    """Every answer takes so long."""
    urls: list[str] = field(default_factory=list)
    """Every path and query that was asked for."""
    statuses: list[int] = field(default_factory=list)
    busiest: int = 0
    """The most requests at a time."""
    url: str = ""
    _busy: int = 0
    _begun: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator[ODataReplay]:
        with serving(_handler(self)) as root:
            self.url = f"{root}/odata/v1/"
            yield self

    @property
    def filters(self) -> list[str]:
        """Every `$filter` that was asked for, decoded."""
        return [parse_qs(urlsplit(url).query)["$filter"][0] for url in self.urls]

    @contextmanager
    def admitted(self, url: str) -> Iterator[Fault | None]:
        """Counts a request; what to answer it with at once, if it is not to have its page."""
        with self._lock:
            self.urls.append(url)
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            self._begun = self._begun or time.monotonic()
            crowded = self._busy > self.most_at_once or time.monotonic() < self._begun + self.penalty_s
            regular = next((fault for number, fault in self.every.items() if len(self.urls) % number == 0), None)
            fault = self.faults.popleft() if self.faults else regular
        try:
            yield Fault(429, {"Retry-After": self.retry_after}, b'{"detail": "Too Many Requests"}') if crowded else fault
        finally:
            with self._lock:
                self._busy -= 1

    def answer(self, url: str) -> dict[str, Any]:
        """The page at a path and query; raises RefusedError."""
        parts = urlsplit(url)
        sets = {"/odata/v1/Products": self.products, "/odata/v1/Bursts": self.bursts}
        if parts.path not in sets:
            raise RefusedError(404, "Not Found")
        if len(self.url) + len(url) > self.longest_url:
            raise RefusedError(414, "URI too long")
        options = {key: values[0] for key, values in parse_qs(parts.query, strict_parsing=True).items()}
        unknown = options.keys() - {"$filter", "$top", "$skip", "$orderby", "$expand", "$count"}
        if unknown:
            raise RefusedError(422, [{"loc": ["query", name], "msg": "Unknown option"} for name in sorted(unknown)])
        top, skip = int(options.get("$top", 20)), int(options.get("$skip", 0))
        for name, value, most in (("$top", top, self.max_top), ("$skip", skip, self.max_skip)):
            if value > most:
                raise RefusedError(422, [{"loc": ["query", name], "msg": f"Input should be less than or equal to {most}"}])
        condition = parsed(options["$filter"])
        found = [product for product in sets[parts.path] if holds(condition, product)]
        self._sort(found, options.get("$orderby", ""))
        page = [_expanded(product, options.get("$expand", "")) for product in found[skip : skip + top]]
        document: dict[str, Any] = {"@odata.context": "$metadata#Products(Attributes())", "value": page}
        if options.get("$count", "").lower() == "true":
            document["@odata.count"] = len(found)
        if skip + top < len(found) and skip + top <= self.max_skip:
            link = f"http://{urlsplit(self.url).netloc}{parts.path}?{urlencode(options | {'$skip': skip + top})}"
            document["@odata.nextLink"] = self.next_of(link)
        return document

    def _sort(self, found: list[Product], order: str) -> None:
        if not self.stable or not order:
            random.shuffle(found)
        if not order:
            return
        name, _, direction = order.partition(" ")
        if name not in _ORDERS or direction not in ("", "asc", "desc"):
            raise RefusedError(422, [{"loc": ["query", "$orderby"], "msg": f"Unknown order {order}"}])
        head, _, tail = name.partition("/")
        found.sort(key=lambda product: product[head][tail] if tail else product[head], reverse=direction == "desc")


def recorded(folder: Path) -> list[Product]:
    """All recorded products of the service: Sentinel-1 GRD, Sentinel-2 L1C, and auxiliary files."""
    files = [
        folder / "terradue_odata_s1grd_20.json",
        folder / "cop_dataspace_search.json",
        *sorted(folder.glob("aux_pages/odata_page_*.json")),
    ]
    return [product for file in files for product in json.loads(file.read_text())["value"]]


def variant(product: Product, number: int, name: tuple[str, str] = ("", ""), **attributes: Any) -> Product:
    """A product like a recorded one, with an Id of its own, a part of its name and some attributes exchanged (None: taken away)."""
    made = copy.deepcopy(product)
    made["Id"] = f"{number:08x}-0000-4000-8000-{int(product['Id'][-12:], 16):012x}"
    made["Name"] = product["Name"].replace(*name) if name[0] else product["Name"]
    made["Attributes"] = [
        entry | {"Value": attributes.get(entry["Name"], entry["Value"])}
        for entry in made["Attributes"]
        if attributes.get(entry["Name"], entry["Value"]) is not None
    ]
    return made


def parsed(text: str) -> ast._Node:
    """The syntax tree of a `$filter`; raises RefusedError."""
    try:
        return ODataParser().parse(ODataLexer().tokenize(text))
    except ODataException as error:
        raise RefusedError(400, f"Invalid filter: {error}") from None


def holds(node: ast._Node, product: Product) -> bool:
    """Whether a condition holds for a product; raises RefusedError for one that the service does not know."""
    match node:
        case ast.BoolOp(op=op, left=left, right=right):
            one, other = holds(left, product), holds(right, product)  # both: what is not understood must not hide
            return (one and other) if isinstance(op, ast.And) else (one or other)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not holds(operand, product)
        case ast.Compare(comparator=comparator, left=left, right=right):
            return _COMPARISONS[type(comparator).__name__](_property(_path(left), product), _value(right))
        case ast.Call(func=func, args=args):
            return _call(func, args, product)
        case ast.CollectionLambda(owner=owner, operator=ast.Any(), lambda_=lambda_):
            return any(_has(entry, lambda_.expression, lambda_.identifier.name) for entry in _of_type(_path(owner), product))
    raise RefusedError(400, f"Invalid filter: {node}")


def _call(func: ast.Identifier, args: list[Any], product: Product) -> bool:
    if func.namespace == ("OData", "CSC") and func.name == "Intersects":
        (area,) = args
        match = re.fullmatch(r"SRID=4326;(.*)", area.param.val)
        geometry = shapely.from_wkt(match[1]) if match else None
        if area.name.name != "area" or not isinstance(geometry, Polygon) or not geometry.is_valid:
            raise RefusedError(400, "Invalid area")
        footprint = product["GeoFootprint"]
        return footprint is not None and bool(shape(footprint).intersects(geometry))
    if not func.namespace and func.name in _TEXTS:
        name, text = args
        return _TEXTS[func.name](str(_property(_path(name), product)), _value(text))
    raise RefusedError(400, f"Unknown function {func.name}")


def _of_type(path: str, product: Product) -> list[dict[str, Any]]:
    head, _, kind = path.partition("/")
    if head != "Attributes" or kind not in ("StringAttribute", "IntegerAttribute", "DoubleAttribute", "DateTimeOffsetAttribute"):
        raise RefusedError(400, f"Unknown collection {path}")
    return [entry for entry in product.get("Attributes", []) if entry["@odata.type"] == f"#OData.CSC.{kind}"]


def _has(entry: dict[str, Any], node: ast._Node, variable: str) -> bool:
    match node:
        case ast.BoolOp(op=ast.And(), left=left, right=right):
            return _has(entry, left, variable) and _has(entry, right, variable)
        case ast.Compare(comparator=comparator, left=left, right=right):
            path = _path(left).split("/")
            kind = entry["@odata.type"].removeprefix("#OData.CSC.")
            if path == [variable, "Name"]:
                return _COMPARISONS[type(comparator).__name__](entry["Name"], _value(right))
            if path == [variable, kind, "Value"]:
                wanted = _value(right)
                given = entry["Value"]
                comparable = isinstance(given, str) == isinstance(wanted, str)
                return comparable and _COMPARISONS[type(comparator).__name__](given, wanted)
    raise RefusedError(400, f"Invalid filter: {node}")


def _path(node: ast._Node) -> str:
    match node:
        case ast.Identifier(name=name):
            return name
        case ast.Attribute(owner=owner, attr=attr):
            return f"{_path(owner)}/{attr}"
    raise RefusedError(400, f"Invalid filter: {node}")


def _property(path: str, product: Product) -> Any:
    match path:
        case "Name" | "Id":
            return product[path]
        case "ParentProductName" if path in product:
            return product[path]
        case "Collection/Name":
            return _COLLECTIONS[product["Name"][:2]]
        case "ContentDate/Start" | "ContentDate/End":
            return _moment(product["ContentDate"][path.removeprefix("ContentDate/")])
        case "PublicationDate":
            return _moment(product[path])
    raise RefusedError(400, f"Unknown property {path}")


def _value(node: ast._Node) -> Any:
    match node:
        case ast.String(val=text):
            return text
        case ast.Integer(val=text):
            return int(text)
        case ast.Float(val=text):
            return float(text)
        case ast.DateTime(val=text):
            return _moment(text)
    raise RefusedError(400, f"Invalid filter: {node}")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _expanded(product: Product, expand: str) -> Product:
    return {key: value for key, value in product.items() if key not in ("Attributes", "Assets", "Locations") or key in expand.split(",")}


def _handler(replay: ODataReplay) -> type[ReplayHandler]:
    class Handler(ReplayHandler):
        def reply(self) -> None:
            if self.command != "GET":
                return self.answer(405, b"{}")
            with replay.admitted(self.path) as fault:
                time.sleep(replay.seconds)
                if fault is not None:
                    return self.fail(fault)
                try:
                    return self.answer(200, json.dumps(replay.answer(self.path)).encode())
                except RefusedError as error:
                    return self.answer(error.status, json.dumps({"detail": error.detail}).encode())

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            replay.statuses.append(status)
            super().answer(status, body, headers)

    return Handler
