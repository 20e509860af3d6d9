"""Fetching one file into its partial file: over several connections where the server answers ranges, again and again where it fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from common.errors import TemporaryError, ThresherError
from common.threads import in_thread
from common.urls import shown_url
from downloader.tasks import gather_all
from downloader.transfer.access import Access
from downloader.transfer.pace import Meter
from downloader.transfer.partial import Partial
from downloader.transfer.policy import Policy
from downloader.transfer.ranges import Claim, Pieces, piece_size
from downloader.transfer.source import Answer, BusyError, ChangedError, Line, RangesUnusableError, RefusedError, Source, Version
from downloader.transfer.writing import WriteError, Writer

log = logging.getLogger(__name__)

_BLOCK = 2**18
_FLUSH_S = 1.0
_MAX_CHANGES = 2
"""A file that changes more often is not read in ranges; after as many further ones it is left to a later try."""
_MAX_REFUSALS = 3

Begun = Callable[[Answer], Awaitable[None]]
"""Told of the first answer, and again of that after a new beginning: raises where it cannot be the file that is wanted."""


class Pull:
    """The work on one file until all its bytes are there. What arrived is in the partial file, whatever happens."""

    def __init__(self, source: Source, partial: Partial, access: Access, policy: Policy, slots: asyncio.Semaphore, meter: Meter) -> None:
        """`slots` are the connections that all files of a provider share."""
        self._source = source
        self._partial = partial
        self._access = access
        self._policy = policy
        self._slots = slots
        self._meter = meter
        self._begun: Begun = _nothing
        self._is_begun = False
        self._limit: int | None = None
        self._ranged = True
        self._trouble = _Trouble(policy, access)
        self._writer = Writer(partial, self._written)

    async def run(self, begun: Begun, *, size: int | None, ranged: bool = True) -> None:
        """Fetch what is missing. `size` is that of the whole file, where it is known; not `ranged`: from zero, in one go."""
        self._begun, self._is_begun, self._limit, self._ranged = begun, False, size, ranged
        changes = 0
        while True:
            try:
                await self._fetch()
                return
            except WriteError as error:
                raise error.error from error
            except ChangedError:
                changes += 1
                log.info("%s changed: beginning anew", shown_url(self._source.url))
                if changes > 2 * _MAX_CHANGES:
                    raise TemporaryError(f"{shown_url(self._source.url)} changes again and again while it is read") from None
                self._ranged = self._ranged and changes <= _MAX_CHANGES
            except RangesUnusableError:
                log.info("%s cannot be read in ranges: reading it in one go", shown_url(self._source.url))
                self._ranged = False
            await self._reset()

    async def _fetch(self) -> None:
        try:
            await (_Ranges(self).run() if self._ranged else self._fetch_whole())
        finally:
            await self._writer.flush()
        if not self._partial.is_complete:
            raise TemporaryError(f"{shown_url(self._source.url)}: not all of it came")

    async def _fetch_whole(self) -> None:
        self._trouble.forgiving = False  # what comes is lost with the next failure: it is no progress
        while True:
            try:
                async with self._slots, self._source.line() as line, line.open(None, None) as answer:
                    await self.receive_whole(answer)
                    return
            except (TemporaryError, RefusedError) as error:
                await self._trouble.wait_out(error)
            await self._reset()

    async def _reset(self) -> None:
        self._is_begun = False
        await in_thread(lambda _: self._partial.reset())

    async def check(self, answer: Answer) -> None:
        """The answer is of the version that the partial file holds, which is begun with the first."""
        known = self._partial.version
        if known.differs(answer.version):
            raise ChangedError
        if not self._is_begun:
            await self._begun(answer)
            self._is_begun = True
        if known == Version():
            await in_thread(lambda _: self._partial.begin(answer.version))

    async def receive_whole(self, answer: Answer) -> None:
        if answer.is_range:
            raise ThresherError(f"{shown_url(self._source.url)} answers HTTP 206 though the whole file was asked for")
        await self.check(answer)
        claim = Claim(0, answer.stop if answer.stop is not None else 2**63 - 1)
        await self.receive(answer, claim)
        if answer.stop is None:
            await self._writer.flush()
            self._partial.end()

    async def receive(self, answer: Answer, claim: Claim) -> None:
        """Write what comes; the claim moves on with it. Raises TemporaryError where less comes than was announced."""
        pending: list[bytes] = []
        waiting, flushed = 0, time.monotonic()
        try:
            async with aclosing(answer.chunks) as chunks:
                async for chunk in chunks:
                    pending.append(chunk)
                    waiting += len(chunk)
                    if claim.start + waiting > claim.stop:
                        raise RangesUnusableError
                    if waiting >= _BLOCK or time.monotonic() - flushed > _FLUSH_S:
                        blocks, size, pending, waiting, flushed = pending, waiting, [], 0, time.monotonic()
                        await self._take(claim, blocks, size)
                        if answer.stop is None and self._limit is not None and claim.start > self._limit:
                            return
        finally:
            # What came before a connection was cut is not asked for again.
            if pending and claim.start + waiting <= claim.stop:
                await self._take(claim, pending, waiting)
        if answer.stop is not None and claim.start < answer.stop:
            raise TemporaryError(f"{shown_url(self._source.url)}: the connection failed: it ended after {claim.start} bytes")

    async def _take(self, claim: Claim, blocks: list[bytes], size: int) -> None:
        """What came is as good as written: it is not asked for again."""
        start, claim.start = claim.start, claim.start + size
        self._trouble.gained(size)
        await self._writer.put(start, blocks, size)

    def _written(self, size: int) -> None:
        self._meter.came(size, self._partial.done.total, self._partial.version.size)


class _Ranges:
    """The connections that fetch the missing ranges of a file together."""

    def __init__(self, pull: Pull) -> None:
        self._pull = pull
        self._partial = pull._partial
        self._policy = pull._policy
        self._pieces = self._pieces_of(self._partial) if self._partial.is_known else None
        self._known = asyncio.Event()
        """Whether the first answer proved that the server answers ranges, of the version that is there."""
        self._active = self._policy.connections
        self._is_whole = False
        """Whether the server began to send the whole file instead of a range of it."""

    async def run(self) -> None:
        if self._partial.is_complete:
            await self._ask_whether_it_is_still_the_same()
            return
        await gather_all([self._lead(), *(self._help() for _ in range(self._policy.connections - 1))])

    async def _lead(self) -> None:
        """The first connection: the others wait until it has an answer."""
        try:
            await self._work(self._pieces.take() if self._pieces else Claim(0, self._first_stop()))
        finally:
            self._known.set()

    async def _help(self) -> None:
        await self._known.wait()
        await self._work(self._take())

    async def _work(self, claim: Claim | None) -> None:
        """Fetch a piece and all further ones there are, over one connection as long as it holds."""
        pull = self._pull
        while claim is not None:
            try:
                await pull._trouble.pause()
                async with pull._slots, pull._source.line() as line:
                    while claim is not None:
                        await self._fetch(line, claim)
                        claim = self._take()
            except BusyError as error:
                if self._active > 1 and self._pieces is not None:
                    # One connection too many for the server: the others will fetch it.
                    self._active -= 1
                    assert claim is not None
                    self._pieces.give_back(claim)
                    await pull._trouble.tell(error)
                    return
                await pull._trouble.wait_out(error)
            except (TemporaryError, RefusedError) as error:
                await pull._trouble.wait_out(error)
                if self._is_whole:
                    raise RangesUnusableError from error
        self._active -= 1

    async def _fetch(self, line: Line, claim: Claim) -> None:
        """Fetch a piece; the claim moves on with what came."""
        while claim.start < claim.stop:
            version = self._partial.version if self._partial.is_known else None
            async with line.open((claim.start, claim.stop), version) as answer:
                await self._receive(answer, claim)
        self._pull._trouble.gained(self._policy.progress_bytes)

    async def _receive(self, answer: Answer, claim: Claim) -> None:
        pull = self._pull
        if not answer.is_range:
            await self._receive_whole(answer)
            claim.start = claim.stop = 0
            return
        await pull.check(answer)
        size = answer.version.size
        assert size is not None
        if self._pieces is None:
            claim.stop = min(claim.stop, size)
            self._pieces = self._pieces_of(self._partial, after=claim.stop)
        self._known.set()
        await pull.receive(answer, claim)

    async def _receive_whole(self, answer: Answer) -> None:
        """A server that answers with the whole file: at the beginning that is what is wanted, else it is begun anew."""
        pull = self._pull
        if self._partial.done.total or self._partial.is_known:
            await pull.check(answer)
            raise RangesUnusableError
        self._is_whole = True
        await pull.receive_whole(answer)

    async def _ask_whether_it_is_still_the_same(self) -> None:
        pull = self._pull
        size = self._partial.version.size or 0
        while True:
            try:
                span = (0, 1) if size else None
                async with pull._slots, pull._source.line() as line, line.open(span, self._partial.version) as answer:
                    await pull.check(answer)
                    return
            except (TemporaryError, RefusedError) as error:
                await pull._trouble.wait_out(error)

    def _take(self) -> Claim | None:
        return self._pieces.take() if self._pieces else None

    def _first_stop(self) -> int:
        policy, size = self._policy, self._pull._limit
        if not size:
            return policy.first_piece
        length = piece_size(size, connections=policy.connections, smallest=policy.smallest_piece, largest=policy.largest_piece)
        return min(size, length)

    def _pieces_of(self, partial: Partial, after: int = 0) -> Pieces:
        policy = self._policy
        missing = [(max(start, after), stop) for start, stop in partial.done.missing(partial.version.size or 0) if stop > after]
        return Pieces(missing, connections=policy.connections, smallest=policy.smallest_piece, largest=policy.largest_piece)


class _Trouble:
    """What went wrong in a row, over all connections of a file, and how long to wait for it."""

    def __init__(self, policy: Policy, access: Access) -> None:
        self._policy = policy
        self._access = access
        self.forgiving = True
        """Whether bytes that came make up for failures before them."""
        self._failures = 0
        self._refusals = 0
        self._gained = 0
        self._waited = 0.0
        self._not_before = 0.0

    def gained(self, size: int) -> None:
        """So many bytes came."""
        self._gained += size
        self._refusals = 0
        if self._gained >= self._policy.progress_bytes and self.forgiving:
            self._failures, self._waited = 0, 0.0

    async def tell(self, error: BusyError) -> float:
        """Everybody leaves the server alone for so many seconds, which are returned."""
        wait = max(self._policy.backoff(self._failures), error.retry_after_s or 0.0)
        self._not_before = max(self._not_before, time.monotonic() + wait)
        await self._access.told_to_wait(error.url, wait)
        return wait

    async def wait_out(self, error: TemporaryError | RefusedError) -> None:
        """Wait for better times; raises the error where there is no hope for them."""
        if isinstance(error, RefusedError):
            self._refusals += 1
            if self._refusals > _MAX_REFUSALS or not await self._access.refused(error.url, error.status):
                raise error
            return
        self._failures += 1
        self._gained = 0
        wait = await self.tell(error) if isinstance(error, BusyError) else self._policy.backoff(self._failures)
        self._waited += wait
        patient = error.retry_after_s is not None and self._failures <= 4 * self._policy.retries
        if (self._failures > self._policy.retries and not patient) or self._waited > self._policy.patience_s:
            raise error
        log.info("%s: trying again in %.1f s", error, wait)
        await asyncio.sleep(wait)

    async def pause(self) -> None:
        """Wait while the server is to be left alone."""
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))


async def _nothing(_: Answer) -> None:
    return None
