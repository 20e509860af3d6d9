"""How fast bytes come: connections that are as good as dead, and progress that is told now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from common.errors import TemporaryError
from common.throughput import Throughput
from downloader.transfer.policy import Policy

log = logging.getLogger(__name__)

BytesCallback = Callable[[int, int | None], None]
"""(bytes there, bytes expected or None): a few times a second, and at the end. Less than before where a file is begun anew."""

_TOLD_EVERY_S = 0.1
_LOGGED_EVERY_S = 30.0


class Pace:
    """Of one connection."""

    def __init__(self, policy: Policy, where: str) -> None:
        self._policy = policy
        self._where = where
        self._since = time.monotonic()
        self._bytes = 0

    def came(self, size: int) -> None:
        """Raises TemporaryError for a connection that trickles."""
        self._bytes += size
        elapsed = time.monotonic() - self._since
        if elapsed < self._policy.slow_s:
            return
        if self._bytes < self._policy.min_rate * elapsed:
            raise TemporaryError(f"{self._where}: only {self._bytes} bytes came in {elapsed:.0f} s: too slow")
        self._since, self._bytes = time.monotonic(), 0


class Meter:
    """Of one file: how much came, and how fast lately."""

    def __init__(self, progress: BytesCallback, where: str) -> None:
        self._where = where
        self.received = 0
        """Bytes written, those that were written twice counted twice."""
        self._progress = progress
        self._begun = time.monotonic()
        self._told = 0.0
        self._logged = self._begun
        self._throughput = Throughput()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    @property
    def rate(self) -> float:
        """Bytes a second over the last seconds."""
        return self._throughput.bytes_per_s

    def came(self, size: int, done: int, total: int | None) -> None:
        """`size` more bytes: `done` of `total` are there."""
        self.received += size
        self._throughput.came(size)
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY_S:
            self.tell(done, total)
        if now - self._logged >= _LOGGED_EVERY_S:
            self._logged = now
            log.info("%s: %d of %s bytes, %.1f MB/s", self._where, done, "?" if total is None else total, self.rate / 1e6)

    def tell(self, done: int, total: int | None) -> None:
        self._told = time.monotonic()
        self._progress(done, total)
