"""Which bytes are there, and which are fetched next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from downloader.transfer.ranges import Claim, Pieces, Ranges

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(SPANS)
def test_ranges_hold_the_bytes_that_were_added(spans: list[tuple[int, int]]) -> None:
    ranges = Ranges(spans)
    there = {byte for start, stop in spans for byte in range(start, stop)}
    assert {byte for start, stop in ranges.spans for byte in range(start, stop)} == there
    assert ranges.total == len(there)
    assert list(ranges.spans) == sorted(ranges.spans)
    assert all(before[1] < after[0] for before, after in zip(ranges.spans, ranges.spans[1:], strict=False))
    assert ranges.frontier == next(byte for byte in range(62) if byte not in there)
    assert ranges.stop == max(there, default=-1) + 1
    missing = {byte for start, stop in ranges.missing(60) for byte in range(start, stop)}
    assert missing == set(range(60)) - there


@given(SPANS, st.integers(1, 5), st.integers(1, 9), st.integers(0, 3))
def test_pieces_are_every_missing_byte_once(spans: list[tuple[int, int]], connections: int, smallest: int, again: int) -> None:
    missing = Ranges(spans).missing(60)
    pieces = Pieces(missing, connections=connections, smallest=smallest, largest=20)
    fetched: list[int] = []
    while (claim := pieces.take()) is not None:
        assert 0 < claim.stop - claim.start <= max(20, smallest)
        half = (claim.start + claim.stop) // 2 if again > 0 else claim.stop
        again -= 1
        fetched += range(claim.start, half)
        pieces.give_back(Claim(half, claim.stop))
    assert sorted(fetched) == [byte for start, stop in missing for byte in range(start, stop)]


def test_pieces_get_smaller_towards_the_end() -> None:
    pieces = Pieces([(0, 1000)], connections=4, smallest=10, largest=100)
    sizes = [claim.stop - claim.start for claim in iter(pieces.take, None)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 100
    assert sizes[-2] == 10
