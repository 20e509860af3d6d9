"""The catalogue an order names, asked with the order's own login: never a way into a private network, and never for long.

Sources: RFC 6749 (4.3, 4.4, 5). A token is shown to the server of the catalogue and to those of its family (`hook.token_origins`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp
from pydantic import JsonValue

from catalogue.hook.orders import ItemError
from common.errors import TemporaryError, UserError
from common.order_access import Login
from common.resolver import GuardedResolver
from common.urls import check_url, names_host, shown_url

_TIMEOUT_S = 60.0
_MOST_BYTES = 32 * 2**20
_MOST_HOPS = 3
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_PORTS = {"http": 80, "https": 443}


class SourceReader:
    """An async context manager around the connections of one resolution."""

    def __init__(self, allowed: Sequence[str], login: Login | None, origins: Sequence[str]) -> None:
        self._allowed = [prefix for prefix in allowed if prefix.startswith(("http://", "https://"))]
        self._login = login
        self._origins = origins
        self._token = ""
        self._resolver = GuardedResolver("source_catalogue_api_url")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=2 * _TIMEOUT_S, sock_read=_TIMEOUT_S, sock_connect=20.0),
            # The cache of names would hand out what was allowed for another host.
            connector=aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False),
            headers={"User-Agent": "thresher"},
            trust_env=True,
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def get(self, url: str) -> JsonValue:
        """The JSON document there; None where there is nothing. Raises ItemError, TemporaryError."""
        return await self._ask("GET", url)

    async def post(self, url: str, document: Mapping[str, JsonValue]) -> JsonValue:
        """The JSON answered to a document, as `get`."""
        return await self._ask("POST", url, dict(document))

    def hidden(self, text: str) -> str:
        """A text that may repeat what was sent, without the secrets in it."""
        login = self._login
        for secret in (self._token, *((login.password, login.client_secret) if login is not None else ())):
            text = text.replace(secret, "***") if secret else text
        return text

    async def _ask(self, method: str, url: str, document: JsonValue = None) -> JsonValue:
        for _ in range(_MOST_HOPS):
            headers = {"Accept": "application/json", **await self.headers(url)}
            status, content, onward = await self._send(method, url, headers, document=document)
            if status not in (301, 302, 303, 307, 308) or method != "GET" or not onward:
                return _answer(status, content, shown_url(url))
            url = urljoin(url, onward)
        raise ItemError(f"{shown_url(url)} sends from one place to another without an end")

    async def headers(self, url: str) -> dict[str, str]:
        """What the server of `url` is shown of the login. Raises ItemError, TemporaryError."""
        if self._login is None or not shown_to(url, self._origins):
            return {}
        if not self._token:
            self._token = await self._buy(self._login)
        return {self._login.header: f"Bearer {self._token}"}

    async def _buy(self, login: Login) -> str:
        """An access token for the login."""
        form = {"grant_type": login.grant.replace("-", "_"), "client_id": login.client_id, "client_secret": login.client_secret}
        if login.grant == "password":
            form |= {"username": login.username, "password": login.password}
        where = shown_url(login.token_url)
        data = {key: value for key, value in form.items() if value}
        status, content, _ = await self._send("POST", login.token_url, {"Accept": "application/json"}, form=data)
        if status in _BUSY:
            raise TemporaryError(f"{where} is busy (HTTP {status})")
        try:
            token = json.loads(content).get("access_token") if status == 200 else None
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            # Not what it answers: it may repeat what was sent.
            raise ItemError(f"{where} gives no token for the user and password of the order (HTTP {status})")
        return token

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        document: JsonValue = None,
        form: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes, str]:
        """Status, content, and where it sends to."""
        try:
            check_url(url, self._allowed, "source")
        except UserError as error:
            raise ItemError(str(error)) from None
        if names_host(url, self._allowed):
            self._resolver.trusted.add(urlsplit(url).hostname or "")
        where = shown_url(url)
        try:
            async with self._session.request(
                method, url, headers=headers, data=form, json=document if form is None and method == "POST" else None, allow_redirects=False
            ) as answer:
                content = b""
                async for block in answer.content.iter_chunked(2**18):
                    content += block
                    if len(content) > _MOST_BYTES:
                        raise ItemError(f"{where} answers more than {_MOST_BYTES} bytes")
                return answer.status, content, answer.headers.get("Location", "")
        except UserError as error:  # of the resolver
            raise ItemError(str(error)) from None
        except TimeoutError:
            raise TemporaryError(f"{where} does not answer") from None
        except (aiohttp.ClientError, ConnectionError, OSError) as error:
            if isinstance(error.__cause__, UserError):
                raise ItemError(str(error.__cause__)) from None
            raise TemporaryError(f"{where}: the connection failed: {type(error).__name__}") from None


def family_of(url: str, families: Sequence[str]) -> list[str]:
    """The servers a token of the catalogue at `url` may be shown to: its own, and the families that it belongs to."""
    parts = urlsplit(url)
    own = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return [own, *(family for family in families if shown_to(url, [family]))]


def shown_to(url: str, origins: Sequence[str]) -> bool:
    """Whether the server of `url` is one of `origins` (`https://host`, `https://*.domain`)."""
    here = _origin(url)
    for text in origins:
        scheme, host, port = _origin(text)
        if (scheme, port) == (here[0], here[2]) and (host == here[1] or (host.startswith("*.") and here[1].endswith(host[1:]))):
            return True
    return False


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower().rstrip("."), parts.port or _PORTS.get(scheme)


def _answer(status: int, content: bytes, where: str) -> JsonValue:
    if status in _BUSY:
        raise TemporaryError(f"{where} is busy (HTTP {status})")
    if status in (404, 405, 410):  # not there, or no such way of asking
        return None
    if status in (401, 403):
        raise ItemError(f"{where} refuses access (HTTP {status}): check user and password of the source")
    if status not in (200, 201):
        raise ItemError(f"{where} answers HTTP {status}")
    try:
        document: JsonValue = json.loads(content)
    except (ValueError, RecursionError):
        raise ItemError(f"{where} does not answer with JSON") from None
    return document
