"""The catalogue as a running service: everything it is made of, started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from catalogue.auth.gate import Gate
from catalogue.database import open_pool
from catalogue.events import EventHub
from catalogue.external.registry import configured_catalogues
from catalogue.hook.expiry import ExpirySweeper
from catalogue.hook.life import OrderLife
from catalogue.hook.notifications import Notifier
from catalogue.hook.parts import open_parts
from catalogue.hook.service import HookService
from catalogue.hook.workflows import Workflows
from catalogue.http.app import create_app
from catalogue.http.services import Services
from catalogue.metrics import CatalogueMetrics
from catalogue.sentinel1.annotations.reader import configured_reader
from catalogue.sentinel1.bursts_api import configured_burst_service
from catalogue.workflow.deletions import Sweeper
from catalogue.workflow.dispatcher import Dispatcher
from catalogue.workflow.orphans import OrphanSweeper
from catalogue.workflow.results import ResultConsumer
from catalogue.workflow.unfinished import UnfinishedSweeper
from common.config import Settings, require
from common.errors import ConfigurationError, StorageError
from common.messages import JobKind
from common.messaging import connect, declare
from common.storage import Storage, is_below, normal_root, open_storage
from common.tasks import stop_tasks
from common.worker import default_queues

log = logging.getLogger(__name__)

LONGEST_HEADER = 16_384
"""Bytes: access tokens of people with many roles are longer than the usual 8,190."""


@contextlib.asynccontextmanager
async def running_catalogue(settings: Settings) -> AsyncIterator[str]:
    """The running service; yields its URL. Raises ConfigurationError where it cannot start."""
    Gate(settings)
    storage_of = _storages(settings)
    catalogues = configured_catalogues(settings)
    annotations = configured_reader(settings)
    burst_service = configured_burst_service(settings)
    workflows = Workflows(settings.graphs.folders)
    async with contextlib.AsyncExitStack() as stack:
        pool = await open_pool(require(settings.database.url, "database.url"), size=settings.database.pool_size)
        stack.push_async_callback(pool.close)
        client = await connect(settings.nats, "catalogue")
        stack.push_async_callback(client.close)
        queues = default_queues(list(JobKind), settings.worker.capabilities)
        await declare(client.jetstream(), settings.nats, settings.worker, queues)
        hook = HookService(settings, workflows, open_parts(settings, catalogues, storage_of), annotations, burst_service)
        metrics, events = CatalogueMetrics(), EventHub(pool, client)
        tasks = [
            asyncio.create_task(_for_ever(part.run, name))
            for name, part in (
                ("dispatcher", Dispatcher(pool, client, settings, queues)),
                ("results", ResultConsumer(pool, client, metrics)),
                ("events", events),
                ("deletions", Sweeper(pool, storage_of)),
                ("orders", OrderLife(pool, client, hook)),
                ("notifications", Notifier(pool, hook)),
                ("expired results", ExpirySweeper(pool)),
                ("orphans", OrphanSweeper(pool, storage_of, normal_root(settings.storage), 2 * settings.worker.ack_wait_s)),
                ("unfinished writes", UnfinishedSweeper(pool, _storage_at(storage_of, settings), normal_root(settings.storage))),
            )
        ]
        stack.push_async_callback(stop_tasks, tasks)
        around = Services(settings, pool, client, catalogues, annotations, burst_service, events, metrics, hook)
        runner = web.AppRunner(create_app(around), access_log=None, shutdown_timeout=5, max_field_size=LONGEST_HEADER)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, settings.server.host, settings.server.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(f"server.port: cannot listen on {settings.server.host}:{settings.server.port}: {error}") from None
        host, port = runner.addresses[0][:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def _for_ever(run: Callable[[], object], name: str) -> None:
    """Keep a part running: an error nobody expected is logged, and it starts again."""
    while True:
        try:
            await run()  # type: ignore[misc]
        except Exception:
            log.exception("the %s met an error nobody expected and starts again", name)
            await asyncio.sleep(1)


def _storages(settings: Settings) -> Callable[[str], Storage]:
    """From the URI of a file to the storage it lies in; only configured places may be touched."""
    roots = [require(settings.storage, "storage"), *settings.limits.allowed_storage]
    opened = [(root, open_storage(root, settings)) for root in roots]

    def storage_of(uri: str) -> Storage:
        for root, storage in opened:
            if is_below(uri, root):
                return storage
        raise StorageError(f"{uri} lies in no storage of this deployment")

    return storage_of


def _storage_at(storage_of: Callable[[str], Storage], settings: Settings) -> Callable[[str], Storage]:
    """From the URI of a storage to that alone, not to the wider one it lies in."""

    def storage_at(uri: str) -> Storage:
        storage_of(uri)
        return open_storage(uri, settings)

    return storage_at
