"""Moments in time: always aware, always UTC, written with a `Z`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer


def to_utc(moment: datetime) -> datetime:
    """`moment` in UTC; one without a zone is taken as UTC, as acquisition times are."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def rfc3339(moment: datetime) -> str:
    """RFC 3339 with `Z` and only the digits of the second that are needed, as the reference writes it."""
    text = to_utc(moment).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return text + "Z"


UtcDatetime = Annotated[datetime, AfterValidator(to_utc), PlainSerializer(rfc3339, return_type=str, when_used="json")]
"""A datetime of a model: read from RFC 3339, kept in UTC, written with `Z`."""
