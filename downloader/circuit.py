"""A circuit breaker: a provider that keeps failing is left alone for a while, then one product tries whether it is well again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from common.errors import ErrorKind, TemporaryError, ThresherError


@dataclass
class Circuit:
    """Of one provider, for all that is fetched in this process."""

    name: str
    failures: int
    """In a row, after which it opens."""
    pause_s: float
    _failed: int = 0
    _opens_at: float | None = None
    """When the next try is due (monotonic); None: nothing is wrong."""
    _probing: bool = False
    _last: str = field(default="", repr=False)

    def enter(self) -> None:
        """Before a try: raises TemporaryError while there should be none. Every `enter` that returns is followed by `leave`."""
        if self._opens_at is None:
            return
        left = self._opens_at - time.monotonic()
        if left > 0 or self._probing:
            wait = max(left, 1.0)
            raise TemporaryError(f"left alone for {wait:.0f} s after {self._failed} failures in a row ({self._last})", retry_after_s=wait)
        self._probing = True

    def leave(self, error: BaseException | None, *, counts: bool = True) -> None:
        """After a try: temporary failures that count speak against the provider, other answers for it; a cancellation says nothing."""
        was_probe, self._probing = self._probing, False
        if isinstance(error, ThresherError) and error.kind is ErrorKind.TEMPORARY and counts:
            self._failed += 1
            self._last = str(error)[:200]
            if was_probe or self._failed >= self.failures:
                self._opens_at = time.monotonic() + self.pause_s
        elif error is None or isinstance(error, ThresherError):
            self._failed, self._opens_at = 0, None

    @property
    def is_open(self) -> bool:
        return self._opens_at is not None
