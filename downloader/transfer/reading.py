"""Parts of a file elsewhere, read into memory by ranges of one version of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Self

from common.errors import TemporaryError, ThresherError
from common.urls import shown_url
from downloader.transfer.access import Access
from downloader.transfer.policy import Policy
from downloader.transfer.source import BusyError, ChangedError, RangesUnusableError, RefusedError, Source, Version

_MAX_REFUSALS = 3


class NoRangesError(ThresherError):
    """The server gives out files only whole."""


class RangeFile:
    """A file of known size (a `common.remote_zip.RemoteFile`)."""

    def __init__(self, source: Source, access: Access, policy: Policy) -> None:
        self.where = shown_url(source.url)
        self.size = 0
        self.connections = policy.connections
        self._source = source
        self._access = access
        self._policy = policy
        self._version: Version | None = None

    @classmethod
    async def open(cls, source: Source, access: Access, policy: Policy) -> Self:
        """Raises NoRangesError, else as `Transfer.fetch` does."""
        file = cls(source, access, policy)
        await file.read(0, 1)
        return file

    async def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop); what came before a connection was cut is not asked for again."""
        content = bytearray()
        failures = refusals = 0
        while len(content) < stop - start:
            before = len(content)
            try:
                await self._read(start + before, stop, content)
                if len(content) == before:
                    raise TemporaryError(f"{self.where}: nothing came of a range")
            except ChangedError as error:
                raise TemporaryError(f"{self.where} changed while it was read") from error
            except RangesUnusableError as error:
                raise NoRangesError(f"{self.where} cannot be read in parts: its server does not answer ranges") from error
            except RefusedError as error:
                refusals += 1
                if refusals > _MAX_REFUSALS or not await self._access.refused(error.url, error.status):
                    raise
            except TemporaryError as error:
                failures = 1 if len(content) > before else failures + 1
                wait = max(self._policy.backoff(failures), error.retry_after_s or 0.0)
                if isinstance(error, BusyError):
                    await self._access.told_to_wait(error.url, wait)
                if failures > self._policy.retries or wait > self._policy.patience_s:
                    raise
                await asyncio.sleep(wait)
        return bytes(content)

    async def _read(self, start: int, stop: int, content: bytearray) -> None:
        async with self._source.line() as line, line.open((start, stop), self._version) as answer:
            if not answer.is_range or answer.version.size is None:
                raise ChangedError if self._version is not None else RangesUnusableError
            if self._version is None:
                self._version, self.size = answer.version, answer.version.size
            elif self._version.differs(answer.version):
                raise ChangedError
            async with aclosing(answer.chunks) as chunks:
                async for chunk in chunks:
                    content += chunk
            if answer.stop is None or start + (stop - start) < answer.stop:
                raise RangesUnusableError
