"""The public status of a scene or a tile."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    NEW = "NEW"
    """Waits for something."""
    PENDING = "PENDING"
    """Ready, queued or running."""
    DONE = "DONE"
    RETRY = "RETRY"
    """Failed; may be retried by hand."""
    FAILED = "FAILED"


DOT_COLOURS = {Status.NEW: "gray", Status.PENDING: "blue", Status.DONE: "green", Status.RETRY: "orange", Status.FAILED: "red"}


def overall(counts: Mapping[Status, int]) -> Status:
    """The status of an AOI from those of its scenes and tiles, in the reference's order: what needs a hand, then what still moves."""
    order = (Status.RETRY, Status.PENDING, Status.NEW, Status.DONE, Status.FAILED)
    return next((status for status in order if counts.get(status)), Status.NEW)
