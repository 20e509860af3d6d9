"""Ending tasks, surely: also where a library swallows the cancellation, as `asyncio.wait_for` may before Python 3.12."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator

_AGAIN_S = 1.0


async def stop_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end; a cancellation that is swallowed is repeated."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)


@contextlib.contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Around calls of a library: a cancellation that came during them and was swallowed is raised at their end."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
