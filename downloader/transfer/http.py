"""A file of an HTTP server: every hop of a redirect checked and with the authorization of its own host alone."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp

from common.errors import TemporaryError, ThresherError
from common.resolver import GuardedResolver
from common.urls import check_url, names_host, shown_url
from downloader.checksums import served_checksums
from downloader.transfer.access import Access
from downloader.transfer.pace import Pace
from downloader.transfer.policy import Policy
from downloader.transfer.source import Answer, BusyError, ChangedError, RangesUnusableError, RefusedError, Span, Version

_MAX_REDIRECTS = 8
_BUSY = {408, 421, 423, 425}
_REDIRECTS = {301, 302, 303, 307, 308}
_CONTENT_RANGE = re.compile(r"\s*bytes\s+(\d{1,19})-(\d{1,19})/(\d{1,19})\s*", re.IGNORECASE)
_READ_BYTES = 2**18


_EXPIRED = {401, 403, 404, 410}
"""Answers to a link that was good a moment ago: what a redirect or a signature allowed for a while."""


@dataclass(frozen=True)
class HttpClient:
    """What all files of a provider share."""

    provider: str
    """Its name, for messages."""
    access: Access
    allowed: Sequence[str]
    policy: Policy
    resolver: GuardedResolver
    cookies: aiohttp.CookieJar


def open_session(
    policy: Policy, resolver: GuardedResolver, *, cookies: aiohttp.CookieJar | None = None, line: bool = False
) -> aiohttp.ClientSession:
    """A session that follows no redirect by itself: a `line` of one connection that is kept, or several, each for one request."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(30.0, policy.timeout_s), sock_read=policy.timeout_s),
        # The name cache is off: it would hand out an address that was allowed for another link.
        connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=1 if line else 0, force_close=not line),
        cookie_jar=cookies,
        headers={"User-Agent": "thresher", "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=True,
        requote_redirect_url=False,
        read_bufsize=_READ_BYTES,
    )


class HttpSource:
    """One file of a server."""

    def __init__(self, url: str, client: HttpClient, field: str) -> None:
        self.url = url
        self._client = client
        self._field = field

    def line(self) -> HttpLine:
        return HttpLine(self.url, self._client, self._field)


