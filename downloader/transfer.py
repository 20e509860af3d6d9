"""One file from a link to a local file: HTTP(S), S3 or a local path; whole, checked and bounded, or not at all."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from common.errors import TemporaryError, ThresherError, UserError
from common.storage import PART_PREFIX
from common.storage.directory import disk_errors
from common.storage.s3 import download_object
from common.threads import Stop, in_thread
from common.urls import check_url, is_private, local_path, names_host, shown_url
from downloader.checksums import Checksum, parse_checksum
from downloader.copying import copy_file

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BytesCallback = Callable[[int, int | None], None]
"""(bytes so far, bytes expected or None)."""

_MAX_REDIRECTS = 8
_WRITE_BYTES = 4 * 2**20
_RESERVE_BYTES = 64 * 2**20
"""Left free on the disk of working files."""
_BUSY = {408, 421, 423, 425, 429}
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True)
class Expectation:
    """What is known of a file before it is fetched."""

    size: int | None = None
    """Bytes."""
    checksum: str | None = None
    """Multihash or plain hexadecimal."""


class Transfer:
    """Fetches files for one provider; an async context manager around its connections."""

    def __init__(self, provider: str, *, allowed: Sequence[str], timeout_s: float, s3: Callable[[], S3Client]) -> None:
        self._provider = provider
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._s3 = s3
        self._session: aiohttp.ClientSession | None = None
        self._resolver = _GuardedResolver()

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(30.0, self._timeout_s), sock_read=self._timeout_s)
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

    async def fetch(
        self,
        url: str,
        target: Path,
        *,
        expected: Expectation = Expectation(),
        progress: BytesCallback = lambda _done, _total: None,
        field: str = "href",
    ) -> None:
        """Write what `url` holds to the file `target`.

        Raises UserError for a link that is not allowed, TemporaryError where trying again may help (network, busy server, full
        disk), ThresherError where it will hardly (missing, refused, other content than expected).
        """
        check_url(url, self._allowed, field)
        path = local_path(url)
        if path is not None:
            await self._fetch_local(Path(path), url, target, expected, progress, field)
        elif url.startswith("s3://"):
            await self._fetch_s3(url, target, expected, progress)
        else:
            await self._fetch_http(url, target, expected, progress)

    async def _fetch_local(self, source: Path, url: str, target: Path, expected: Expectation, progress: BytesCallback, field: str) -> None:
        # A link in an allowed folder must not lead out of it.
        real = await in_thread(lambda _: str(source.resolve()))
        check_url(real, [*self._allowed, *_real_folders(self._allowed)], field)

        def work(stop: Stop) -> None:
            if not source.is_file():
                raise ThresherError(f"{shown_url(url)} does not exist")
            with disk_errors(f"{source} cannot be copied"):
                size = source.stat().st_size
                _check_size(url, size, expected)
                _check_room(target, size)
                copy_file(source, target, stop)
                _check_content(url, target, expected, stop)
            progress(size, size)

        await in_thread(work)

    async def _fetch_s3(self, url: str, target: Path, expected: Expectation, progress: BytesCallback) -> None:
        bucket, _, key = url.removeprefix("s3://").partition("/")

        def work(stop: Stop) -> None:
            if expected.size is not None:
                _check_room(target, expected.size)
            count = _Count(progress, expected.size)
            download_object(self._s3(), bucket, key, target, stop, uri=url, progress=count.add)
            _check_content(url, target, expected, stop)

        await in_thread(work)

    async def _fetch_http(self, url: str, target: Path, expected: Expectation, progress: BytesCallback) -> None:
        try:
            async with self._open(url) as response:
                total = response.content_length
                _check_size(url, total, expected)
                size = total if total is not None else expected.size
                if size is not None:
                    await in_thread(lambda _: _check_room(target, size))
                await self._receive(response, url, target, expected, lambda done: progress(done, size))
        except aiohttp.ClientSSLError as error:
            raise ThresherError(f"{shown_url(url)}: the server cannot be trusted: {error}") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise ThresherError(f"{shown_url(url)} is not a URL") from error
        except TimeoutError as error:
            raise TemporaryError(f"{shown_url(url)}: nothing arrived for {self._timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise TemporaryError(f"{shown_url(url)}: the connection failed: {_plain(error)}") from error

    @asynccontextmanager
    async def _open(self, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer at the end of the redirects; every one of them must be allowed."""
        if self._session is None:
            raise RuntimeError("a Transfer is to be entered before it is used")
        current = url
        for _ in range(_MAX_REDIRECTS + 1):
            if names_host(current, self._allowed):
                self._resolver.trusted.add(urlsplit(current).hostname or "")
            response = await self._session.get(current, allow_redirects=False)
            try:
                if response.status not in _REDIRECTS:
                    self._check_status(response, current)
                    yield response
                    return
                location = response.headers.get("Location", "")
            finally:
                response.close()
            if not location:
                raise ThresherError(f"{shown_url(current)} redirects to nowhere (HTTP {response.status})")
            current = urljoin(current, location)
            check_url(current, self._allowed, f"redirect of {shown_url(url)}")
        raise ThresherError(f"{shown_url(url)} redirects more than {_MAX_REDIRECTS} times")

    def _check_status(self, response: aiohttp.ClientResponse, url: str) -> None:
        status, where = response.status, shown_url(url)
        if status == 200:
            return
        if status in (404, 410):
            raise ThresherError(f"{where} does not exist (HTTP {status})")
        if status in (401, 403):
            raise ThresherError(f"{where} refuses access (HTTP {status}): check the account of provider '{self._provider}'")
        if status in _BUSY or status >= 500:
            raise TemporaryError(f"{where} is busy (HTTP {status})")
        raise ThresherError(f"{where} answers HTTP {status} {response.reason or ''}".rstrip())

    async def _receive(
        self, response: aiohttp.ClientResponse, url: str, target: Path, expected: Expectation, progress: Callable[[int], None]
    ) -> None:
        """Write the body to a name of its own, check it, then give it its name."""
        part = target.with_name(f"{PART_PREFIX}{target.name}")
        checksum = parse_checksum(expected.checksum)
        writer = _Writer(part, checksum)
        try:
            await in_thread(writer.open)
            pending: list[bytes] = []
            waiting = 0
            async for chunk in response.content.iter_any():
                pending.append(chunk)
                waiting += len(chunk)
                if waiting >= _WRITE_BYTES:
                    await in_thread(partial(writer.write, pending))
                    pending, waiting = [], 0
                    progress(writer.size)
                    if expected.size is not None and writer.size > expected.size:
                        break
            await in_thread(partial(writer.write, pending))
            progress(writer.size)
            _check_size(url, writer.size, expected)
            writer.check(url)
            await in_thread(lambda _: writer.keep(target))
        finally:
            writer.close()


