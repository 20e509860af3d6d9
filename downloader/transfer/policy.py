"""How patient and how greedy the engine is."""

from __future__ import annotations

import random
from dataclasses import dataclass

from common.config import ProviderSettings


@dataclass(frozen=True)
class Policy:
    """For the files of one provider."""

    connections: int = 4
    """At once, of one Transfer: ranges of a large file, or several files."""
    smallest_piece: int = 8 * 2**20
    """A range of fewer bytes is not worth a request of its own."""
    largest_piece: int = 64 * 2**20
    first_piece: int = 16 * 2**20
    """Asked for first where the size of the file is not known."""
    retries: int = 5
    """In place, in a row, without `progress_bytes` in between."""
    progress_bytes: int = 2**20
    backoff_s: float = 0.5
    """Before the first retry; doubled for each further one."""
    longest_backoff_s: float = 30.0
    patience_s: float = 120.0
    """Spent at most in waiting for a server that says it is busy, before the job is handed back to the queue."""
    timeout_s: float = 120.0
    """Without a byte arriving."""
    slow_s: float = 60.0
    """A connection that brings less than `min_rate` bytes a second over so long is cut and made anew."""
    min_rate: float = 1000.0
    reserve_bytes: int = 64 * 2**20
    """Left free on the disk."""

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row; spread, so that not all come back at once."""
        longest: float = min(self.longest_backoff_s, self.backoff_s * 2.0 ** min(max(0, failures - 1), 16))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - nobody is to be surprised


DEFAULT = Policy()


def policy_of(provider: ProviderSettings) -> Policy:
    """As a provider is configured."""
    return Policy(connections=provider.parallel, timeout_s=provider.timeout_s, retries=provider.retries, min_rate=provider.min_bytes_per_s)
