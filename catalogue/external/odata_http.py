"""The one place where OData answers are read over HTTP: timeouts, retries with backoff, `Retry-After`, pages on the same host only."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp
from pydantic import JsonValue
from yarl import URL

from catalogue.external.http import HttpError
from catalogue.external.stac_item import text_of
from common.threads import in_thread

_RETRIED = (429, 500, 502, 503, 504)
_LONGEST_WAIT_S = 60.0
_LONGEST_BACKOFF_S = 30.0
_MAX_BYTES = 256 * 2**20
"""A page of a thousand products with their attributes has some ten million."""


@dataclass(frozen=True)
class Page:
    """One answer."""

    products: list[JsonValue]
    next_url: str = ""
    """Of the following page; empty: there is none."""


class _Refusal(Exception):  # noqa: N818 - it never leaves the module
    """An answer, or the lack of one, that time may mend."""

    def __init__(self, error: HttpError, retry_after_s: float | None = None) -> None:
        self.error = error
        self.retry_after_s = retry_after_s
        super().__init__(str(error))


class ODataReader:
    """Reads pages, several at once; a server that asks for patience gets it from all of them."""

    def __init__(self, timeout_s: float, retries: int, parallel: int) -> None:
        """`timeout_s`: without a byte arriving."""
        self._timeout = aiohttp.ClientTimeout(total=10 * timeout_s, connect=timeout_s, sock_read=timeout_s)
        self._retries = retries
        self._parallel = parallel
        self._not_before = 0.0
        """Monotonic clock."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            trust_env=True,
            connector=aiohttp.TCPConnector(limit=self._parallel),
            headers={"User-Agent": "thresher", "Accept": "application/json"},
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def page(self, url: str) -> Page:
        """The page at an encoded URL; raises HttpError."""
        attempt = 0
        while True:
            await self._patience()
            try:
                return await self._read(url)
            except _Refusal as refusal:
                attempt += 1
                if attempt > self._retries:
                    raise refusal.error from None
                wait = _backoff_s(attempt) if refusal.retry_after_s is None else min(refusal.retry_after_s, _LONGEST_WAIT_S)
                if refusal.error.status == 429:
                    self._not_before = max(self._not_before, time.monotonic() + wait)
                else:
                    await asyncio.sleep(wait)

    async def _patience(self) -> None:
        """Waits as long as the server asked any of the readers to; then not all of them at once."""
        while (wait := self._not_before - time.monotonic()) > 0:  # noqa: ASYNC110 - no event ends it
            await asyncio.sleep(wait * (1 + 0.2 * random.random()))  # noqa: S311 - nothing secret

    async def _read(self, url: str) -> Page:
        where = _shown(url)
        try:
            async with self._session.get(URL(url, encoded=True), allow_redirects=False) as answer:
                body = await _body(answer, where)
                status, headers = answer.status, answer.headers
        except TimeoutError:
            raise _Refusal(HttpError(f"{where}: no answer in time", None)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _Refusal(HttpError(f"{where}: {' '.join(str(error).split())[:200] or type(error).__name__}", None)) from None
        if 300 <= status < 400:
            target = urlsplit(urljoin(url, headers.get("Location", "")))
            raise HttpError(
                f"{where}: HTTP {status} leads to {target.scheme}://{target.hostname}{target.path}: configure that address", status
            )
        if status != 200:
            failure = HttpError(f"{where}: HTTP {status}{_reason(body)}", status)
            raise _Refusal(failure, _retry_after_s(headers.get("Retry-After", ""))) if status in _RETRIED else failure
        return await in_thread(lambda _: _page(body, url))


def _page(body: bytes, url: str) -> Page:
    where = _shown(url)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        kind = "HTML" if body.lstrip()[:1] == b"<" else "something else"
        raise HttpError(f"{where}: the answer is not JSON but {kind}: {_text(body)[:80]!r}", 200) from None
    products = document.get("value") if isinstance(document, dict) else None
    if not isinstance(products, list):
        raise HttpError(f"{where}: the answer is not OData: it has no list 'value'{_reason(body)}", 200)
    return Page(products, _next_url(text_of(document, "@odata.nextLink"), url))


def _next_url(link: str, url: str) -> str:
    """Where the next page is: `link` as the server gives it, but with our scheme and port. Raises HttpError if it is on another host."""
    if not link:
        return ""
    here = urlsplit(url)
    try:
        there = urlsplit(urljoin(url, link))
        same = there.hostname == here.hostname and there.scheme in ("http", "https")
    except ValueError:
        same = False
    if not same:
        raise HttpError(f"{_shown(url)}: its next page is not on the same host: {_shown(link)[:200]}", 200)
    return urlunsplit((here.scheme, here.netloc, there.path, there.query, ""))


async def _body(answer: aiohttp.ClientResponse, where: str) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(2**18):
        body += chunk
        if len(body) > _MAX_BYTES:
            raise HttpError(f"{where}: the answer is larger than {_MAX_BYTES // 2**20} MB", answer.status)
    return bytes(body)


def _reason(body: bytes) -> str:
    """What an error document says: `{"detail": …}` with a text, an object or a list of complaints; of HTML its text."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        text = _text(body)
    else:
        found = document
        for key in ("detail", "error", "message"):
            if isinstance(found, dict) and key in found:
                found = found[key]
        complaints = (
            [entry.get("msg", entry) if isinstance(entry, dict) else entry for entry in found] if isinstance(found, list) else [found]
        )
        text = "; ".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in complaints if entry not in (None, {}))
    text = " ".join(text.split())[:300]
    return f": {text}" if text else ""


def _text(body: bytes) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", body[:2000].decode("utf-8", "replace")).split())


def _shown(url: str) -> str:
    """Without query and user, where long filters and secrets may stand."""
    return re.sub(r"(?<=//)[^/@\s]+@", "", url.partition("?")[0])


def _backoff_s(attempt: int) -> float:
    return min(0.5 * 2.0**attempt, _LONGEST_BACKOFF_S) * (0.5 + 0.5 * random.random())  # noqa: S311 - nothing secret


def _retry_after_s(text: str) -> float | None:
    """Seconds, or a date; None for anything else."""
    if re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
