"""Tasks end when they are cancelled, whatever a library does with the cancellation."""

from __future__ import annotations

import asyncio

import pytest

from common.tasks import heeding_cancellation, stop_tasks


async def _request(answer: asyncio.Future[str]) -> str:
    """As `asyncio.wait_for` before Python 3.12: when answer and cancellation come together, the answer wins."""
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        return "the answer"


async def test_a_swallowed_cancellation_is_heeded() -> None:
    reached = []

    async def work() -> None:
        with heeding_cancellation():
            reached.append(await _request(asyncio.get_running_loop().create_future()))
        reached.append("further")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached == ["the answer"]


async def test_a_time_limit_ends_what_swallows_it() -> None:
    async def for_ever() -> None:
        while True:
            with heeding_cancellation():
                await _request(asyncio.get_running_loop().create_future())

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(for_ever(), 0.01)


async def test_errors_and_values_pass() -> None:
    with pytest.raises(ValueError, match="as it was"), heeding_cancellation():
        raise ValueError("as it was")
    with heeding_cancellation():
        answer = "a value"
    assert answer == "a value"


async def test_tasks_that_swallow_a_cancellation_are_cancelled_again() -> None:
    swallowed = []

    async def work() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed.append(1)
                if len(swallowed) == 2:
                    raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await stop_tasks([task])
    assert task.done()
    assert len(swallowed) == 2
