"""Blocking work beside the event loop: in threads of their own that end when the task that waits for them is cancelled."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

_THREADS = 32

# Not the loop's default executor: that one also resolves host names, and long transfers would starve it.
_executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="blocking")


class StoppedError(Exception):
    """The task that waits for this thread was cancelled."""


class Stop:
    """Tells a thread that nobody waits for it any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Raises StoppedError once the waiting task is cancelled; call it between blocks of work."""
        if self._event.is_set():
            raise StoppedError


NEVER = Stop()
"""For callers that run blocking work in the foreground."""


async def in_thread(work: Callable[[Stop], Result]) -> Result:
    """The result of `work`, run in a thread.

    Cancelling stops `work` at its next `Stop.check` and waits until it has ended, so that nobody writes into a folder that is
    being removed.
    """
    stop = Stop()
    context = contextvars.copy_context()

    def run() -> Result:
        stop.check()
        return work(stop)

    future = asyncio.get_running_loop().run_in_executor(_executor, context.run, run)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await _ended(future)
        raise


async def _ended(future: asyncio.Future[Result]) -> None:
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue  # the caller raises it once the thread has let go of its files
    if not future.cancelled():
        future.exception()
