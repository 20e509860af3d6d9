"""The way of a file: from its link, by way of a partial file, checked, to its name; or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial as bound
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

import aiohttp

from common.errors import ThresherError
from common.resolver import GuardedResolver
from common.storage.directory import disk_errors
from common.threads import Stop, in_thread
from common.urls import check_url, local_path, shown_url
from downloader.checksums import Checksum, parse_checksum
from downloader.copying import copy_file
from downloader.transfer.access import OPEN, Access
from downloader.transfer.area import Area, check_room, open_partial
from downloader.transfer.digests import Digests
from downloader.transfer.http import HttpClient, HttpSource
from downloader.transfer.pace import BytesCallback, Meter
from downloader.transfer.partial import Partial
from downloader.transfer.policy import DEFAULT, Policy
from downloader.transfer.pull import Pull
from downloader.transfer.reading import RangeFile
from downloader.transfer.s3 import S3Access, S3Source
from downloader.transfer.source import Answer, Source
from downloader.verification import CorruptError, check_file

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_BLOCK = 4 * 2**20


@dataclass(frozen=True)
class Expectation:
    """What is known of a file before it is fetched."""

    size: int | None = None
    """Bytes."""
    checksum: str | None = None
    """Multihash or plain hexadecimal."""
    checksums: tuple[Checksum, ...] = ()
    """Further ones, all of which it must have."""

    @property
    def all_checksums(self) -> tuple[Checksum, ...]:
        parsed = parse_checksum(self.checksum)
        return tuple(dict.fromkeys([*([parsed] if parsed else []), *self.checksums]))


class Transfer:
    """Fetches files for one provider; an async context manager around its connections.

    Files that were whole when the context ended with an error need not be fetched again by the next Transfer of the same `scope`.
    """

    def __init__(
        self,
        provider: str,
        *,
        allowed: Sequence[str],
        s3: Callable[[], S3Client],
        access: Access = OPEN,
        area: Area | None = None,
        scope: str = "",
        policy: Policy = DEFAULT,
        timeout_s: float | None = None,
        requester_pays: bool = False,
    ) -> None:
        """`area` keeps what is not whole across restarts, under `scope`, as the name of the product. `timeout_s` is for the policy."""
        policy = replace(policy, timeout_s=timeout_s) if timeout_s is not None else policy
        self._provider = provider
        self._allowed = allowed
        self._access = access
        self._area = area
        self._scope = scope
        self._policy = policy
        self._s3 = S3Access(s3, access, policy, requester_pays)
        self._slots = asyncio.Semaphore(policy.connections)
        self._client: HttpClient | None = None
        self._whole: list[Partial] = []
        """Those that stay until the end, closed: of a product there may be thousands."""

    async def __aenter__(self) -> Self:
        self._client = HttpClient(self._provider, self._access, self._allowed, self._policy, GuardedResolver("href"), aiohttp.CookieJar())
        await self._sweep()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            await in_thread(lambda _: _forget(self._whole))
        self._whole = []
        await self._sweep()

    async def fetch(
        self,
        url: str,
        target: Path,
        *,
        expected: Expectation = Expectation(),
        progress: BytesCallback = lambda _done, _total: None,
        field: str = "href",
        content: bool = True,
    ) -> None:
        """Write what `url` holds to the file `target`; `content`: also look into archives, SAFE products and rasters.

        Raises UserError for a link that is not allowed, TemporaryError where trying again may help (network, busy server, full
        disk), ThresherError where it will hardly (missing, refused, other content than expected).
        """
        check_url(url, self._allowed, field)
        path = local_path(url)
        if path is not None:
            await self._copy(Path(path), url, target, expected, progress, field, content=content)
            return
        source = self._source(url, field)
        async with self._partial(url, target) as partial:
            file = _File(source, partial, target, expected, Meter(progress, shown_url(url)), content=content)
            await self._fetch(file)
            await in_thread(lambda _: partial.hand_out(target))

    async def open(self, url: str, *, field: str = "href") -> RangeFile:
        """The file at a link (not a local one), to be read in parts. Raises NoRangesError, else as `fetch` does."""
        check_url(url, self._allowed, field)
        return await RangeFile.open(self._source(url, field), self._access, self._policy)

    def _source(self, url: str, field: str) -> Source:
        if url.startswith("s3://"):
            return S3Source(url, self._s3)
        if self._client is None:
            raise RuntimeError("a Transfer is to be entered before it is used")
        return HttpSource(url, self._client, field)

    @contextlib.asynccontextmanager
    async def _partial(self, url: str, target: Path) -> AsyncIterator[Partial]:
        """Left behind for the next try where it fails; kept until the end of this Transfer where it does not."""
        partial = await in_thread(lambda _: open_partial(self._area, self._scope, url, target))
        try:
            yield partial
            self._whole.append(partial)
        finally:
            await in_thread(lambda _: partial.leave())

    async def _fetch(self, file: _File) -> None:
        """Fetch and check; once more from zero, in one go, where what came is not what it should be."""
        partial = file.partial
        checksums = file.expected.all_checksums
        if partial.done.total and not partial.version.is_named and not checksums:
            await in_thread(lambda _: partial.reset())  # a change would go unnoticed
        resumed = partial.done.total
        digests = Digests(partial)
        pull = Pull(file.source, partial, self._access, self._policy, self._slots, file.meter)
        begun = bound(self._begin, file, digests, checksums)
        for again in (False, True):
            following = asyncio.create_task(digests.follow())
            try:
                await pull.run(begun, size=file.expected.size, ranged=not again)
            finally:
                following.cancel()
                await asyncio.wait([following])
            try:
                await _check(file, digests)
                break
            except CorruptError as error:
                await in_thread(lambda _: partial.reset())
                if again or not error.may_be_the_way:
                    raise
                log.warning("%s; fetching it again from the beginning", error)
        file.meter.tell(partial.done.total, partial.version.size)
        seconds, received = file.meter.seconds, file.meter.received
        log.info(
            "fetched %s: %d bytes (%d of them before) in %.1f s, %.1f MB/s",
            *(shown_url(file.source.url), partial.done.total, resumed, seconds, received / max(seconds, 1e-3) / 1e6),
        )

    async def _begin(self, file: _File, digests: Digests, checksums: Sequence[Checksum], answer: Answer) -> None:
        """Before the first bytes are taken."""
        size = answer.version.size
        _check_size(file.source.url, size, file.expected.size)
        needed = (size if size is not None else file.expected.size or 0) - file.partial.done.total
        await in_thread(lambda _: check_room(file.partial.path.parent, needed, self._policy.reserve_bytes, self._area))
        digests.expect(dict.fromkeys([*checksums, *answer.checksums]))

    async def _copy(
        self, source: Path, url: str, target: Path, expected: Expectation, progress: BytesCallback, field: str, *, content: bool
    ) -> None:
        # A link in an allowed folder must not lead out of it.
        real = await in_thread(lambda _: str(source.resolve()))
        check_url(real, [*self._allowed, *_real_folders(self._allowed)], field)

        def work(stop: Stop) -> None:
            if not source.is_file():
                raise ThresherError(f"{shown_url(url)} does not exist")
            with disk_errors(f"{source} cannot be copied"):
                size = source.stat().st_size
                _check_size(url, size, expected.size)
                check_room(target.parent, size, self._policy.reserve_bytes, self._area)
                copy_file(source, target, stop)
                _check_copy(url, target, expected, stop, content=content)
            progress(size, size)

        await in_thread(work)

    async def _sweep(self) -> None:
        area = self._area
        if area is not None:
            await in_thread(lambda _: area.sweep())


@dataclass(frozen=True)
class _File:
    """A file on its way."""

    source: Source
    partial: Partial
    target: Path
    expected: Expectation
    meter: Meter
    content: bool

    @property
    def name(self) -> str:
        """With the suffix that says what it holds."""
        return _name(self.source.url, self.target)


async def _check(file: _File, digests: Digests) -> None:
    """Raises CorruptError for a file that is not what it should be."""
    url = file.source.url
    _check_size(url, file.partial.version.size, file.expected.size)
    wrong = await digests.wrong()
    _compare(url, wrong)
    if file.content:
        proven = bool(file.expected.all_checksums)
        await in_thread(lambda stop: check_file(file.partial.path, file.name, shown_url(url), stop, proven=proven))


def _check_copy(url: str, path: Path, expected: Expectation, stop: Stop, *, content: bool) -> None:
    """Of a file that is there under its name already; it is removed where it is not what was expected."""
    try:
        hashers = {checksum: checksum.hasher() for checksum in expected.all_checksums}
        with path.open("rb") as file:
            while hashers and (block := file.read(_BLOCK)):
                stop.check()
                for hasher in hashers.values():
                    hasher.update(block)
        _compare(url, [(checksum, found) for checksum, hasher in hashers.items() if (found := hasher.hexdigest()) != checksum.digest])
        if content:
            check_file(path, _name(url, path), shown_url(url), stop, proven=True)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _compare(url: str, wrong: Iterable[tuple[Checksum, str]]) -> None:
    for checksum, found in wrong:
        raise CorruptError(f"{shown_url(url)}: its {checksum.algorithm} is {found} instead of the {checksum.digest} that is known of it")


def _check_size(url: str, size: int | None, expected: int | None) -> None:
    if size is not None and expected is not None and size != expected:
        raise ThresherError(f"{shown_url(url)} has {size} bytes instead of the {expected} its catalogue says")


def _forget(partials: Iterable[Partial]) -> None:
    for partial in partials:
        partial.forget()


def _name(url: str, target: Path) -> str:
    return target.name if target.suffix else PurePosixPath(unquote(urlsplit(url).path)).name


def _real_folders(allowed: Sequence[str]) -> list[str]:
    """The allowed folders as they really are: an allowed folder may itself be a link."""
    return [os.path.realpath(path) for prefix in allowed if (path := local_path(prefix))]
