"""Moments in time: always aware, always UTC, written with a `Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_FIRST_YEAR = 1900
_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""A moment later and the database takes it for infinity."""


def to_utc(moment: datetime) -> datetime:
    """`moment` in UTC; one without a zone is taken as UTC, as acquisition times are."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def rfc3339(moment: datetime) -> str:
    """RFC 3339 with `Z` and only the digits of the second that are needed, as the reference writes it."""
    text = to_utc(moment).replace(tzinfo=None).isoformat(timespec="microseconds").rstrip("0").rstrip(".")
    return text + "Z"


def _written(value: object) -> object:
    """A number is no date, although pydantic would take it for seconds since 1970."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise ValueError("must be a date and time such as 2024-05-31T00:00:00Z")


def _in_range(moment: datetime) -> datetime:
    try:
        utc = to_utc(moment)
    except OverflowError:
        utc = None
    if utc is None or utc.year < _FIRST_YEAR or utc > _END:
        raise ValueError(f"must lie within the years {_FIRST_YEAR} to 9999")
    return utc


UtcDatetime = Annotated[
    datetime, BeforeValidator(_written), AfterValidator(_in_range), PlainSerializer(rfc3339, return_type=str, when_used="json")
]
"""A datetime of a model: read from RFC 3339 (a date alone is its midnight), kept in UTC, written with `Z`."""
