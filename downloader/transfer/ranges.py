"""Which bytes of a file are there, and who fetches which of the others next."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from downloader.transfer.source import Span


class Ranges:
    """Disjoint spans of a file, in order."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans: list[Span] = []
        for start, stop in spans:
            self.add(start, stop)

    @property
    def spans(self) -> Sequence[Span]:
        return tuple(self._spans)

    @property
    def total(self) -> int:
        return sum(stop - start for start, stop in self._spans)

    @property
    def frontier(self) -> int:
        """All before this byte is there."""
        return self._spans[0][1] if self._spans and self._spans[0][0] == 0 else 0

    @property
    def stop(self) -> int:
        return self._spans[-1][1] if self._spans else 0

    def add(self, start: int, stop: int) -> None:
        if start >= stop:
            return
        first = bisect_left(self._spans, start, key=lambda span: span[1])
        last = first
        while last < len(self._spans) and self._spans[last][0] <= stop:
            start, stop = min(start, self._spans[last][0]), max(stop, self._spans[last][1])
            last += 1
        self._spans[first:last] = [(start, stop)]

    def missing(self, size: int) -> list[Span]:
        gaps: list[Span] = []
        begin = 0
        for start, stop in self._spans:
            if begin < start:
                gaps.append((begin, start))
            begin = stop
        if begin < size:
            gaps.append((begin, size))
        return gaps


@dataclass
class Claim:
    """A span somebody fetches; `start` moves on with what is written."""

    start: int
    stop: int


class Pieces:
    """The spans nobody fetches yet, handed out from the front: so a hash can follow.

    Pieces get smaller towards the end, so that all connections end together.
    """

    def __init__(self, spans: Iterable[Span], *, connections: int, smallest: int, largest: int) -> None:
        self._free = sorted(spans)
        self._connections = connections
        self._smallest = smallest
        self._largest = largest

    def take(self) -> Claim | None:
        if not self._free:
            return None
        left = sum(stop - start for start, stop in self._free)
        length = piece_size(left, connections=self._connections, smallest=self._smallest, largest=self._largest)
        start, stop = self._free.pop(0)
        if stop - start > length:
            self._free.insert(0, (start + length, stop))
            stop = start + length
        return Claim(start, stop)

    def give_back(self, claim: Claim) -> None:
        if claim.start < claim.stop:
            self._free.append((claim.start, claim.stop))
            self._free.sort()


def piece_size(left: int, *, connections: int, smallest: int, largest: int) -> int:
    """Of the next piece, where `left` bytes are free."""
    if connections == 1:
        return largest
    return min(largest, max(smallest, left // (2 * connections)))
