"""A worker that runs graphs: what it says at its start that it serves, and the process its steps start from."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence

from common.config import Settings
from common.errors import ConfigurationError, TemporaryError
from common.graph.containers import check_containers
from common.graph.document import EngineName
from common.graph.engines import snap_path
from common.graph.invocation import Surroundings
from common.graph.pool import StepPool, pools_are_possible

log = logging.getLogger(__name__)


async def serve_graphs(
    settings: Settings, packages: Sequence[str], serve: Callable[[StepPool | None], Awaitable[None]], *, preload: bool = True
) -> None:
    """Run `serve` with the pool for the steps of `packages`; they load while it starts, or, without `preload`, when one is first asked for.
    Where the system cannot fork steps, there is none.

    Raises ConfigurationError where this machine lacks what the worker is to serve, or the steps cannot be loaded.
    """
    await asyncio.to_thread(check_capabilities, settings)
    log.info("serving graphs that need: %s", ", ".join(settings.worker.capabilities))
    if not pools_are_possible():
        log.warning("steps start from an interpreter of their own: this system cannot fork them (pidfd_open, memfd_create)")
        await serve(None)
        return
    async with StepPool(packages, Surroundings.of(settings).environment()) as pool:
        serving = asyncio.ensure_future(serve(pool))
        loading = asyncio.ensure_future(_load(pool) if preload else asyncio.sleep(0))
        try:
            await asyncio.wait([serving, loading], return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await loading
            await serving
        finally:
            for task in (serving, loading):
                task.cancel()
            await asyncio.wait([serving, loading])


async def _load(pool: StepPool) -> None:
    try:
        await pool.load()
    except TemporaryError as error:
        log.warning("%s; it is tried again with the first step", error)


def check_capabilities(settings: Settings) -> None:
    """Raises ConfigurationError naming what `worker.capabilities` promises and this machine does not have."""
    for capability in settings.worker.capabilities:
        engines, _, memory_class = capability.partition("_")
        where = f"worker.capabilities has '{capability}', but"
        if memory_class and memory_class not in settings.graphs.memory_classes:
            raise ConfigurationError(f"{where} graphs.memory_classes does not say what '{memory_class}' is")
        if EngineName.SNAP in engines.split("-") and not os.access(gpt := snap_path(settings.graphs.snap_path), os.X_OK):
            raise ConfigurationError(f"{where} {gpt} is no program (graphs.snap_path, or SNAPPATH)")
        if EngineName.DOCKER in engines.split("-"):
            try:
                log.info("containers are run by %s", check_containers(settings.containers))
            except ConfigurationError as error:
                raise ConfigurationError(f"{where} {error}") from None
