"""How fast bytes come, lately."""

from __future__ import annotations

import time
from collections import deque

_OVER_S = 10.0
_STEP_S = 0.1


class Throughput:
    """Of one transfer."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._bytes = 0

    def came(self, size: int) -> None:
        """`size` more bytes; less than none where a transfer has begun anew."""
        self._bytes += size
        now = time.monotonic()
        if now - self._steps[-1][0] < _STEP_S:
            return
        self._steps.append((now, self._bytes))
        while self._steps[0][0] < now - _OVER_S and len(self._steps) > 2:
            self._steps.popleft()

    @property
    def bytes_per_s(self) -> float:
        """Over the last seconds."""
        begun, before = self._steps[0]
        return max(0.0, self._bytes - before) / max(1e-3, time.monotonic() - begun)


class Received:
    """What is there of a download."""

    def __init__(self) -> None:
        self.bytes_done: int | None = None
        self.bytes_total: int | None = None
        self._throughput = Throughput()

    def update(self, done: int, total: int | None) -> None:
        self._throughput.came(done - (self.bytes_done or 0))
        self.bytes_done, self.bytes_total = done, total

    @property
    def bytes_per_s(self) -> float | None:
        return None if self.bytes_done is None else round(self._throughput.bytes_per_s)
