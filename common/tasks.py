"""Ending background tasks, surely."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

_AGAIN_S = 1.0


async def stop_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end; a cancellation that a library swallows (`asyncio.wait_for` before Python 3.12) is repeated."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
