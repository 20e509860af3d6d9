"""Files and ranges of files over HTTP(S): bounded, repeated where time may help, never from a place that is not allowed."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urljoin, urlsplit

import aiohttp

from catalogue.sentinel1.annotations.files import MEMBER_BYTES, AnnotationError
from common.errors import ErrorKind, TemporaryError, UserError
from common.remote_zip import TAIL_BYTES
from common.resolver import GuardedResolver
from common.urls import check_url, names_host, shown_url

_REDIRECTS = {301, 302, 303, 307, 308}
_BUSY = {408, 421, 423, 425, 429}
_MAX_REDIRECTS = 8
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_BLOCK = 2**16
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_Result = TypeVar("_Result")
Login = Callable[[str], Awaitable[Mapping[str, str]]]


@dataclass(frozen=True)
class HttpLimits:
    """How long and how often a server is asked."""

    timeout_s: float = 60.0
    """Without a byte arriving."""
    retries: int = 4
    wait_s: float = _FIRST_WAIT_S
    """Before the first repetition; doubled with every further one."""


class BusyError(TemporaryError):
    """A server asks to come back later."""

    def __init__(self, message: str, after_s: float | None) -> None:
        self.after_s = after_s
        super().__init__(message)


class ChangedError(AnnotationError):
    """A file became another while it was read: asking again for the same range is no use, reading it anew is."""

    kind = ErrorKind.TEMPORARY


@dataclass(frozen=True)
class _Part:
    """A range of a file, and which version of it."""

    content: bytes
    start: int
    size: int | None
    """Of the whole file."""
    version: str
    """Changes with the content; empty if the server does not say."""


class HttpReader:
    """Reads from one source; an async context manager around its connections. `token` goes to the server `origin` alone; `login` tells
    the headers to show to the server of a link.
    """

    def __init__(
        self, allowed: Sequence[str], field: str, limits: HttpLimits, *, token: str = "", origin: str = "", login: Login | None = None
    ) -> None:
        self._allowed = allowed
        self._field = field
        self._limits = limits
        self._token = token
        self._origin = _origin(origin)
        self._login = login
        self._resolver = GuardedResolver(field)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout_s = self._limits.timeout_s
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(30.0, timeout_s), sock_read=timeout_s)
        # The name cache is off: it would hand out an address that was allowed for another link.
        connector = aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False)
        headers = {"User-Agent": "thresher", "Accept-Encoding": "identity"}
        self._session = aiohttp.ClientSession(
            timeout=timeout, connector=connector, headers=headers, auto_decompress=False, trust_env=True, requote_redirect_url=False
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str, limit: int = MEMBER_BYTES) -> bytes:
        """A whole file of at most `limit` bytes.

        Raises TemporaryError where trying later may help, AnnotationError where it will hardly, UserError for a link that is not allowed.
        """

        async def attempt() -> bytes:
            async with self._open(url, {}) as response:
                self._check_status(response, url, (200,))
                return await _body(response, url, limit)

        return await self._patiently(url, attempt)

    async def open(self, url: str) -> HttpFile:
        """A file that is read by ranges, its end fetched already; a small one is fetched whole where the server knows no ranges.

        Raises as `get` does.
        """
        part = await self._patiently(url, lambda: self._part(url, f"bytes=-{TAIL_BYTES}"))
        if part is None:  # some servers know ranges, but not from the end
            first = await self._patiently(url, lambda: self._part(url, "bytes=0-0"))
            if first is None:
                raise AnnotationError(
                    f"{shown_url(url)} is read by ranges, which its server does not offer, and it is too large to be fetched whole"
                )
            if first.size is None:
                raise AnnotationError(f"{shown_url(url)}: the server does not tell the size of the file")
            file = HttpFile(self, url, first.size, first.version, b"")
            start = max(0, first.size - TAIL_BYTES)
            return HttpFile(self, url, first.size, first.version, await file.read(start, first.size))
        if part.size is None or part.start + len(part.content) != part.size:
            raise AnnotationError(f"{shown_url(url)}: the server does not tell where the file ends")
        return HttpFile(self, url, part.size, part.version, part.content)

    async def read(self, file: HttpFile, start: int, stop: int) -> bytes:
        """The bytes [start, stop) of the very file that was opened."""

        async def attempt() -> bytes:
            part = await self._part(file.where_url, f"bytes={start}-{stop - 1}", file)
            if part is None or (part.size is not None and part.size != file.size) or part.version != file.version:
                raise ChangedError(f"{file.where} changed while it was read")
            if (part.start, len(part.content)) != (start, stop - start):
                raise AnnotationError(f"{file.where}: the server sent other bytes than it was asked for")
            return part.content

        return await self._patiently(file.where_url, attempt)

    async def _part(self, url: str, wanted: str, file: HttpFile | None = None) -> _Part | None:
        """A range, or the whole of a small file; None where the server sends the whole of a large one, or knows no such range."""
        headers = {"Range": wanted}
        if file is not None and file.version.startswith('"'):
            headers["If-Range"] = file.version
        async with self._open(url, headers) as response:
            self._check_status(response, url, (200, 206, 400, 416, 501))
            version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            if response.status == 200:
                if file is not None or (response.content_length or 0) > MEMBER_BYTES:
                    return None
                content = await _body(response, url, MEMBER_BYTES)
                return _Part(content, 0, len(content), version)
            if response.status == 416 and response.headers.get("Content-Range", "").replace(" ", "") == "bytes*/0":
                raise AnnotationError(f"{shown_url(url)} is empty")
            if response.status != 206:
                return None
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
            if match is None:
                raise AnnotationError(f"{shown_url(url)}: the server answers a range without saying which")
            start, last = int(match[1]), int(match[2])
            limit = TAIL_BYTES if file is None else file.size
            content = await _body(response, url, limit)
            if len(content) != last + 1 - start:
                raise TemporaryError(f"{shown_url(url)}: {len(content)} bytes came instead of {last + 1 - start}")
            return _Part(content, start, None if match[3] == "*" else int(match[3]), version)

    async def _patiently(self, url: str, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        """The result of `attempt`, repeated while that may help."""
        for number in range(self._limits.retries + 1):
            try:
                return await self._told(url, attempt)
            except TemporaryError as error:
                if number == self._limits.retries:
                    raise
                await asyncio.sleep(self._wait_s(number, error))
        raise AssertionError("unreachable")

    def _wait_s(self, number: int, error: TemporaryError) -> float:
        asked = error.after_s if isinstance(error, BusyError) else None
        wait = self._limits.wait_s * 2.0**number * random.uniform(1.0, 1.5)  # noqa: S311 - spreads load, hides nothing
        return min(_LONGEST_WAIT_S, wait if asked is None else max(asked, 0.0))

    async def _told(self, url: str, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        """Trouble of the network as an error that says where."""
        where = shown_url(url)
        try:
            return await attempt()
        except aiohttp.ClientSSLError as error:
            raise AnnotationError(f"{where}: the server cannot be trusted: {error}") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise AnnotationError(f"{where} is not a URL") from error
        except TimeoutError as error:
            raise TemporaryError(f"{where}: nothing arrived for {self._limits.timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise TemporaryError(f"{where}: the connection failed: {str(error) or type(error).__name__}") from error

    @asynccontextmanager
    async def _open(self, url: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer at the end of the redirects, every one of which must be allowed."""
        if self._session is None:
            raise RuntimeError("an HttpReader is to be entered before it is used")
        current = url
        for _ in range(_MAX_REDIRECTS + 1):
            check_url(current, self._allowed, self._field)
            if urlsplit(current).scheme not in ("http", "https"):
                raise AnnotationError(f"{shown_url(url)} redirects out of HTTP")
            if names_host(current, self._allowed):
                self._resolver.trusted.add(urlsplit(current).hostname or "")
            shown = await self._login(current) if self._login is not None else {}
            response = await self._session.get(current, headers={**self._headers(current, headers), **shown}, allow_redirects=False)
            try:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                location = response.headers.get("Location", "")
            finally:
                response.close()
            if not location:
                raise AnnotationError(f"{shown_url(current)} redirects to nowhere (HTTP {response.status})")
            current = urljoin(current, location)
        raise AnnotationError(f"{shown_url(url)} redirects more than {_MAX_REDIRECTS} times")

    def _headers(self, url: str, headers: dict[str, str]) -> dict[str, str]:
        if self._token and _origin(url) == self._origin:
            return {**headers, "Authorization": f"Bearer {self._token}"}
        return headers

    def _check_status(self, response: aiohttp.ClientResponse, url: str, fine: Sequence[int]) -> None:
        status, where = response.status, shown_url(url)
        if status in fine:
            return
        if status in (404, 410):
            raise AnnotationError(f"{where} does not exist (HTTP {status})")
        if status in (401, 403):
            raise AnnotationError(f"{where} refuses access (HTTP {status})")
        if status in _BUSY or status >= 500:
            raise BusyError(f"{where} is busy (HTTP {status})", _after_s(response.headers.get("Retry-After", "")))
        raise AnnotationError(f"{where} answers HTTP {status} {response.reason or ''}".rstrip())


@dataclass(frozen=True)
class HttpFile:
    """A file read by ranges."""

    reader: HttpReader
    where_url: str
    size: int
    version: str
    tail: bytes

    @property
    def where(self) -> str:
        return shown_url(self.where_url)

    async def read(self, start: int, stop: int) -> bytes:
        return await self.reader.read(self, start, stop)


async def _body(response: aiohttp.ClientResponse, url: str, limit: int) -> bytes:
    if (response.content_length or 0) > limit:
        raise AnnotationError(f"{shown_url(url)} has {response.content_length} bytes, more than the {limit} expected")
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_chunked(_BLOCK):
        size += len(piece)
        if size > limit:
            raise AnnotationError(f"{shown_url(url)} sends more than the {limit} bytes expected")
        pieces.append(piece)
    return b"".join(pieces)


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        raise UserError(f"{shown_url(url)} is not a URL", field="url") from None


def _after_s(text: str) -> float | None:
    """Seconds of a `Retry-After`, which is a number or a date; an unreadable one is as good as none."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()
