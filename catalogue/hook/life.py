"""The life of orders: every replica of the catalogue runs it. Items are resolved, watched while workers work on them, delivered, and ended.

NOTIFY wakes it; a sweep makes that only a hint. Nothing is kept in memory that a restart would lose.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from catalogue.database import DATABASE_ERRORS, Connection, Pool
from catalogue.hook.claims import claim, kept, put_off, read_item
from catalogue.hook.ending import begin, end_item
from catalogue.hook.ingesting import start_work
from catalogue.hook.made import files_of, outputs_of
from catalogue.hook.orders import Delivered, ItemError, OrderItem, OrderStatus, Phase
from catalogue.hook.placing import CHANNEL
from catalogue.hook.service import HookService
from catalogue.hook.workflows import Workflow
from catalogue.workflow.cancellation import cancel
from common.errors import ErrorKind, NotFoundError, StorageError, ThresherError, kind_of
from common.messages import JobProgress
from common.messaging import PROGRESS
from common.tasks import stop_tasks

log = logging.getLogger(__name__)

_SWEEP_S = 1.0
_RESOLVED_AT_ONCE = 8
_MOST_TEMPORARY = 30
"""Attempts at a phase that failed for passing reasons, before the item fails: about four hours of them."""
_MOST_UNEXPECTED = 3
_MOST_BEGUN = 40
"""Times a phase is begun: the process may have died each time."""
_BATCH = 500
_OURS = f"{PROGRESS}.order:"


@dataclass
class OrderLife:
    """Moves items on until cancelled."""

    pool: Pool
    client: Client
    hook: HookService
    _wake: dict[Phase, asyncio.Event] = field(default_factory=lambda: {phase: asyncio.Event() for phase in Phase})
    _begun: dict[UUID, None] = field(default_factory=dict)
    """Jobs that workers have begun with and that are to be written down."""

    async def run(self) -> None:
        tasks = [
            asyncio.create_task(part)
            for part in (
                self._listen(),
                self._carry_out(Phase.RESOLVE, self._resolve, _RESOLVED_AT_ONCE),
                self._carry_out(Phase.DELIVER, self._deliver, self.hook.settings.hook.deliveries),
                self._watch_work(),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await stop_tasks(tasks)

    async def _carry_out(self, phase: Phase, work: Callable[[OrderItem, Workflow], Awaitable[None]], at_once: int) -> None:
        """Claim items of a phase and work on so many at once."""
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._wake[phase].clear()
                claimed: list[int] = []
                if len(running) < at_once:
                    with _trouble("items cannot be claimed"):
                        async with self.pool.acquire() as connection:
                            claimed = await claim(connection, phase, at_once - len(running))
                running |= {asyncio.create_task(self._one(item, work)) for item in claimed}
                if not claimed:
                    woken = asyncio.create_task(self._wake[phase].wait())
                    try:
                        await asyncio.wait([woken, *running], timeout=_SWEEP_S, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        woken.cancel()
                elif len(running) >= at_once:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                running = {task for task in running if not task.done()}
        finally:
            await stop_tasks(list(running))

    async def _one(self, number: int, work: Callable[[OrderItem, Workflow], Awaitable[None]]) -> None:
        """Carry out a phase of an item; whatever goes wrong ends it or puts it off."""
        with _trouble(f"item {number}"), contextlib.suppress(NotFoundError):
            async with self.pool.acquire() as connection:
                item = await read_item(connection, number)
            async with kept(self.pool, number):
                try:
                    workflow = self.hook.workflows.get(item.order.workflow)
                    if item.attempts > _MOST_BEGUN:
                        raise ItemError("it was begun too often without an end")
                    if workflow is None:
                        raise ItemError(f"workflow {item.order.workflow} is no longer offered")
                    await work(item, workflow)
                except DATABASE_ERRORS:
                    raise  # its lease runs out
                except Exception as error:  # noqa: BLE001 - one item must not stop the others
                    await self._failed(item, error)

    async def _failed(self, item: OrderItem, error: Exception) -> None:
        temporary = kind_of(error) is ErrorKind.TEMPORARY
        known = isinstance(error, ThresherError)
        if not known and not temporary:
            log.error("order %d, item %d: an error nobody expected", item.order.id, item.id, exc_info=error)
        most = _MOST_TEMPORARY if temporary else 0 if known else _MOST_UNEXPECTED
        # Text of others' libraries may hold anything: only sentences of ours are told.
        message = str(error) if known else "something went wrong here; the log of the service says more"
        async with self.pool.acquire() as connection:
            if item.attempts < most:
                await put_off(connection, item.id, item.attempts, message, at_least_s=getattr(error, "retry_after_s", None) or 0.0)
                return
        await self._end(item, OrderStatus.FAILED, message=message)

    async def _resolve(self, item: OrderItem, workflow: Workflow) -> None:
        if await start_work(self.pool, self.hook, item, workflow):
            log.info("order %d, item %d: work begins", item.order.id, item.id)

    async def _deliver(self, item: OrderItem, workflow: Workflow) -> None:
        if item.failure:
            await self._end(item, OrderStatus.FAILED, message=item.failure)
            return
        settings = self.hook.settings
        stored = await files_of(item, settings)
        async with self.pool.acquire() as connection:
            outputs = await outputs_of(connection, item, workflow, self.hook.graphs(), settings, stored)
        delivered: Delivered | None = None
        if workflow.output:
            if not outputs:
                raise ItemError("the workflow ended without a result")
            delivered = await self.hook.parts.delivery.deliver(item, workflow, outputs)
        await self._end(item, OrderStatus.COMPLETED, delivered=delivered)

    async def _end(self, item: OrderItem, status: OrderStatus, *, message: str = "", delivered: Delivered | None = None) -> None:
        files = await self._leftovers(item)
        async with self.pool.acquire() as connection:
            ended = await end_item(connection, item.id, status, message=message, delivered=delivered, files=files)
        await cancel(self.client, ended.jobs)
        if ended.now:
            log.info("order %d, item %d: %s%s", item.order.id, item.id, status, f": {message}" if message else "")

    async def _leftovers(self, item: OrderItem) -> list[str]:
        try:
            return await files_of(item, self.hook.settings)
        except (StorageError, OSError) as error:
            log.warning("files of order %d, item %d cannot be listed and stay: %s", item.order.id, item.id, error)
            return []

    async def _watch_work(self) -> None:
        """Note which items workers have begun with, and move those on whose tiles have all ended."""
        while True:
            self._wake[Phase.WORK].clear()
            moved = 0
            with _trouble("orders cannot be looked at"):
                async with self.pool.acquire() as connection:
                    if self._begun:
                        begun, self._begun = list(self._begun), {}
                        await self._note_begun(connection, begun)
                    moved = await self._look(connection)
            if not moved:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SWEEP_S):
                        await self._wake[Phase.WORK].wait()
                await asyncio.sleep(0.02)  # what comes together is looked at together

    async def _note_begun(self, connection: Connection, jobs: list[UUID]) -> None:
        rows = await connection.fetch(
            """SELECT DISTINCT i.id FROM job j LEFT JOIN scene s ON s.id = j.scene_id LEFT JOIN tile t ON t.id = j.tile_id
               JOIN hook_item i ON i.aoi_id = coalesce(s.aoi_id, t.aoi_id)
               WHERE j.id = ANY($1) AND i.status = 'queued' AND coalesce(s.data ->> 'graph_name', t.graph_name) <> 'Pass'""",
            jobs,
        )
        if rows:
            await begin(connection, [row["id"] for row in rows])

    async def _look(self, connection: Connection) -> int:
        """Take what has been touched; how many items have been looked at. Uses hook_item_aoi."""
        async with connection.transaction():
            touched = await connection.fetch(
                """DELETE FROM hook_touched WHERE ctid = ANY(ARRAY(SELECT ctid FROM hook_touched LIMIT $1 FOR UPDATE SKIP LOCKED))
                   RETURNING aoi_id""",
                _BATCH,
            )
            rows = await connection.fetch(_ENDED, list({row["aoi_id"] for row in touched})) if touched else []
            for row in rows:
                # One that failed is ended by whoever would deliver it: listing its files takes its time.
                await connection.execute(
                    """UPDATE hook_item SET phase = 'deliver', attempts = 0, due_at = now(), failure = $2
                       WHERE id = $1 AND phase = 'work'""",
                    row["id"],
                    row["failure"] or "",
                )
            lost = await connection.execute(
                """UPDATE hook_item SET phase = 'deliver', attempts = 0, due_at = now(), failure = 'its work was removed by an operator'
                   WHERE phase = 'work' AND aoi_id IS NULL"""
            )
        if rows or not lost.endswith(" 0"):
            self._wake[Phase.DELIVER].set()
        return len(touched)

    async def _listen(self) -> None:
        """Wake at every NOTIFY, and hear of jobs that begin; connects again when the connection is gone."""
        subscription = await self.client.subscribe(f"{PROGRESS}.*", cb=self._on_progress)
        try:
            while True:
                with _trouble("listening"):
                    async with self.pool.acquire() as connection:
                        await self._listen_on(connection)
                await asyncio.sleep(_SWEEP_S)
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    async def _listen_on(self, connection: Connection) -> None:
        gone = asyncio.Event()

        def wake(*_: object) -> None:
            for event in self._wake.values():
                event.set()

        def lost(_: object) -> None:
            gone.set()

        await connection.add_listener(CHANNEL, wake)
        connection.add_termination_listener(lost)
        try:
            wake()
            await gone.wait()
        finally:
            if not connection.is_closed():
                connection.remove_termination_listener(lost)
                await connection.remove_listener(CHANNEL, wake)

    async def _on_progress(self, message: Msg) -> None:
        if not message.subject.startswith(_OURS):
            return
        with contextlib.suppress(ValueError):
            progress = JobProgress.model_validate_json(message.data)
            if progress.step == "started":
                self._begun[progress.job] = None
                self._wake[Phase.WORK].set()


@contextlib.contextmanager
def _trouble(what: str) -> Iterator[None]:
    """A database that does not answer is no reason to stop."""
    try:
        yield
    except DATABASE_ERRORS as error:
        log.warning("%s: %s", what, error or type(error).__name__)


_ENDED = """
SELECT i.id, (SELECT coalesce(nullif(f.message, ''), 'its processing failed') FROM (
                  SELECT message, 0 AS rank, id FROM scene WHERE aoi_id = i.aoi_id AND status IN ('RETRY', 'FAILED')
                  UNION ALL SELECT message, 1, id FROM tile WHERE aoi_id = i.aoi_id AND status IN ('RETRY', 'FAILED')) AS f
              ORDER BY f.rank, f.id LIMIT 1) AS failure
FROM hook_item i
WHERE i.aoi_id = ANY($1) AND i.phase = 'work'
  AND NOT EXISTS (SELECT FROM scene s WHERE s.aoi_id = i.aoi_id AND s.status IN ('NEW', 'PENDING'))
  AND NOT EXISTS (SELECT FROM tile t WHERE t.aoi_id = i.aoi_id AND t.status IN ('NEW', 'PENDING'))
"""
