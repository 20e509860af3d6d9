"""The faults: what is done to the stack, when, to whom, all from one seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import nats
import nats.errors
from nats.js.errors import APIError

from chaos.stack import ACK_WAIT_S, CATALOGUES, DOWNLOADERS, NODES, POSTGRES, PROCESSORS, SCRATCH_MB, Stack
from common.messaging import JOBS

_DECK = {
    "kill catalogue": 3,
    "kill downloader": 2,
    "kill processor": 4,
    "kill node": 2,
    "kill leader": 2,
    "postgres fast": 1,
    "postgres crash": 1,
    "stall catalogue": 1,
    "stall downloader": 1,
    "stall processor": 3,
    "stall node": 1,
    "full disk": 2,
    "purge jobs": 2,
}
_WIPES = 0.3
"""The probability that all data of NATS are lost in a run."""


def deck(rng: random.Random, *, share: float = 1.0) -> list[str]:
    """The faults of a run in their order; `share` of the whole deck."""
    cards = [fault for fault, count in _DECK.items() for _ in range(count)]
    rng.shuffle(cards)
    cards = cards[: max(1, round(share * len(cards)))]
    if rng.random() < _WIPES:
        cards.insert(rng.randrange(len(cards)), "wipe nats")
    return cards


@dataclass
class Faults:
    """Plays a deck against a stack. Every fault is over when `play` returns."""

    stack: Stack
    rng: random.Random
    report: Callable[[str], None]
    done: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    async def play(self, cards: list[str], gaps_s: tuple[float, float], finished: Callable[[], Awaitable[bool]]) -> None:
        """Until the deck or the work is at its end."""
        running: set[asyncio.Task[None]] = set()
        for card in cards:
            # Drawn even when not used, so that the seed alone decides.
            pause, choice, length = self.rng.uniform(*gaps_s), self.rng.random(), self.rng.random()
            await asyncio.sleep(pause)
            if await finished():
                break
            task = asyncio.create_task(self._fault(card, choice, length))
            running.add(task)
            task.add_done_callback(running.discard)
        if running:
            await asyncio.gather(*running)

    async def _fault(self, card: str, choice: float, length: float) -> None:
        kind, _, what = card.partition(" ")
        fleet = self.stack.fleet
        names = {"catalogue": CATALOGUES, "downloader": DOWNLOADERS, "processor": PROCESSORS, "node": NODES}.get(what, ())
        name = names[int(choice * len(names))] if names else what
        self.report(f"{card} {name}")
        match kind, what:
            case "kill", "leader":
                await self._kill_leader()
            case "kill", _:
                fleet.kill(name, away_s=0.2 + 1.5 * length)
            case "stall", _:
                fleet.signal(name, signal.SIGSTOP)
                await asyncio.sleep(ACK_WAIT_S * (1.1 + length))
                fleet.signal(name, signal.SIGCONT)
            case "postgres", "fast":
                fleet.signal(POSTGRES, signal.SIGINT)
            case "postgres", _:
                fleet.signal(POSTGRES, signal.SIGQUIT)
            case "full", _:
                if not self.stack.can_fill:
                    self.skipped["full disk: no small disk can be mounted here"] += 1
                    return
                await self._fill(1.0 + 3 * length)
            case "purge", _:
                await self._purge()
            case "wipe", _:
                await self._wipe()
            case _:
                raise AssertionError(card)
        self.done[card] += 1

    async def _kill_leader(self) -> None:
        leader = ""
        with contextlib.suppress(nats.errors.Error, APIError, OSError):
            client = await self._client()
            try:
                info = await client.jetstream(timeout=2).stream_info(JOBS)
                leader = info.cluster.leader if info.cluster else ""
            finally:
                await client.close()
        self.stack.fleet.kill(leader or NODES[0], away_s=1.0)

    async def _purge(self) -> None:
        with contextlib.suppress(nats.errors.Error, APIError, OSError):
            client = await self._client()
            try:
                await client.jetstream(timeout=2).purge_stream(JOBS)
            finally:
                await client.close()

    async def _client(self) -> nats.aio.client.Client:
        async def quiet(_: Exception) -> None: ...

        return await nats.connect(self.stack.cluster.url.split(","), connect_timeout=2, max_reconnect_attempts=3, error_cb=quiet)

    async def _wipe(self) -> None:
        """All nodes lose all they have at once, as a deleted volume would."""
        for node in NODES:
            self.stack.fleet.kill(node, away_s=2.0)
        await asyncio.sleep(0.5)
        for node in self.stack.cluster.nodes:
            node.wipe()

    async def _fill(self, seconds: float) -> None:
        filler = self.stack.scratch / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            for _ in range(SCRATCH_MB * 16 + 1):
                file.write(bytes(2**16))
        with contextlib.suppress(OSError), (self.stack.scratch / "filler2").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(512))
        await asyncio.sleep(seconds)
        filler.unlink(missing_ok=True)
        (self.stack.scratch / "filler2").unlink(missing_ok=True)
