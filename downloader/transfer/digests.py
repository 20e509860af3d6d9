"""Hashes of a file that is still arriving: they follow behind the bytes that are there without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial as bound

from common.threads import Stop, in_thread
from downloader.checksums import Checksum, Hasher
from downloader.transfer.partial import Partial

_BLOCK = 2**20
_LOOK_EVERY_S = 0.2
_WORTH_BYTES = 8 * 2**20


class Digests:
    """The hashes of one partial file, read back from its disk: so they prove what is there, not what came."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._run = _Run({})
        self._turn = asyncio.Lock()

    def expect(self, checksums: Iterable[Checksum]) -> None:
        """Begin anew, for these."""
        self._run = _Run({checksum: checksum.hasher() for checksum in checksums})

    async def follow(self) -> None:
        """Hash what is there, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._partial.done.frontier - self._run.hashed >= _WORTH_BYTES:
                await self._advance()

    async def wrong(self) -> list[tuple[Checksum, str]]:
        """Of the whole file: the checksums it does not have, each with what it has instead."""
        await self._advance()
        return [(checksum, found) for checksum, hasher in self._run.hashers.items() if (found := hasher.hexdigest()) != checksum.digest]

    async def _advance(self) -> None:
        async with self._turn:
            if self._run.hashers:
                await in_thread(bound(_hash, self._run, self._partial, self._partial.done.frontier))


@dataclass
class _Run:
    """Hashes up to a byte."""

    hashers: dict[Checksum, Hasher]
    hashed: int = 0


def _hash(run: _Run, partial: Partial, until: int, stop: Stop) -> None:
    while run.hashed < until:
        stop.check()
        block = partial.read(run.hashed, min(_BLOCK, until - run.hashed))
        if not block:
            return
        for hasher in run.hashers.values():
            hasher.update(block)
        # With every block: who is stopped here goes on here.
        run.hashed += len(block)
