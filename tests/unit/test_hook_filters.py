"""`$filter` as clients write it, and what becomes of it in SQL."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from catalogue.hook.odata.filters import Kind, Property, compile_filter
from common.errors import UserError

PROPERTIES = {
    "id": Property("i.id", Kind.KEY),
    "name": Property("i.name", Kind.TEXT),
    "priority": Property("i.priority", Kind.NUMBER),
    "date": Property("i.date", Kind.TIME),
}


@pytest.mark.parametrize(
    ("text", "sql", "parameters"),
    [
        ("id eq 13832", "(i.id = $2::bigint)", [13832]),
        ("Id eq '13832'", "(i.id = $2::bigint)", [13832]),
        ("ID eq abc", "(i.id = $2::bigint)", [-1]),
        ("(Name eq 'data-harvest')", "(i.name = $2::text)", ["data-harvest"]),
        ("(Name eq data-harvest)", "(i.name = $2::text)", ["data-harvest"]),
        ("Name eq 060", "(i.name = $2::text)", ["060"]),
        ("Name eq 'it''s eq data-harvest'", "(i.name = $2::text)", ["it's eq data-harvest"]),
        ("contains(Name,'060')", "(strpos(i.name, $2::text) > 0)", ["060"]),
        (r"endswith(Name,'0%6_\')", "(i.name LIKE $2::text)", [r"%0\%6\_\\"]),
        ("endswith(Name, tolower(Name))", "(right(i.name, length(lower(i.name))) = lower(i.name))", []),
        ("not(Priority gt 1)", "(NOT (i.priority > $2::bigint))", [1]),
        ("Priority in (1, 2.5)", "((i.priority = $2::bigint) OR (i.priority = $3::numeric))", [1, Decimal("2.5")]),
        ("Name eq null or Name ne null", "((i.name IS NULL) OR (i.name IS NOT NULL))", []),
        ("date gt 2024-01-31", "(i.date > $2::timestamptz)", [datetime(2024, 1, 31, tzinfo=UTC)]),
        ("date lt '2024-01-31T01:00:00+01:00'", "(i.date < $2::timestamptz)", [datetime(2024, 1, 31, tzinfo=UTC)]),
        ("contains(Id, '38')", "(strpos((i.id)::text, $2::text) > 0)", ["38"]),
    ],
    ids=lambda value: value if isinstance(value, str) and "$" not in value else "",
)
def test_what_clients_write(text: str, sql: str, parameters: list[object]) -> None:
    condition = compile_filter(text, PROPERTIES, first=2)
    assert (condition.sql, condition.parameters) == (sql, parameters)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("Name", "a condition is expected"),
        ("NoSuch eq 1", "no property 'NoSuch'"),
        ("Name eq 'x", "cannot be read"),
        ("Priority eq 'x'", "cannot be compared"),
        ("date eq 2024-02-31", "not a date"),
        ("Priority eq 1e99", "not a possible number"),
        ("Name lt null", "only be compared with eq and ne"),
        ("pg_sleep(5) eq 1", "cannot be read"),
        ("floor(Priority) eq 1", "not supported"),
        ("contains(Name) eq true", "cannot be read"),
        ("Name eq '\x00'", "NUL"),
        ("not (" * 100 + "1 eq 1" + ")" * 100, "too deeply"),
        ("Name eq '" + "x" * 5000 + "'", "longer than"),
    ],
    ids=lambda value: value[:20].replace("\x00", "NUL"),
)
def test_what_cannot_be_meant(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        compile_filter(text, PROPERTIES, first=2)
