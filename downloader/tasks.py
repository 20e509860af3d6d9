"""Several tasks that succeed or fail as one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable


async def gather_all(works: Iterable[Coroutine[object, object, None]]) -> None:
    """Run all at once; the first failure ends the others and is raised by itself."""
    tasks = [asyncio.create_task(work) for work in works]
    if not tasks:
        return
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if task in done:
            task.result()
