"""CQL2, text and JSON, as conditions in SQL: Basic CQL2, LIKE, BETWEEN, IN, and S_INTERSECTS with the geometry of the item.

Standard: OGC 21-065r2, Common Query Language (CQL2). Text is parsed by the library `cql2`; the JSON it gives is read here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import cql2
from pydantic import JsonValue

from catalogue.stac.properties import PROPERTIES, Kind, Property, as_number, property_of, tag_of
from catalogue.stac.statement import Statement
from common.errors import UserError
from common.validation import text_trouble

_FIELD = "filter"
_MOST_TEXT = 8_000
_DEEPEST = 24
_MOST_NODES = 500
_COMPARISONS = {"=": "=", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@dataclass
class Condition:
    """A filter in SQL, and the geometry that is to be met besides, exactly."""

    sql: str
    geometries: list[JsonValue] = field(default_factory=list)


def parse_text(text: str) -> JsonValue:
    """CQL2 text as CQL2 JSON; raises UserError."""
    if len(text) > _MOST_TEXT:
        raise UserError(f"longer than {_MOST_TEXT} characters", field=_FIELD)
    deepest = depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    if deepest > _DEEPEST or text.upper().count("NOT") > _DEEPEST:
        raise UserError("too deeply nested", field=_FIELD)
    try:
        document: JsonValue = cql2.parse_text(text).to_json()
    except (cql2.ParseError, cql2.ValidationError, ValueError) as error:
        raise UserError(f"this is not CQL2: {' '.join(str(error).split())[:300]}", field=_FIELD) from None
    return document


def condition_of(document: JsonValue, statement: Statement) -> Condition:
    """The condition a CQL2 JSON document means, its values bound in `statement`. Raises UserError."""
    reader = _Reader(statement)
    return Condition(reader.read(document, top=True, depth=0), reader.geometries)


@dataclass
class _Reader:
    statement: Statement
    geometries: list[JsonValue] = field(default_factory=list)
    nodes: int = 0

    def read(self, node: JsonValue, *, top: bool, depth: int) -> str:
        """The SQL of an expression that is true or false; `top` where everything around it is AND."""
        self.nodes += 1
        if depth > _DEEPEST or self.nodes > _MOST_NODES:
            raise _wrong("it is too large or too deeply nested")
        if isinstance(node, bool):
            return "true" if node else "false"
        if not isinstance(node, dict) or not isinstance(node.get("op"), str) or not isinstance(node.get("args"), list):
            raise _wrong(f"expected {{op, args}}, not {_shown(node)}")
        operation, arguments = str(node["op"]).lower(), node["args"]
        assert isinstance(arguments, list)
        if operation in ("and", "or"):
            if len(arguments) < 2:
                raise _wrong(f"{operation} needs two arguments or more")
            parts = [self.read(part, top=top and operation == "and", depth=depth + 1) for part in arguments]
            return f"({f' {operation.upper()} '.join(parts)})"
        if operation == "not":
            (inner,) = _exactly(1, arguments, operation)
            return f"(NOT {self.read(inner, top=False, depth=depth + 1)})"
        if operation == "s_intersects":
            return self._intersects(arguments, top=top)
        return self._comparison(operation, arguments)

    def _comparison(self, operation: str, arguments: list[JsonValue]) -> str:
        if operation in _COMPARISONS:
            return self._compare(operation, *_exactly(2, arguments, operation))
        readers: dict[str, tuple[int, Callable[..., str]]] = {
            "isnull": (1, self._is_null),
            "like": (2, self._like),
            "between": (3, self._between),
            "in": (2, self._in),
        }
        if operation not in readers:
            known = ", ".join(["and", "or", "not", *_COMPARISONS, *readers, "s_intersects"])
            raise _wrong(f"the operator '{operation[:40]}' is not known here; known are {known}")
        count, read = readers[operation]
        return read(*_exactly(count, arguments, operation))

    def _compare(self, operation: str, left: JsonValue, right: JsonValue) -> str:
        if not _is_property(left) and _is_property(right):
            left, right = right, left
            operation = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(operation, operation)
        found = _property(left)
        if operation == "=" and tag_of(found) and isinstance(right, str):
            # The index record_tags serves this form.
            return f"r.tags @> {self.statement.bind({tag_of(found): _text(right)}, 'jsonb')}"
        return f"{_side(found, right)} {_COMPARISONS[operation]} {self._literal(found, right)}"

    def _is_null(self, argument: JsonValue) -> str:
        found = _property(argument)
        return "false" if found.is_column else f"{found.sql} IS NULL"

    def _like(self, left: JsonValue, pattern: JsonValue) -> str:
        found = _property(left)
        if found.kind is not Kind.TEXT or not isinstance(pattern, str):
            raise _wrong("like compares a text with a pattern")
        if len(pattern) - len(pattern.rstrip("\\")) & 1:
            raise _wrong("a pattern cannot end with a single backslash")
        return f"{found.sql} LIKE {self.statement.bind(_text(pattern), 'text')}"

    def _between(self, left: JsonValue, low: JsonValue, high: JsonValue) -> str:
        found = _property(left)
        return f"{_side(found, low)} BETWEEN {self._literal(found, low)} AND {self._literal(found, high)}"

    def _in(self, left: JsonValue, values: JsonValue) -> str:
        found = _property(left)
        if not isinstance(values, list) or not values or len(values) > _MOST_NODES:
            raise _wrong(f"in needs a list of 1 to {_MOST_NODES} values")
        return f"{_side(found, values[0])} IN ({', '.join(self._literal(found, value) for value in values)})"

    def _intersects(self, arguments: list[JsonValue], *, top: bool) -> str:
        left, right = _exactly(2, arguments, "s_intersects")
        if _is_property(right):
            left, right = right, left
        if not isinstance(left, dict) or left.get("property") != "geometry":
            raise _wrong("s_intersects compares the property geometry with a geometry")
        if not top:
            raise _wrong("s_intersects can stand beside others with AND only, not within OR or NOT")
        self.geometries.append(right)
        return "true"

    def _literal(self, found: Property, value: JsonValue) -> str:
        if isinstance(value, dict) and ("timestamp" in value or "date" in value):
            value = value.get("timestamp", value.get("date"))
        match found.kind:
            case Kind.TIME if isinstance(value, str):
                return self.statement.bind(_moment(value), "timestamptz")
            case Kind.NUMBER if isinstance(value, int | float) and not isinstance(value, bool):
                return self.statement.bind(float(value), "double precision")
            case Kind.TEXT if isinstance(value, str):
                return self.statement.bind(_text(value), "text")
            case Kind.TEXT if isinstance(value, int | float) and not isinstance(value, bool) and tag_of(found):
                return self.statement.bind(float(value), "double precision")
        raise _wrong(f"{found.name} is a {found.kind}, and cannot be compared with {_shown(value)}")


def _side(found: Property, value: JsonValue) -> str:
    """The SQL of the property, as it compares with a value of this type."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return as_number(found) if tag_of(found) and is_number else found.sql


