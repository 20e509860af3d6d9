"""Connections to a host that all workers of all machines share: each is a key in the broker that its holder renews, or loses.

A bucket of the broker forgets a key that is not renewed within its time to live. A holder that could not renew in time stops by itself
before that, so that never more connections are open than there are keys. Without a broker the same limits hold within this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from typing import Protocol

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from common.errors import TemporaryError
from common.messaging import FREED, LEASES, PAUSES
from common.tasks import heeding_cancellation

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 3600.0
"""A server that asks for more is asked again all the same."""
PATIENCE_S = 120.0
"""A longer pause is not waited for: the job goes back to the queue for so long."""

_TROUBLE = (nats.errors.Error, APIError, OSError)
_RENEWALS = 3
"""In the life of a key."""
_SAFETY = 0.75
"""Of the life of a key without renewal, after which the connection is given up: the rest is for closing it."""
_LOOK_S = (0.2, 0.6)
"""How often one who waits looks whether a permit was forgotten; of one that is given back it is told."""
_JITTER_S = 0.03
"""Spreads those who are told at the same time; nobody is nearer than another."""


class Leases(Protocol):
    """Permits, by the name of what they are for."""

    def hold(self, name: str, limit: int) -> contextlib.AbstractAsyncContextManager[None]:
        """One of `limit` permits, waited for; where it is lost the block ends with TemporaryError. So it does during a long pause."""
        ...

    def patience(self, name: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Where nothing is limited: waits only while there is a pause."""
        ...

    async def pause(self, name: str, seconds: float) -> None:
        """Nobody begins anything for so long; who has a permit keeps it."""
        ...


