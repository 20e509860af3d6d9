"""Order and place of a page: it begins after the last row of the page before, by the values that row is sorted by, never by counting."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from catalogue.stac.properties import Kind, Property, as_number, property_of
from catalogue.stac.statement import Statement
from common.errors import UserError
from common.validation import text_trouble

_MOST_KEYS = 4
_MOST_TOKEN = 2_000


@dataclass(frozen=True)
class SortKey:
    """A property to sort by."""

    by: Property
    descending: bool

    @property
    def sql(self) -> str:
        """Never null: what has no value comes last."""
        if self.by.is_column:
            return self.by.sql
        if self.by.kind is Kind.NUMBER:
            return f"coalesce({as_number(self.by)}, '{'-' if self.descending else ''}infinity'::double precision)"
        return f"coalesce({self.by.sql}, '{'' if self.descending else chr(0x10FFFF)}')"

    @property
    def type(self) -> str:
        return {Kind.TEXT: "text", Kind.NUMBER: "double precision", Kind.TIME: "timestamptz"}[self.by.kind]


@dataclass(frozen=True)
class Order:
    """The keys of an order; the number of the row ends it, in the direction of the last key."""

    keys: tuple[SortKey, ...]

    @property
    def columns(self) -> str:
        """The values of the keys, to be selected beside a row."""
        return ", ".join(f"{key.sql} AS key_{place}" for place, key in enumerate(self.keys))

    @property
    def sql(self) -> str:
        directions = [*((key.sql, key.descending) for key in self.keys), ("i.number", self._ends_descending)]
        return ", ".join(f"{sql} {'DESC' if descending else 'ASC'}" for sql, descending in directions)

    @property
    def outer(self) -> str:
        """The same order of rows `page` that have these columns."""
        directions = [
            *((f"page.key_{place}", key.descending) for place, key in enumerate(self.keys)),
            ("page.number", self._ends_descending),
        ]
        return ", ".join(f"{column} {'DESC' if descending else 'ASC'}" for column, descending in directions)

    @property
    def _ends_descending(self) -> bool:
        return self.keys[-1].descending

    def after(self, place: Place, statement: Statement) -> str:
        """The condition of the rows that follow `place`; raises UserError where it belongs to another order."""
        if len(place.values) != len(self.keys):
            raise UserError("the token belongs to a search in another order", field="token")
        columns = [*(key.sql for key in self.keys), "i.number"]
        values = [
            *(statement.bind(_typed(value, key), key.type) for key, value in zip(self.keys, place.values, strict=True)),
            statement.bind(place.number, "bigint"),
        ]
        descending = [*(key.descending for key in self.keys), self._ends_descending]
        if len(set(descending)) == 1:
            return f"({', '.join(columns)}) {'<' if descending[0] else '>'} ({', '.join(values)})"
        steps = []
        for last in range(len(columns)):
            same = [f"{column} = {value}" for column, value in zip(columns[:last], values[:last], strict=True)]
            steps.append(" AND ".join([*same, f"{columns[last]} {'<' if descending[last] else '>'} {values[last]}"]))
        return f"{columns[0]} {'<=' if descending[0] else '>='} {values[0]} AND (({') OR ('.join(steps)}))"


LATEST_FIRST = Order((SortKey(property_of("datetime", "sortby"), descending=True),))


def order_of(keys: Sequence[tuple[str, bool]]) -> Order:
    """The order of (property, descending) pairs; the latest first where there are none. Raises UserError."""
    if len(keys) > _MOST_KEYS:
        raise UserError(f"not more than {_MOST_KEYS} keys", field="sortby")
    return Order(tuple(SortKey(property_of(name, "sortby"), descending) for name, descending in keys)) if keys else LATEST_FIRST


@dataclass(frozen=True)
class Place:
    """Where a page ended."""

    values: tuple[str | float, ...]
    number: int

    def token(self) -> str:
        """Safe in a URL."""
        return base64.urlsafe_b64encode(json.dumps([*self.values, self.number]).encode()).decode().rstrip("=")


def place_of(row: Sequence[object], number: int) -> Place:
    """The place of a row, by the values of its keys."""
    values = [value.isoformat() if isinstance(value, datetime) else value for value in row]
    return Place(tuple(value if isinstance(value, float) else str(value) for value in values), number)


def place_in(token: str) -> Place:
    """The place a token tells; raises UserError."""
    try:
        decoded = json.loads(base64.b64decode((token[:_MOST_TOKEN] + "=" * (-len(token) % 4)).encode(), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        decoded = None
    if isinstance(decoded, list) and decoded:
        *values, number = decoded
        known = type(number) is int and 0 <= number < 2**63 and all(isinstance(value, str | float) for value in values)
        if known and not any(isinstance(value, str) and text_trouble(value) for value in values):
            return Place(tuple(values), number)
    raise UserError("it is none that a page of this search gave", field="token")


def _typed(value: str | float, key: SortKey) -> object:
    try:
        match key.by.kind:
            case Kind.TIME:
                moment = datetime.fromisoformat(str(value))
                return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            case Kind.NUMBER:
                return float(value)
            case _:
                return str(value)
    except ValueError:
        raise UserError("the token belongs to a search in another order", field="token") from None