def _is_property(node: JsonValue) -> bool:
    return isinstance(node, dict) and isinstance(node.get("property"), str)


def _property(node: JsonValue) -> Property:
    if not isinstance(node, dict) or not isinstance(node.get("property"), str):
        raise _wrong(f"expected a property, not {_shown(node)} (known are {', '.join(PROPERTIES)} and tags)")
    return property_of(str(node["property"]), _FIELD)


def _exactly(count: int, arguments: list[JsonValue], operation: str) -> list[JsonValue]:
    if operation == "between" and len(arguments) == 2 and isinstance(arguments[1], list):
        arguments = [arguments[0], *arguments[1]]
    if len(arguments) != count:
        raise _wrong(f"{operation} needs {count} argument{'s' if count > 1 else ''}, not {len(arguments)}")
    return arguments


def _text(value: str) -> str:
    if (trouble := text_trouble(value)) is not None:
        raise _wrong(trouble)
    return value


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text) if "T" in text else datetime.combine(date.fromisoformat(text), datetime.min.time())
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        raise _wrong(f"'{text[:40]}' is not a time (2024-05-14T10:00:00Z)") from None


def _shown(node: Any) -> str:
    return json.dumps(node)[:60]


def _wrong(sentence: str) -> UserError:
    return UserError(sentence, field=_FIELD)
