"""Small documents of a provider's interface: asked for with its account and within its limits, followed nowhere."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from pydantic import JsonValue

from common.errors import TemporaryError, ThresherError
from common.resolver import GuardedResolver
from common.urls import check_url, names_host, shown_url
from downloader.providers.base import NotOfferedError, Place

_BYTES = 32 * 2**20
_REFUSALS = 2
_USUAL_WAIT_S = 5.0


class Api:
    """An async context manager around its connections. `root` is the operator's: it may be a private host."""

    def __init__(self, place: Place, root: str, *, preset: str = "") -> None:
        self._place = place
        self._root = root
        self._access = place.access(preset=preset)
        self._resolver = GuardedResolver(f"providers.{place.name}")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout_s = self._place.provider.timeout_s
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(30.0, timeout_s), sock_read=timeout_s),
            # No connection stays open that nobody has a permit for; the name cache would hand out what was allowed for another host.
            connector=aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False, force_close=True),
            headers={"User-Agent": "thresher"},
            trust_env=True,
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str) -> JsonValue:
        """The JSON there. Raises NotOfferedError where there is nothing, TemporaryError where trying again may help, else ThresherError."""
        return await self._ask("GET", url)

    async def post(self, url: str, document: JsonValue) -> JsonValue:
        """The JSON answered to `document`; raises as `get` does."""
        return await self._ask("POST", url, document)

    async def _ask(self, method: str, url: str, document: JsonValue = None) -> JsonValue:
        check_url(url, self._place.allowed(self._root), f"providers.{self._place.name}")
        where = shown_url(url)
        for attempt in range(_REFUSALS + 1):
            try:
                status, wait, content = await self._answer(method, url, document)
            except TimeoutError as error:
                raise TemporaryError(f"{where} does not answer") from error
            except (aiohttp.ClientError, ConnectionError) as error:
                raise TemporaryError(f"{where}: the connection failed: {type(error).__name__}") from error
            if status not in (401, 403) or attempt == _REFUSALS or not await self._access.refused(url, status):
                break
        if status in (429, 503):
            await self._access.told_to_wait(url, _USUAL_WAIT_S if wait is None else wait)
            raise TemporaryError(f"{where} is busy (HTTP {status})", retry_after_s=wait)
        if status >= 500:
            raise TemporaryError(f"{where} is busy (HTTP {status})")
        if status in (404, 410):
            raise NotOfferedError(f"{where} does not exist (HTTP {status})")
        if status in (401, 403):
            raise ThresherError(f"{where} refuses access (HTTP {status}): check the account of provider '{self._place.name}'")
        if status not in (200, 201, 202, 204):
            raise ThresherError(f"{where} answers HTTP {status}")
        return _parsed(content, where)

    async def _answer(self, method: str, url: str, document: JsonValue) -> tuple[int, float | None, bytes]:
        assert self._session is not None
        if names_host(url, self._place.allowed(self._root)):
            self._resolver.trusted.add(urlsplit(url).hostname or "")
        async with self._access.connection(url):
            headers = {"Accept": "application/json", **await self._access.headers(url)}
            body = {"json": document} if method == "POST" else {}
            async with self._session.request(method, url, headers=headers, allow_redirects=False, **body) as answer:  # type: ignore[arg-type]
                content = await answer.content.read(_BYTES + 1)
                while len(content) <= _BYTES and (more := await answer.content.read(_BYTES)):
                    content += more
                text = answer.headers.get("Retry-After", "").strip()
                return answer.status, float(text[:9]) if text.isdecimal() else None, content


def _parsed(content: bytes, where: str) -> JsonValue:
    if not content.strip():
        return None
    if len(content) > _BYTES:
        raise ThresherError(f"{where} answers more than {_BYTES} bytes")
    try:
        document: JsonValue = json.loads(content)
    except ValueError:
        raise ThresherError(f"{where} does not answer with JSON") from None
    return document
