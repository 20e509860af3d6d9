"""`$filter` as a condition in SQL. Parsed by odata-query; columns come from a table of properties, values travel as parameters.

Comparisons of dates, numbers and texts, `and`, `or`, `not`, `in`, and the functions of `_FUNCTIONS`. Properties are named in any case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

from odata_query import ast
from odata_query.exceptions import ODataException
from odata_query.grammar import ODataLexer, ODataParser

from catalogue.hook.odata.spelling import in_odata
from common.errors import UserError
from common.validation import text_trouble

_MOST_CHARACTERS = 4000
_MOST_LEVELS = 60
_MOST_DIGITS = 30
_FIELD = "$filter"


class Kind(StrEnum):
    """Of a property, a literal or the value of a function."""

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    BOOLEAN = "boolean"
    NULL = "null"
    KEY = "key"
    """A number that some clients quote."""


@dataclass(frozen=True)
class Property:
    """A property by which one can filter and sort: its column, or expression, in SQL."""

    sql: str
    kind: Kind


Properties = Mapping[str, Property]
"""By name, in lower case."""


@dataclass
class Condition:
    """SQL of a condition, and its parameters from number `first` on."""

    sql: str
    parameters: list[object] = field(default_factory=list)


def compile_filter(text: str, properties: Properties, *, first: int) -> Condition:
    """Raises UserError with a sentence about what is wrong or not supported."""
    if len(text) > _MOST_CHARACTERS:
        raise UserError(f"longer than {_MOST_CHARACTERS} characters", field=_FIELD)
    compiler = _Compiler(properties, first)
    value = compiler.value(_parse(in_odata(text, properties)), 0)
    return Condition(compiler.truth(value), compiler.parameters)


def _parse(text: str) -> ast._Node:
    try:
        tree = ODataParser().parse(ODataLexer().tokenize(text))
    except ODataException as error:
        raise UserError(f"cannot be read: {str(error)[:200]}", field=_FIELD) from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"cannot be read ({type(error).__name__})", field=_FIELD) from None
    if not isinstance(tree, ast._Node):
        raise UserError("is empty", field=_FIELD)
    return tree


@dataclass(frozen=True)
class _Value:
    kind: Kind
    sql: str = ""
    literal: str | datetime | None = None
    """Of a text, a number or a time that was written in the filter: its value, which becomes a parameter where it is used."""


class _Compiler:
    def __init__(self, properties: Properties, first: int) -> None:
        self._properties = properties
        self._first = first
        self.parameters: list[object] = []

    def value(self, node: ast._Node, level: int) -> _Value:
        """What a node stands for; raises UserError."""
        if level > _MOST_LEVELS:
            raise UserError("is nested too deeply", field=_FIELD)
        match node:
            case ast.Identifier():
                return self._property(node)
            case ast.BoolOp():
                word = "AND" if isinstance(node.op, ast.And) else "OR"
                conditions = [self.truth(self.value(side, level + 1)) for side in (node.left, node.right)]
                return _Value(Kind.BOOLEAN, f"({f' {word} '.join(conditions)})")
            case ast.UnaryOp() if isinstance(node.op, ast.Not):
                return _Value(Kind.BOOLEAN, f"(NOT {self.truth(self.value(node.operand, level + 1))})")
            case ast.UnaryOp() if isinstance(node.operand, ast.Integer | ast.Float):
                return _literal(type(node.operand)(f"-{node.operand.val}"))
            case ast.Compare() if isinstance(node.comparator, ast.In):
                return self._among(node, level)
            case ast.Compare():
                left, right = self.value(node.left, level + 1), self.value(node.right, level + 1)
                return _Value(Kind.BOOLEAN, self._compared(left, _OPERATORS[type(node.comparator)], right))
            case ast.Call():
                return self._call(node, level)
            case ast._Literal():
                return _literal(node)
        raise UserError(f"'{type(node).__name__}' is not supported", field=_FIELD)

    def truth(self, value: _Value) -> str:
        if value.kind is not Kind.BOOLEAN:
            raise UserError("a condition is expected, such as Name eq 'lai'", field=_FIELD)
        return value.sql

    def _sql(self, value: _Value) -> str:
        """In SQL; a literal becomes a parameter."""
        if value.literal is None:
            return value.sql
        if isinstance(value.literal, str) and (trouble := text_trouble(value.literal)):
            raise UserError(trouble, field=_FIELD)
        bound, type_ = _number(value.literal) if value.kind is Kind.NUMBER else (value.literal, _TYPES[value.kind])
        self.parameters.append(bound)
        return f"${self._first + len(self.parameters) - 1}::{type_}"

    def _property(self, node: ast.Identifier) -> _Value:
        name = _full_name(node)
        found = self._properties.get(name.lower())
        if found is None:
            raise UserError(f"there is no property '{name[:80]}'", field=_FIELD)
        return _Value(found.kind, found.sql)

    def _compared(self, left: _Value, operator: str, right: _Value) -> str:
        if Kind.NULL in (left.kind, right.kind):
            if operator not in ("=", "<>"):
                raise UserError("null can only be compared with eq and ne", field=_FIELD)
            other = left if right.kind is Kind.NULL else right
            return f"({self._sql(other)} IS {'' if operator == '=' else 'NOT '}NULL)"
        left, right = _matched(left, right), _matched(right, left)
        if left.kind is not right.kind:
            raise UserError(f"a {left.kind} cannot be compared with a {right.kind}", field=_FIELD)
        return f"({self._sql(left)} {operator} {self._sql(right)})"

    def _among(self, node: ast.Compare, level: int) -> _Value:
        if not isinstance(node.right, ast.List):
            raise UserError("'in' needs a list: Name in ('lai', 'maja')", field=_FIELD)
        left = self.value(node.left, level + 1)
        choices = [self._compared(left, "=", self.value(each, level + 1)) for each in node.right.val]
        return _Value(Kind.BOOLEAN, f"({' OR '.join(choices)})")

    def _call(self, node: ast.Call, level: int) -> _Value:
        name = _full_name(node.func).lower()
        function = _FUNCTIONS.get(name)
        if function is None:
            raise UserError(f"function '{name[:80]}' is not supported; these are: {', '.join(_FUNCTIONS)}", field=_FIELD)
        arguments = [self.value(each, level + 1) for each in node.args]
        if len(arguments) != len(function.takes):
            raise UserError(f"{name} takes {len(function.takes)} arguments", field=_FIELD)
        if name == "endswith" and arguments[1].kind is Kind.TEXT and isinstance(arguments[1].literal, str):
            # A pattern is compared much faster than the end of a text is cut off.
            arguments[1] = _Value(Kind.TEXT, literal="%" + re.sub(r"([\\\\%_])", r"\\\1", arguments[1].literal))
            function = _ENDS_LIKE
        given = [_argument(name, number, *each) for number, each in enumerate(zip(arguments, function.takes, strict=True), start=1)]
        return _Value(function.gives, function.sql(*(self._sql(each) for each in given)))


def _literal(node: ast._Literal) -> _Value:
    try:
        match node:
            case ast.Null():
                return _Value(Kind.NULL, "NULL")
            case ast.Boolean():
                return _Value(Kind.BOOLEAN, "TRUE" if node.py_val else "FALSE")
            case ast.Integer() | ast.Float():
                return _Value(Kind.NUMBER, literal=node.val)
            case ast.String() | ast.GUID():
                return _Value(Kind.TEXT, literal=node.val)
            case ast.DateTime() | ast.Date():
                return _Value(Kind.TIME, literal=_time_of(node.val))
    except (ValueError, OverflowError):
        pass
    raise UserError(f"a literal of type {type(node).__name__} is not supported", field=_FIELD)


def _matched(value: _Value, other: _Value) -> _Value:
    """A value in the kind of what it is compared with, where clients write one for the other."""
    if value.kind is Kind.KEY:
        return _Value(Kind.NUMBER, value.sql)
    if isinstance(value.literal, str):
        if value.kind is Kind.NUMBER and other.kind is Kind.TEXT:
            return _Value(Kind.TEXT, literal=value.literal)
        if value.kind is Kind.TEXT and other.kind is Kind.KEY:
            # A text that is no number is the key of nothing.
            return _Value(Kind.NUMBER, literal=value.literal if _is_key(value.literal) else "-1")
        if value.kind is Kind.TEXT and other.kind is Kind.TIME:
            return _Value(Kind.TIME, literal=_time_of(value.literal))
    return value


def _argument(function: str, number: int, value: _Value, kind: Kind) -> _Value:
    if kind is Kind.TEXT and value.kind is Kind.KEY:
        return _Value(Kind.TEXT, f"({value.sql})::text")
    if kind is Kind.TEXT and value.kind is Kind.NUMBER and value.literal is not None:
        return _Value(Kind.TEXT, literal=value.literal)
    if value.kind is not kind:
        raise UserError(f"argument {number} of {function} must be a {kind}", field=_FIELD)
    return value


@dataclass(frozen=True)
class _Function:
    takes: tuple[Kind, ...]
    gives: Kind
    sql: Callable[..., str]


def _part(name: str) -> _Function:
    return _Function((Kind.TIME,), Kind.NUMBER, lambda value: f"extract({name} FROM {value} AT TIME ZONE 'UTC')")


_FUNCTIONS: dict[str, _Function] = {
    "contains": _Function((Kind.TEXT, Kind.TEXT), Kind.BOOLEAN, lambda text, part: f"(strpos({text}, {part}) > 0)"),
    "startswith": _Function((Kind.TEXT, Kind.TEXT), Kind.BOOLEAN, lambda text, part: f"starts_with({text}, {part})"),
    "endswith": _Function((Kind.TEXT, Kind.TEXT), Kind.BOOLEAN, lambda text, part: f"(right({text}, length({part})) = {part})"),
    "indexof": _Function((Kind.TEXT, Kind.TEXT), Kind.NUMBER, lambda text, part: f"(strpos({text}, {part}) - 1)::numeric"),
    "length": _Function((Kind.TEXT,), Kind.NUMBER, lambda text: f"length({text})::numeric"),
    "tolower": _Function((Kind.TEXT,), Kind.TEXT, lambda text: f"lower({text})"),
    "toupper": _Function((Kind.TEXT,), Kind.TEXT, lambda text: f"upper({text})"),
    "trim": _Function((Kind.TEXT,), Kind.TEXT, lambda text: f"btrim({text})"),
    "concat": _Function((Kind.TEXT, Kind.TEXT), Kind.TEXT, lambda left, right: f"({left} || {right})"),
    **{name: _part(name) for name in ("year", "month", "day", "hour", "minute", "second")},
    "now": _Function((), Kind.TIME, lambda: "now()"),
}

_ENDS_LIKE = _Function((Kind.TEXT, Kind.TEXT), Kind.BOOLEAN, lambda text, pattern: f"({text} LIKE {pattern})")

_OPERATORS = {ast.Eq: "=", ast.NotEq: "<>", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}

_TYPES = {Kind.TEXT: "text", Kind.TIME: "timestamptz"}
_MOST_BIGINT = 2**63 - 1


def _full_name(node: ast.Identifier) -> str:
    return ".".join((*node.namespace, node.name))


def _number(text: object) -> tuple[int | Decimal, str]:
    """A number and its type in SQL: whole ones as those of columns, so that an index can find them."""
    number = Decimal(str(text))
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
        raise UserError(f"'{str(text)[:80]}' is not a possible number", field=_FIELD)
    if number == number.to_integral_value() and abs(number) <= _MOST_BIGINT:
        return int(number), "bigint"
    return number, "numeric"


def _is_key(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _time_of(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserError(f"'{text[:80]}' is not a date", field=_FIELD) from None
