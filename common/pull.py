"""A standing request for the messages of a durable JetStream consumer: each arrives as soon as the broker has it.

The client library's `fetch` waits for a batch to fill or asks for one message at a time; here the broker always knows how many more
this process can take (its credit), and a message is handed on the moment it comes.
"""

from __future__ import annotations

import asyncio
import json
import time

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from common.errors import TemporaryError

EXPIRES_S = 2.0
"""How long a request stands: short enough to notice a broker that was restarted."""
_STATUS = "Status"
_PENDING = "Nats-Pending-Messages"


class Pull:
    """Messages of one consumer. Use `open`, then `receive` in a loop, then `close`."""

    def __init__(self, client: Client, stream: str, consumer: str) -> None:
        self._client = client
        self._request = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue()
        self._subscription: Subscription | None = None
        self._credit = 0
        self._credit_ends = 0.0
        self._trouble = ""
        self._has_arrived = asyncio.Event()

    @property
    def credit(self) -> int:
        """How many messages may still come without being asked for again."""
        return self._credit if time.monotonic() <= self._credit_ends else 0

    async def arrival(self) -> None:
        """Returns when a message is here to be received."""
        await self._has_arrived.wait()

    async def open(self) -> None:
        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(self._inbox, cb=self._on_message)

    async def close(self) -> list[Msg]:
        """Stop listening; what had already arrived and was not received yet."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        return self._take(self._arrived.qsize())

    async def receive(self, most: int) -> list[Msg]:
        """Up to `most` (≥ 1) messages as soon as there is one; none after `EXPIRES_S` without. Raises TemporaryError on trouble."""
        if self._arrived.empty():
            await self._ask(most)
            try:
                async with asyncio.timeout(EXPIRES_S + 0.5):
                    first = await self._arrived.get()
            except TimeoutError:
                return []
            if first.headers is not None and not first.reply:
                return self._no_messages()
            await asyncio.sleep(0)  # what came in the same packet is handed over together
            return [first, *self._take(most - 1)]
        return self._take(most)

    async def _ask(self, most: int) -> None:
        now = time.monotonic()
        if now > self._credit_ends:
            self._credit = 0
        more = most - self._credit
        if more > 0:
            self._credit += more
            self._credit_ends = now + EXPIRES_S + 0.25
            request = {"batch": more, "expires": int(EXPIRES_S * 1e9)}
            await self._client.publish(self._request, json.dumps(request).encode(), reply=self._inbox)

    def _take(self, most: int) -> list[Msg]:
        messages: list[Msg] = []
        while len(messages) < most and not self._arrived.empty():
            message = self._arrived.get_nowait()
            if message.reply:
                messages.append(message)
        if self._arrived.empty():
            self._has_arrived.clear()
        return messages

    def _no_messages(self) -> list[Msg]:
        trouble, self._trouble = self._trouble, ""
        if trouble:
            raise TemporaryError(trouble)
        return []

    async def _on_message(self, message: Msg) -> None:
        status = (message.headers or {}).get(_STATUS)
        if status is None or message.reply:
            self._credit = max(0, self._credit - 1)
            self._arrived.put_nowait(message)
            self._has_arrived.set()
            return
        # 408: the request has expired, with so many messages still owed; 409, 503: the consumer or its leader is gone.
        self._credit = max(0, self._credit - int((message.headers or {}).get(_PENDING, self._credit)))
        if status not in ("404", "408"):
            self._trouble = (message.headers or {}).get("Description", f"status {status}")
            self._credit = 0
        if self._credit == 0:
            self._arrived.put_nowait(message)