class LocalLeases:
    """Permits within this process."""

    def __init__(self) -> None:
        self._places: dict[str, asyncio.Semaphore] = {}
        self._not_before: defaultdict[str, float] = defaultdict(float)

    @contextlib.asynccontextmanager
    async def hold(self, name: str, limit: int) -> AsyncIterator[None]:
        async with self._places.setdefault(name, asyncio.Semaphore(limit)), self.patience(name):
            yield

    @contextlib.asynccontextmanager
    async def patience(self, name: str) -> AsyncIterator[None]:
        while (left := self._not_before[name] - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(_bearable(name, left))  # it may have been put off further meanwhile
        yield

    async def pause(self, name: str, seconds: float) -> None:
        self._not_before[name] = max(self._not_before[name], time.monotonic() + min(seconds, LONGEST_PAUSE_S))


class SharedLeases:
    """Permits of all workers of a broker."""

    def __init__(self, client: Client, holder: str) -> None:
        """`holder` is for people who look into the bucket."""
        self._client = client
        self._js = client.jetstream()
        self._holder = holder.encode()
        self._buckets: tuple[KeyValue, KeyValue] | None = None
        self._life_s = 0.0
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._freed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._listening = False
        self._waits_for_buckets = False
        self._behind: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Wait until what was let go is given back."""
        if self._behind:
            await asyncio.wait(self._behind, timeout=5)

    @contextlib.asynccontextmanager
    async def hold(self, name: str, limit: int) -> AsyncIterator[None]:
        async with self._turns[name]:  # one of this process tries at a time, in the order they came
            lease = await self._acquire(name, limit)
        try:
            async with asyncio.timeout(None) as scope:
                renewing = asyncio.create_task(lease.renew(scope))
                try:
                    yield
                finally:
                    lease.stopped.set()
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise TemporaryError(f"the permit for a connection to {name} was lost: the broker could not be reached in time") from error
        finally:
            # Only now, the connection being closed, another may open one.
            self._later(self._release(lease, renewing, _subject(name)))

    @contextlib.asynccontextmanager
    async def patience(self, name: str) -> AsyncIterator[None]:
        with contextlib.suppress(*_TROUBLE):  # without a broker there is nobody to be considerate of
            while (left := await self._paused_until(_subject(name)) - time.time()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(min(_bearable(name, left), _LOOK_S[1]))
        yield

    async def pause(self, name: str, seconds: float) -> None:
        subject, until = _subject(name), time.time() + min(max(0.0, seconds), LONGEST_PAUSE_S)
        try:
            if until > await self._paused_until(subject):
                await (await self._bound())[1].put(subject, f"{until:.3f}".encode())
        except _TROUBLE as error:
            log.debug("a pause cannot be shared: %s", error or type(error).__name__)

    async def _acquire(self, name: str, limit: int) -> _Lease:
        subject = _subject(name)
        while True:
            freed = self._freed[subject]
            freed.clear()
            try:
                await self._listen()
                left = await self._paused_until(subject) - time.time()
                if left > 0:
                    await asyncio.sleep(min(_bearable(name, left), _LOOK_S[1]))
                    continue
                leases, _ = await self._bound()
                for number in random.sample(range(limit), limit):
                    with contextlib.suppress(KeyWrongLastSequenceError):
                        return await self._create(leases, f"{subject}.{number}")
            except _TROUBLE as error:
                log.debug("waiting for a permit: %s", error or type(error).__name__)
                self._buckets = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(*_LOOK_S)):  # noqa: S311 - spreads load
                    await freed.wait()
                    await asyncio.sleep(random.uniform(0, _JITTER_S))  # noqa: S311 - spreads load

    async def _create(self, leases: KeyValue, key: str) -> _Lease:
        """Raises KeyWrongLastSequenceError where it is somebody's."""
        asked = time.monotonic()
        creating = asyncio.ensure_future(leases.create(key, self._holder))
        try:
            return _Lease(leases, key, await asyncio.shield(creating), asked, self._life_s)
        except asyncio.CancelledError:
            self._later(_forget(leases, key, creating))
            raise

    async def _release(self, lease: _Lease, renewing: asyncio.Task[None], subject: str) -> None:
        await asyncio.wait([renewing])
        with contextlib.suppress(*_TROUBLE):
            await lease.give_back()
            await self._client.publish(f"{FREED}.{subject}")

    async def _paused_until(self, subject: str) -> float:
        """By the clock of the wall, which machines share."""
        with heeding_cancellation():
            try:
                entry = await (await self._bound())[1].get(subject)
                return min(float(entry.value or b"0"), time.time() + LONGEST_PAUSE_S)
            except (KeyNotFoundError, ValueError):
                return 0.0

    async def _bound(self) -> tuple[KeyValue, KeyValue]:
        """The buckets of leases and pauses, which the catalogue makes. Raises what the broker says where they are not there."""
        if self._buckets is None:
            try:
                leases, pauses = await self._js.key_value(LEASES), await self._js.key_value(PAUSES)
                self._life_s = (await leases.status()).ttl or 1.0
            except APIError as error:
                if not self._waits_for_buckets:
                    log.info("waiting for the catalogue to declare %s (%s)", LEASES, error or type(error).__name__)
                self._waits_for_buckets = True
                raise
            self._buckets = leases, pauses
        return self._buckets

    async def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            await self._client.subscribe(f"{FREED}.*", cb=self._on_freed)

    async def _on_freed(self, message: Msg) -> None:
        self._freed[message.subject.removeprefix(f"{FREED}.")].set()

    def _later(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)


class _Lease:
    """A key that is ours while it is renewed."""

    def __init__(self, bucket: KeyValue, key: str, revision: int, confirmed: float, life_s: float) -> None:
        self.stopped = asyncio.Event()
        self._bucket = bucket
        self._key = key
        self._revision = revision
        self._confirmed = confirmed
        self._life_s = life_s

    async def renew(self, scope: asyncio.Timeout) -> None:
        """Renew until stopped; end the block of `scope` when the key is lost, or may be.

        The end is set beforehand: it also comes when a request hangs, or when this process had stood still.
        """
        loop = asyncio.get_running_loop()
        pause = self._life_s / _RENEWALS
        while True:
            scope.reschedule(loop.time() + self._confirmed + _SAFETY * self._life_s - time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.stopped.wait()
                    return
            asked = time.monotonic()
            try:
                # By revision: whoever took the key after it was forgotten has another. Every revision begins the life of the key anew.
                self._revision = await self._bucket.update(self._key, b"renewed", last=self._revision)
            except KeyWrongLastSequenceError:
                if not self.stopped.is_set():
                    scope.reschedule(loop.time())
                return
            except _TROUBLE as error:
                log.debug("a permit is not renewed: %s", error or type(error).__name__)
                pause = self._life_s / _RENEWALS / 4
            else:
                self._confirmed = asked
                pause = self._life_s / _RENEWALS
            if self.stopped.is_set():
                return

    async def give_back(self) -> None:
        await self._bucket.delete(self._key, last=self._revision)


async def _forget(leases: KeyValue, key: str, creating: asyncio.Future[int]) -> None:
    with contextlib.suppress(*_TROUBLE):
        await leases.delete(key, last=await creating)


def _bearable(name: str, left: float) -> float:
    """Seconds to wait; raises TemporaryError for more than one can wait here."""
    if left > PATIENCE_S:
        raise TemporaryError(f"{name} asked to be left alone for another {left:.0f} s", retry_after_s=left)
    return left


def _subject(name: str) -> str:
    """A name as one token of a key."""
    return re.sub(r"[^A-Za-z0-9_-]", lambda match: f"={ord(match[0]):x}=", name)