class HttpLine:
    """A connection that is kept from one request to the next, with its permit; an async context manager."""

    def __init__(self, url: str, client: HttpClient, field: str) -> None:
        self._link = url
        self._client = client
        self._field = field
        self._held = ""
        """The link at the end of the redirects, to whose host there is a connection."""
        self._session: aiohttp.ClientSession | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        # A permit that was lost is told by what its context makes of the cancellation.
        return await self._stack.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def open(self, span: Span | None, version: Version | None) -> AsyncIterator[Answer]:
        headers = {}
        if span is not None:
            headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
            if version is not None and version.condition:
                headers["If-Range"] = version.condition
        async with self._response(headers) as response:
            yield self._answer(response, self._held, span, version)

    @asynccontextmanager
    async def _response(self, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer at the end of the redirects; every one of them must be allowed."""
        if self._held:
            async with self._get(headers) as response:
                if response.status not in {*_EXPIRED, *_REDIRECTS}:
                    yield response
                    return
        current = await self._client.access.link(self._link)
        check_url(current, self._client.allowed, self._field)
        for _ in range(_MAX_REDIRECTS + 1):
            await self._dial(current)
            async with self._get(headers) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                location = response.headers.get("Location", "")
            if not location:
                raise ThresherError(f"{shown_url(current)} redirects to nowhere (HTTP {response.status})")
            current = _joined(current, location)
            check_url(current, self._client.allowed, f"redirect of {shown_url(self._link)}")
        raise ThresherError(f"{shown_url(self._link)} redirects more than {_MAX_REDIRECTS} times")

    async def _dial(self, url: str) -> None:
        """A permit for the host of `url`; the connection there was, and its permit, are gone before."""
        self._held = ""
        await self._stack.aclose()
        if names_host(url, self._client.allowed):
            self._client.resolver.trusted.add(urlsplit(url).hostname or "")
        await self._stack.enter_async_context(self._client.access.connection(url))
        self._session = await self._stack.enter_async_context(
            open_session(self._client.policy, self._client.resolver, cookies=self._client.cookies, line=True)
        )
        self._held = url

    @asynccontextmanager
    async def _get(self, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request, to one host, with what that host alone is to see."""
        assert self._session is not None
        with _network_errors(self._held, self._client.policy):
            secret = await self._client.access.headers(self._held)
            async with self._session.get(self._held, headers={**headers, **secret}, allow_redirects=False) as response:
                yield response

    def _answer(self, response: aiohttp.ClientResponse, url: str, span: Span | None, version: Version | None) -> Answer:
        if response.status == 416 and span is not None:
            # What was there is not: the file shrank, or it is empty and was never a matter of ranges.
            raise ChangedError if version is not None else RangesUnusableError
        self._check_status(response, url, span)
        start, stop, size = 0, response.content_length, response.content_length
        if response.status == 206:
            assert span is not None
            start, stop, size = _content_range(response, span)
        found = Version(size, response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
        return Answer(found, start, stop, response.status == 206, self._chunks(response, url), served_checksums(response.headers))

    async def _chunks(self, response: aiohttp.ClientResponse, url: str) -> AsyncGenerator[bytes, None]:
        pace = Pace(self._client.policy, shown_url(url))
        async for chunk in response.content.iter_any():
            yield chunk
            pace.came(len(chunk))

    def _check_status(self, response: aiohttp.ClientResponse, url: str, span: Span | None) -> None:
        status, where = response.status, shown_url(url)
        if status == 200 or (status == 206 and span is not None):
            return
        if status in (404, 410):
            raise ThresherError(f"{where} does not exist (HTTP {status})")
        if status in (401, 403):
            name = self._client.provider
            raise RefusedError(f"{where} refuses access (HTTP {status}): check the account of provider '{name}'", url, status)
        if status in (429, 503):
            raise BusyError(f"{where} is busy (HTTP {status})", url, _retry_after(response.headers.get("Retry-After", "")))
        if status in _BUSY or status >= 500:
            raise TemporaryError(f"{where} is busy (HTTP {status})")
        raise ThresherError(f"{where} answers HTTP {status} {response.reason or ''}".rstrip())


def _content_range(response: aiohttp.ClientResponse, span: Span) -> tuple[int, int, int]:
    """Start, stop and size of the file; RangesUnusableError where this is not what was asked for."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None:
        raise RangesUnusableError
    start, last, size = int(found[1]), int(found[2]), int(found[3])
    stop = last + 1
    if start != span[0] or not start < stop <= min(size, span[1]):
        raise RangesUnusableError
    if response.content_length is not None and response.content_length > stop - start:
        raise RangesUnusableError
    return start, stop, size


def _retry_after(text: str) -> float | None:
    """Seconds, from a number or a date."""
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.fromtimestamp(time.time(), UTC)).total_seconds())


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise ThresherError(f"{shown_url(url)} redirects to what is not a URL") from None


@contextmanager
def _network_errors(url: str, policy: Policy) -> Iterator[None]:
    where = shown_url(url)
    try:
        yield
    except aiohttp.ClientSSLError as error:
        raise ThresherError(f"{where}: the server cannot be trusted: {error}") from error
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise ThresherError(f"{where} is not a URL") from error
    except TimeoutError as error:
        raise TemporaryError(f"{where}: nothing arrived for {policy.timeout_s:g} s") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        # The plain text of such an error may hold the whole link.
        why = str(error) if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientOSError) else type(error).__name__
        raise TemporaryError(f"{where}: the connection failed: {why or type(error).__name__}") from error
