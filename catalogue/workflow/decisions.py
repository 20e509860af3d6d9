"""What the end of an attempt means for its scene or tile. Pure: the table of the design, in code."""

from __future__ import annotations

import random
from dataclasses import dataclass

from catalogue.workflow.status import Status
from common.errors import ErrorKind
from common.messages import Outcome

FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 600.0
MOST_TEMPORARY = 30
"""Temporary failures of one item (about four hours of them) before they count as errors: a person should look."""


@dataclass(frozen=True)
class Decision:
    """`status` PENDING means another attempt after `delay_s`."""

    status: Status
    retries_left: int
    message: str = ""
    delay_s: float = 0.0


def decide(
    outcome: Outcome,
    error_kind: ErrorKind | None,
    message: str,
    *,
    retries_left: int,
    is_retriable: bool,
    temporary_failures: int,
    retry_after_s: float | None = None,
) -> Decision:
    """The new state of an item that was PENDING.

    `temporary_failures`: of earlier attempts. Handing back and temporary failures do not use up the retries. `retry_after_s`: what the
    worker was told to wait; longer waits than the usual ones are kept to, shorter ones are not.
    """
    if outcome is Outcome.DONE:
        return Decision(Status.DONE, retries_left)
    if outcome is Outcome.RELEASED:
        return Decision(Status.PENDING, retries_left)
    if outcome is Outcome.FAILED:
        if error_kind is ErrorKind.FATAL:
            return Decision(Status.FAILED, retries_left, message)
        if error_kind is ErrorKind.TEMPORARY and temporary_failures < MOST_TEMPORARY:
            return Decision(Status.PENDING, retries_left, message, max(backoff(temporary_failures), retry_after_s or 0.0))
        if retries_left > 0:
            return Decision(Status.PENDING, retries_left - 1, message)
    return Decision(Status.RETRY if is_retriable else Status.FAILED, retries_left, message)


def backoff(failures: int) -> float:
    """Seconds to wait after so many earlier failures: exponential, with full jitter in the upper half."""
    longest: float = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