class _Writer:
    """A file that grows under a temporary name, hashed while it does; removed on `close` unless kept."""

    def __init__(self, part: Path, checksum: Checksum | None) -> None:
        self.size = 0
        self._part = part
        self._checksum = checksum
        self._hasher = checksum.hasher() if checksum else None
        self._file: IO[bytes] | None = None

    def open(self, _stop: Stop) -> None:
        with disk_errors(f"{self._part} cannot be written"):
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb")

    def write(self, chunks: Sequence[bytes], _stop: Stop) -> None:
        assert self._file is not None
        if shutil.disk_usage(self._part.parent).free < _RESERVE_BYTES:
            raise TemporaryError(f"{self._part} cannot be written: the disk is full")
        with disk_errors(f"{self._part} cannot be written"):
            for chunk in chunks:
                self._file.write(chunk)
                self.size += len(chunk)
                if self._hasher:
                    self._hasher.update(chunk)

    def check(self, url: str) -> None:
        if self._checksum and self._hasher:
            _compare(url, self._checksum, self._hasher.hexdigest())

    def keep(self, target: Path) -> None:
        assert self._file is not None
        with disk_errors(f"{target} cannot be written"):
            self._file.close()
            self._part.replace(target)

    def close(self) -> None:
        try:
            if self._file is not None:
                self._file.close()
        except OSError:
            pass  # what could not be written was told already
        finally:
            self._part.unlink(missing_ok=True)


class _Count:
    """Adds up the bytes that several threads report."""

    def __init__(self, progress: BytesCallback, total: int | None) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._progress = progress
        self._total = total

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            done = self._done
        self._progress(done, self._total)


class _GuardedResolver(AbstractResolver):
    """Resolves host names, and refuses private addresses but for the hosts that the configuration names."""

    def __init__(self) -> None:
        # Behind a proxy it is the proxy whose name is resolved.
        self.trusted = {host for proxy in getproxies().values() if (host := urlsplit(proxy).hostname)}
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if host not in self.trusted and any(is_private(entry["host"]) for entry in found):
            raise UserError(f"{host} is a private host: limits.allowed_urls must name it in full", field="href")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _check_size(url: str, size: int | None, expected: Expectation) -> None:
    if size is not None and expected.size is not None and size != expected.size:
        raise ThresherError(f"{shown_url(url)} has {size} bytes instead of the {expected.size} its catalogue says")


def _check_room(target: Path, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if size + _RESERVE_BYTES > free:
        raise TemporaryError(f"{size} bytes are to be fetched, but only {free} are free in {target.parent}: the disk is full")


def _check_content(url: str, path: Path, expected: Expectation, stop: Stop) -> None:
    """Of a file that is there under its name already; it is removed where it is not what was expected."""
    try:
        _check_size(url, path.stat().st_size, expected)
        checksum = parse_checksum(expected.checksum)
        if checksum is None:
            return
        hasher = checksum.hasher()
        with path.open("rb") as file:
            while block := file.read(_WRITE_BYTES):
                stop.check()
                hasher.update(block)
        _compare(url, checksum, hasher.hexdigest())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _compare(url: str, checksum: Checksum, digest: str) -> None:
    if digest != checksum.digest:
        raise ThresherError(f"{shown_url(url)}: its {checksum.algorithm} is {digest} instead of the {checksum.digest} its catalogue says")


def _real_folders(allowed: Sequence[str]) -> list[str]:
    """The allowed folders as they really are: an allowed folder may itself be a link."""
    return [os.path.realpath(path) for prefix in allowed if (path := local_path(prefix))]


def _plain(error: BaseException) -> str:
    return str(error) or type(error).__name__
