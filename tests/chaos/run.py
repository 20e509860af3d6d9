"""One run of the chaos suite: a seed, a stack, its faults, its end."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from chaos.checks import Findings, check
from chaos.faults import Faults, deck
from chaos.stack import DOWNLOADERS, PROCESSORS, Stack, running_stack
from chaos.workload import LONG, SHORT, Size

_LEFT = """SELECT count(*) FILTER (WHERE status NOT IN ('DONE', 'FAILED', 'RETRY')) AS left
           FROM (SELECT status FROM scene UNION ALL SELECT status FROM tile) AS item"""


@dataclass(frozen=True)
class Plan:
    size: Size = LONG
    share: float = 1.0
    """Of the deck of faults."""
    gaps_s: tuple[float, float] = (0.4, 4.0)
    """Between two faults."""
    limit_s: float = 240.0
    """For the work to be done."""
    settle_s: float = 30.0
    """After it, for deletions and late results."""


SHORT_PLAN = Plan(size=SHORT, share=0.4, gaps_s=(0.3, 1.5), limit_s=90.0)


@dataclass
class Outcome:
    seed: int
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)


def play(seed: int, plan: Plan, report: Callable[[str], None], *, keep: bool = False) -> Outcome:
    """From the main thread."""
    return asyncio.run(_play(seed, plan, report, keep=keep))


async def _play(seed: int, plan: Plan, report: Callable[[str], None], *, keep: bool) -> Outcome:
    rng = random.Random(seed)
    outcome = Outcome(seed)
    async with running_stack(plan.size) as stack:
        await stack.submit()
        begun = time.monotonic()

        async def left() -> int:
            return int((await stack.fetch(_LEFT))[0]["left"])

        async def finished() -> bool:
            return await left() == 0

        def told(what: str) -> None:
            report(f"{time.monotonic() - begun:6.1f} s  {what}")

        faults = Faults(stack, rng, told)
        await faults.play(deck(rng, share=plan.share), plan.gaps_s, finished)
        outcome.faults, outcome.skipped = faults.done, faults.skipped
        told(f"faults over, {await left()} items left")
        try:
            async with asyncio.timeout(plan.limit_s):
                while not await finished():
                    await asyncio.sleep(0.25)
        except TimeoutError:
            outcome.findings.broken.append(f"{await left()} items did not end in {plan.limit_s:.0f} s")
        outcome.seconds = time.monotonic() - begun
        told("all done" if not outcome.findings.broken else outcome.findings.broken[-1])
        await _settled(stack, plan.settle_s)
        async with aiohttp.ClientSession() as http:
            silent = await stack.silent(http)
        outcome.findings.check(not silent, "every service is ready again", silent)
        told("settled")
        workers = (*DOWNLOADERS, *PROCESSORS)
        for name in workers:
            stack.fleet.slots[name].not_before = float("inf")
        await asyncio.sleep(0)
        stack.fleet.stop(workers)
        await check(stack, outcome.findings)
        stack.keep = keep and bool(outcome.findings.broken)
        outcome.findings.counts["restarts"] = sum(slot.starts - 1 for slot in stack.fleet.slots.values())
    return outcome


async def _settled(stack: Stack, limit_s: float) -> None:
    """Wait until deletions are carried out and every process has come back, or the time is over; the checks tell what is missing."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        rows = await stack.fetch(
            """SELECT (SELECT count(*) FROM deletion) + (SELECT count(*) FROM doubtful_tile)
                    + (SELECT count(*) FROM job WHERE state <> 'finished') AS left"""
        )
        if rows[0]["left"] == 0 and all(stack.fleet.is_up(name) for name in stack.fleet.slots):
            break
        await asyncio.sleep(0.25)
    await asyncio.sleep(1.0)
