"""Writing what several connections receive at once: one write after the other, while the connections go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial as bound

from common.threads import Stop, in_thread
from downloader.transfer.partial import Partial

_WAITING_BYTES = 4 * 2**20
"""Received but not written, at most: so much memory it takes, and so much is lost when the process is killed."""


class WriteError(Exception):
    """The disk did not take what came, or who watches does not want more; `error` says why."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


@dataclass(frozen=True)
class _Batch:
    offset: int
    blocks: Sequence[bytes]
    size: int


class Writer:
    """Of one partial file. After an error nothing more is written: bytes that were taken may be missing, as the partial file says."""

    def __init__(self, partial: Partial, written: Callable[[int], None]) -> None:
        """`written` is told how many bytes are newly there."""
        self._partial = partial
        self._written = written
        self._batches: list[_Batch] = []
        self._waiting = 0
        self._error: Exception | None = None
        self._task: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()

    async def put(self, offset: int, blocks: Sequence[bytes], size: int) -> None:
        """Take blocks to be written one after the other; returns when there is room for more. Raises WriteError."""
        while self._waiting and self._waiting + size > _WAITING_BYTES and self._error is None:
            await self._progress.wait()
        if self._error is not None:
            raise WriteError(self._error)
        self._batches.append(_Batch(offset, blocks, size))
        self._waiting += size
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())

    async def flush(self) -> None:
        """Wait until all is written, also when cancelled: nobody closes the file under a thread that writes. Raises WriteError."""
        cancelled: asyncio.CancelledError | None = None
        while self._task is not None and not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        if self._error is not None:
            raise WriteError(self._error)

    async def _write(self) -> None:
        while self._batches and self._error is None:
            batches, self._batches = self._batches, []
            size = sum(batch.size for batch in batches)
            try:
                await in_thread(bound(_write_batches, self._partial, batches))
                for batch in batches:
                    self._partial.add(batch.offset, batch.offset + batch.size)
                self._written(size)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait for room are to be told
                self._error = error
            self._waiting -= size
            self._progress.set()
            self._progress = asyncio.Event()


def _write_batches(partial: Partial, batches: Sequence[_Batch], _stop: Stop) -> None:
    for batch in batches:
        partial.write(batch.offset, batch.blocks)
