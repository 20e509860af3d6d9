"""Telling the customer's endpoint that an order has ended: POST of the order as `BatchOrder({id})` answers, with its products."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from catalogue.database import DATABASE_ERRORS, Pool
from catalogue.hook import replies, views
from catalogue.hook.odata.filters import Condition
from catalogue.hook.odata.query import MOST, ListQuery
from catalogue.hook.placing import NOTIFICATION_PASSWORD
from catalogue.hook.service import HookService
from common.errors import ThresherError, UserError
from common.resolver import GuardedResolver
from common.urls import check_url, names_host

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 8
_FIRST_DELAY_S = 2.0
_BATCH = 20
_TIMEOUT_S = 15.0
_LEASE_S = 60.0
_IDLE_S = 1.0


@dataclass
class Notifier:
    """Tells of ended orders until cancelled; every replica of the catalogue may."""

    pool: Pool
    hook: HookService

    async def run(self) -> None:
        while True:
            told = 0
            try:
                told = await self.tell()
            except DATABASE_ERRORS as error:
                log.debug("notifications: %s", error)
            if not told:
                await asyncio.sleep(_IDLE_S)

    async def tell(self) -> int:
        """Tell what is due, up to a batch; how many orders were tried. Uses hook_order_notify."""
        rows = await self.pool.fetch(
            """UPDATE hook_order SET notify_at = now() + make_interval(secs => $2), notification_attempts = notification_attempts + 1
               WHERE id IN (SELECT id FROM hook_order WHERE notify_at <= now() ORDER BY notify_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
               RETURNING id, owner, notification_endpoint, notification_username, notification_sealed, notification_attempts""",
            _BATCH,
            _LEASE_S,
        )
        await asyncio.gather(*(self._tell_one(row) for row in rows))
        return len(rows)

    async def _tell_one(self, row: Any) -> None:
        try:
            await self._post(row)
        except (aiohttp.ClientError, ThresherError, TimeoutError, OSError, ValueError) as error:
            # The endpoint may hold a token: neither it nor what the library says of it is logged.
            log.info("order %d: its end could not be told (%s)", row["id"], type(error).__name__)
            await self._note(row, "failed" if row["notification_attempts"] >= MOST_ATTEMPTS else "pending")
        else:
            await self._note(row, "sent")

    async def _note(self, row: Any, status: str) -> None:
        delay = _FIRST_DELAY_S * 2.0 ** min(row["notification_attempts"], 12)
        with contextlib.suppress(*DATABASE_ERRORS):  # then its lease runs out, and it is told again
            await self.pool.execute(
                """UPDATE hook_order SET notification_status = $2,
                          notify_at = CASE WHEN $2 = 'pending' THEN now() + make_interval(secs => $3) END,
                          notification_sealed = CASE WHEN $2 = 'pending' THEN notification_sealed END WHERE id = $1""",
                row["id"],
                status,
                delay,
            )

    async def _post(self, row: Any) -> None:
        endpoint, allowed = row["notification_endpoint"], self.hook.settings.limits.allowed_urls
        check_url(endpoint, allowed, "NotificationEndpoint")
        resolver = GuardedResolver("NotificationEndpoint")
        if names_host(endpoint, allowed) and (host := urlsplit(endpoint).hostname):
            resolver.trusted.add(host)
        headers = {}
        if row["notification_username"]:
            password = self.hook.parts.secrets.open(row["notification_sealed"]).get(NOTIFICATION_PASSWORD, "")
            headers["Authorization"] = _basic(row["notification_username"], password)
        document = await self._document(row["owner"], row["id"])
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        connector = aiohttp.TCPConnector(resolver=resolver)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session,
            session.post(endpoint, json=document, allow_redirects=False) as response,
        ):
            if not 200 <= response.status < 300:
                raise UserError(f"HTTP {response.status}")

    async def _document(self, owner: str, order: int) -> dict[str, Any]:
        query = ListQuery(Condition("TRUE"), "i.id", top=MOST)
        async with self.pool.acquire() as connection:
            row = await views.get_order(connection, owner, order)
            items = await views.list_items(connection, owner, query, order=order)
        products = [replies.item_document(item, None) for item in items.rows]
        return replies.wrapped(replies.BATCH_ORDER, {**replies.order_document(row, self.hook.workflows), "Products": products})


def _basic(username: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"
