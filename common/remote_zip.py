"""A zip elsewhere, of which only the needed ranges are read: its table of contents first, then members.

The zip itself is understood by the standard library, on a file with holes: reading into a hole says which range is missing.
"""

from __future__ import annotations

import bisect
import io
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import IO, Protocol, TypeVar, cast

from common.errors import ThresherError
from common.threads import in_thread

TAIL_BYTES = 2**16 + 64
"""Fetched first: the end of a zip may be followed by a comment of 64 KB."""

_DIRECTORY_BYTES = 8 * 2**20
"""The largest hole filled while the table of contents is read; of a product it has 10 KB."""
_HEADER_BYTES = 30 + 512
"""Of a member, before its content: fixed part, name and extra fields."""
_GAP_BYTES = 128 * 2**10
"""Members closer than this are fetched in one range."""
_HOLES = 64
_Result = TypeVar("_Result")


class RemoteZipError(ThresherError):
    """The file elsewhere is no zip that can be read in parts."""


class RemoteFile(Protocol):
    """A file of known size that is read by ranges."""

    @property
    def where(self) -> str:
        """For messages."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    async def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop); exactly so many."""
        ...


async def read_directory(file: RemoteFile) -> tuple[SparseFile, list[zipfile.ZipInfo]]:
    """The members of a zip, and all of it that was read for them. Raises RemoteZipError."""
    sparse = SparseFile(file.size)
    start = max(0, file.size - TAIL_BYTES)
    sparse.fill(start, await file.read(start, file.size))
    return sparse, await filled(file, sparse, lambda whole: _members(whole, file.where))


async def filled(file: RemoteFile, sparse: SparseFile, work: Callable[[IO[bytes]], _Result]) -> _Result:
    """The result of `work` on the file, which is asked for what is missing until nothing is. Raises RemoteZipError."""
    for _ in range(_HOLES):
        attempt: Awaitable[_Result | _Hole] = in_thread(lambda _: _or_hole(work, sparse))
        result = await attempt
        if not isinstance(result, _Hole):
            return result
        if result.stop - result.start > _DIRECTORY_BYTES:
            raise RemoteZipError(f"{file.where} has a table of contents of {result.stop - result.start} bytes: that is no product")
        sparse.fill(result.start, await file.read(result.start, result.stop))
    raise RemoteZipError(f"{file.where} is scattered over too many ranges: that is no product")


def ranges_of(members: Sequence[zipfile.ZipInfo], size: int) -> list[tuple[int, int]]:
    """The byte ranges [start, stop) of a zip that hold the members, neighbours together."""
    ranges: list[tuple[int, int]] = []
    for member in sorted(members, key=lambda member: member.header_offset):
        start = member.header_offset
        stop = min(size, start + _HEADER_BYTES + len(member.orig_filename) + member.compress_size)
        if start >= stop:
            continue  # outside of the file: reading it says so
        if ranges and start - ranges[-1][1] <= _GAP_BYTES:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], stop))
        else:
            ranges.append((start, stop))
    return ranges


def _members(whole: IO[bytes], where: str) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(whole) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise RemoteZipError(f"{where} is no zip, or one cut short: {error}") from error


@dataclass(frozen=True)
class _Hole:
    start: int
    stop: int


class _HoleError(Exception):
    """Bytes were read that nobody fetched yet."""

    def __init__(self, hole: _Hole) -> None:
        self.hole = hole
        super().__init__(f"bytes {hole.start} to {hole.stop} are missing")


def _or_hole(work: Callable[[IO[bytes]], _Result], sparse: SparseFile) -> _Result | _Hole:
    sparse.seek(0)
    try:
        return work(cast("IO[bytes]", sparse))
    except _HoleError as error:
        return error.hole


class SparseFile(io.RawIOBase):
    """A file of which some ranges are known; reading any other raises an error that says which is missing."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._place = 0
        self._starts: list[int] = []
        self._blocks: list[bytes] = []

    def fill(self, start: int, content: bytes) -> None:
        """Make the range from `start` known."""
        at = bisect.bisect_right(self._starts, start)
        self._starts.insert(at, start)
        self._blocks.insert(at, content)

    def known(self) -> list[tuple[int, bytes]]:
        """Everything that was filled in."""
        return list(zip(self._starts, self._blocks, strict=True))

    def read(self, size: int | None = -1, /) -> bytes:
        start = self._place
        stop = self._size if size is None or size < 0 else min(self._size, start + size)
        if start >= stop:
            return b""
        self._place = start
        pieces: list[bytes] = []
        while start < stop:
            piece = self._known(start, stop)
            if not piece:
                raise _HoleError(_Hole(start, self._next_known(start, stop)))
            pieces.append(piece)
            start += len(piece)
        self._place = stop
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("a place before the beginning of the file")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _known(self, start: int, stop: int) -> bytes:
        """What is known from `start` on, at most to `stop`."""
        best = b""
        for at in range(bisect.bisect_right(self._starts, start) - 1, -1, -1):
            piece = self._blocks[at][start - self._starts[at] : stop - self._starts[at]]
            if len(piece) > len(best):
                best = piece
        return best

    def _next_known(self, start: int, stop: int) -> int:
        at = bisect.bisect_right(self._starts, start)
        return min(stop, self._starts[at]) if at < len(self._starts) else stop
