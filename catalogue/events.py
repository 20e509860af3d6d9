"""What happens in an AOI, as it happens: changes of status from the database, progress of jobs from the broker.

For display: who falls behind or loses the connection asks for the summary and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from catalogue.database import Connection, Pool
from common.messaging import progress_subject

log = logging.getLogger(__name__)

CHANNEL = "thresher_status"
"""Written to by triggers on scenes and tiles."""
_BACKLOG = 1000
_RETRY_S = 1.0


@dataclass(frozen=True)
class Event:
    """`status`: {kind, items: [[id, source_id, status]]}; `progress`: {job, worker, step, done}; `behind`: events were lost; `closed`: the
    service ends."""

    name: str
    data: dict[str, Any]


@dataclass
class EventHub:
    """Hands the events of an AOI to all who watch it. Run it beside the service; it listens only while someone watches."""

    pool: Pool
    client: Client
    _watchers: dict[str, set[asyncio.Queue[Event]]] = field(default_factory=lambda: defaultdict(set))
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                async with self.pool.acquire() as connection:
                    await self._listen(connection)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.debug("events: %s", error)
                self._tell_all(Event("behind", {}))
                await asyncio.sleep(_RETRY_S)

    def close(self) -> None:
        """Tell all watchers that the service ends."""
        self._tell_all(Event("closed", {}))

    @contextlib.asynccontextmanager
    async def watch(self, aoi: str) -> AsyncIterator[asyncio.Queue[Event]]:
        """The events of an AOI from now on. A queue that is full loses events and says so."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_BACKLOG)

        async def on_progress(message: Msg) -> None:
            with contextlib.suppress(ValueError):
                _put(queue, Event("progress", json.loads(message.data)))

        self._watchers[aoi].add(queue)
        self._wanted.set()
        subscription = None
        try:
            with contextlib.suppress(nats.errors.Error, OSError):
                subscription = await self.client.subscribe(progress_subject(aoi), cb=on_progress)
            yield queue
        finally:
            self._watchers[aoi].discard(queue)
            if not self._watchers[aoi]:
                del self._watchers[aoi]
            if not self._watchers:
                self._wanted.clear()
            if subscription is not None:
                with contextlib.suppress(nats.errors.Error, OSError):
                    await subscription.unsubscribe()

    async def _listen(self, connection: Connection) -> None:
        gone = asyncio.Event()

        def on_status(_connection: object, _pid: int, _channel: str, text: object) -> None:
            document = json.loads(str(text))
            event = Event("status", {"kind": document["kind"], "items": document["items"]})
            for queue in self._watchers.get(document["aoi"], ()):
                _put(queue, event)

        def lost(_: object) -> None:
            gone.set()

        await connection.add_listener(CHANNEL, on_status)
        connection.add_termination_listener(lost)
        try:
            while self._wanted.is_set() and not gone.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_S):
                        await gone.wait()
        finally:
            if not connection.is_closed():
                connection.remove_termination_listener(lost)
                await connection.remove_listener(CHANNEL, on_status)
        if gone.is_set():
            self._tell_all(Event("behind", {}))

    def _tell_all(self, event: Event) -> None:
        for queues in self._watchers.values():
            for queue in queues:
                _put(queue, event)


def _put(queue: asyncio.Queue[Event], event: Event) -> None:
    try:
        queue.put_nowait(event)
    except asyncio.QueueFull:
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(Event("behind", {}))
