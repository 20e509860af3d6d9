"""The loop of every worker: take a job, run it under a heartbeat, report its outcome, and only then acknowledge it.

A job whose heartbeats fail for longer than `ack_wait` may already run elsewhere: it is stopped without storing or reporting anything
more. On SIGTERM the loop takes no more work, gives running jobs the grace time and hands the rest back (`released`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError
from pydantic import ValidationError

from common.config import Settings
from common.errors import ErrorKind, TemporaryError, ThresherError, kind_of
from common.guards import refusal
from common.log import log_context
from common.messages import JobKind, JobProgress, JobResult, Outcome, SceneJob, TileJob
from common.messaging import CANCEL, JOBS, JobQueue, Lane, decode_cancellation, progress_subject, result_subject
from common.metrics import WorkerMetrics
from common.pull import Pull
from common.scratch import Scratch
from common.work import Handler, JobContext, WorkReport

log = logging.getLogger(__name__)

_PUBLISH_S = 5.0
_GUARD_S = 5.0
"""How often a worker that refuses new work looks whether it can take some again."""
_TAIL = 4000
_MODELS: dict[JobKind, type[SceneJob] | type[TileJob]] = {JobKind.SCENE: SceneJob, JobKind.TILE: TileJob}


@dataclass
class Worker:
    """Runs jobs of one kind. `run` returns after `stop` was called and the last job has ended or been handed back."""

    client: Client
    kind: JobKind
    handler: Handler[SceneJob] | Handler[TileJob]
    settings: Settings
    concurrency: int
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the worker is bound to its queues."""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    refusing: str = ""
    """Why no new jobs are taken at the moment."""
    _slots: asyncio.Semaphore = field(init=False)
    _work_of: dict[UUID, asyncio.Task[WorkReport]] = field(default_factory=dict)
    _cancelled: set[UUID] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.concurrency)

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        scratch = Scratch(self.settings.worker.scratch, f"{self.kind}-{self.name}")
        await asyncio.to_thread(scratch.sweep)
        js = self.client.jetstream(timeout=_PUBLISH_S)
        queues = [JobQueue(self.kind, capability, lane) for lane in Lane for capability in self.settings.worker.capabilities]
        await self.client.subscribe(CANCEL, cb=self._on_cancel)
        pullers = [asyncio.create_task(self._pull(js, queue, scratch)) for queue in queues]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([stopping, *pullers], return_when=asyncio.FIRST_COMPLETED)
            for puller in pullers:
                if puller.done() and not self._stopping.is_set():
                    puller.result()
        finally:
            for task in [stopping, *pullers]:
                task.cancel()
            await asyncio.gather(stopping, *pullers, return_exceptions=True)
            await self._drain()
            await asyncio.to_thread(scratch.close)

    async def _drain(self) -> None:
        if self._running:
            log.info("stopping: %d jobs have %.0f s to end", len(self._running), self.settings.worker.grace_s)
            await asyncio.wait(self._running, timeout=self.settings.worker.grace_s)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=2 * _PUBLISH_S)

    async def _pull(self, js: JetStreamContext, queue: JobQueue, scratch: Scratch) -> None:
        """Take jobs of one queue while there is room. All lanes wait on the broker at once; the urgent one asks for one at a time."""
        await self._bind(js, queue)
        pull = Pull(self.client, JOBS, queue.consumer)
        await pull.open()
        try:
            while True:
                await self._room(scratch)
                free = self.concurrency - len(self._running)
                try:
                    messages = await pull.receive(1 if queue.lane is Lane.URGENT else max(1, free))
                except (TemporaryError, nats.errors.Error, OSError) as error:
                    log.debug("%s: %s", queue.consumer, error)
                    await asyncio.sleep(0.2)
                    await self._bind(js, queue)
                    continue
                for message in messages:
                    self._start(js, message, scratch)
        finally:
            for message in await pull.close():
                self._start(js, message, scratch)

    async def _room(self, scratch: Scratch) -> None:
        """Wait until there is a free place, and disk and memory for what it will need."""
        while True:
            while len(self._running) >= self.concurrency:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            reason = refusal(self.settings.worker, scratch.parent)
            if bool(reason) != bool(self.refusing):
                log.warning("%s", f"no new jobs are taken: {reason}" if reason else "new jobs are taken again")
            self.refusing = reason
            self.metrics.refusing.set(bool(reason))
            if not reason:
                return
            await asyncio.sleep(_GUARD_S)

    async def _on_cancel(self, message: Msg) -> None:
        try:
            jobs = decode_cancellation(message.data)
        except ValueError as error:
            log.warning("a cancellation cannot be read: %s", error)
            return
        for job in jobs:
            if job in self._work_of:
                self._cancelled.add(job)
                self._work_of[job].cancel()

    def _start(self, js: JetStreamContext, message: Msg, scratch: Scratch) -> None:
        task = asyncio.create_task(self._take(js, message, scratch))
        self._running.add(task)
        self.metrics.running.set(len(self._running))
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self.metrics.running.set(len(self._running))
        if not task.cancelled() and (error := task.exception()) is not None:
            # Not acknowledged: the broker gives the job out again.
            log.error("a job could not be brought to an end", exc_info=error)

    async def _bind(self, js: JetStreamContext, queue: JobQueue) -> None:
        """Wait until the catalogue has made the consumer."""
        waited = False
        while True:
            try:
                await js.consumer_info(JOBS, queue.consumer)
            except (nats.errors.Error, APIError, OSError) as error:
                if not waited:
                    log.info("waiting for the catalogue to declare %s (%s)", queue.consumer, error or type(error).__name__)
                waited = True
                await asyncio.sleep(0.1)
            else:
                self.ready.set()
                return

    async def _take(self, js: JetStreamContext, message: Msg, scratch: Scratch) -> None:
        started = datetime.now(UTC)
        try:
            job = _MODELS[self.kind].model_validate_json(message.data)
        except ValidationError as error:
            log.error("a message of %s cannot be read, it goes to the dead letters: %s", message.subject, error)
            await js.publish(f"dead.{message.subject}", message.data, headers={"Thresher-Reason": "not a job message"})
            await message.ack()
            return
        scene = job.scene if isinstance(job, SceneJob) else job.tile.scene
        tile = {"tile": job.tile.source_id} if isinstance(job, TileJob) else {}
        with log_context(aoi=scene.aoi, scene=scene.source_id, job=job.job, **tile):
            outcome, report = await self._attempt(message, job, scene.aoi, scratch)
            if outcome is None:
                return
            if job.job in self._cancelled:
                self._cancelled.discard(job.job)
                log.info("cancelled")
                await message.ack()
                return
            failure = report.error
            result = JobResult(
                job=job.job,
                send=job.send,
                kind=self.kind,
                worker=self.name,
                outcome=outcome,
                error_kind=kind_of(failure) if failure else None,
                message=str(failure)[-_TAIL:] if failure else "",
                files=report.files,
                datasets=report.datasets,
                deletions=report.deletions,
                started_at=started,
                ended_at=datetime.now(UTC),
            )
            log.info("%s in %.1f s%s", outcome, (result.ended_at - started).total_seconds(), f": {failure}" if failure else "")
            self.metrics.ended(job.graph_name, result)
            if outcome is Outcome.POISONED:
                await js.publish(f"dead.{message.subject}", message.data, headers={"Thresher-Reason": result.message})
            await self._report(js, message, result)

    async def _attempt(self, message: Msg, job: SceneJob | TileJob, aoi: str, scratch: Scratch) -> tuple[Outcome | None, WorkReport]:
        """Run the job under its heartbeat. No outcome: it belongs to another worker now."""
        deliveries = message.metadata.num_delivered or 1
        if deliveries > self.settings.worker.max_deliveries:
            reason = f"given out {deliveries} times without an end: it seems to kill its worker"
            return Outcome.POISONED, WorkReport(error=ThresherError(reason))
        heart = asyncio.create_task(self._beat(message))
        run = uuid4()
        work = self._work_of[job.job] = asyncio.create_task(self._work(job, aoi, run, scratch))
        try:
            await asyncio.wait([heart, work], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                log.warning("the broker was out of reach for too long: stopped, the job may run elsewhere")
                return None, WorkReport()
            return _outcome(work)
        except asyncio.CancelledError:
            return Outcome.RELEASED, WorkReport()
        finally:
            self._work_of.pop(job.job, None)
            for task in (heart, work):
                task.cancel()
            await asyncio.gather(heart, work, return_exceptions=True)

    async def _work(self, job: SceneJob | TileJob, aoi: str, run: UUID, scratch: Scratch) -> WorkReport:
        loop = asyncio.get_running_loop()

        def publish(step: str, done: float) -> None:
            progress = JobProgress(job=job.job, send=job.send, worker=self.name, step=step, done=done)
            task = asyncio.ensure_future(self.client.publish(progress_subject(aoi), progress.model_dump_json().encode()))
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

        def progress(step: str, done: float) -> None:
            loop.call_soon_threadsafe(publish, step, done)

        # One job of each lane may wait here for room; its heartbeat has begun.
        async with self._slots:
            workdir = scratch.folder(run)
            try:
                progress("started", 0.0)
                context = JobContext(settings=self.settings, workdir=workdir, run=run, progress=progress)
                return await self.handler(job, context)  # type: ignore[arg-type]
            finally:
                await asyncio.to_thread(shutil.rmtree, workdir, True)

    async def _beat(self, message: Msg) -> None:
        """Tell the broker every third of `ack_wait` that the job lives; ends when that failed for a whole one."""
        ack_wait = self.settings.worker.ack_wait_s
        last = time.monotonic()
        while time.monotonic() - last < ack_wait:
            await asyncio.sleep(ack_wait / 3)
            try:
                await asyncio.wait_for(message.in_progress(), ack_wait / 3)
                await asyncio.wait_for(self.client.flush(timeout=max(1, int(ack_wait / 3))), ack_wait / 3)
                if not self.client.is_connected:
                    continue
                last = time.monotonic()
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.debug("heartbeat: %s", error or type(error).__name__)

    async def _report(self, js: JetStreamContext, message: Msg, result: JobResult) -> None:
        """Hand the result to the stream of results, then acknowledge. Tries until the broker takes it."""
        data = result.model_dump_json().encode()
        delay = 0.1
        while True:
            try:
                await js.publish(
                    result_subject(self.kind), data, timeout=_PUBLISH_S, headers={"Nats-Msg-Id": f"{result.job}.{result.send}.{uuid4()}"}
                )
                await message.ack()
            except (nats.errors.Error, APIError, OSError) as error:
                log.warning("the result cannot be reported yet: %s", error or type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
            else:
                return


def _outcome(work: asyncio.Task[WorkReport]) -> tuple[Outcome, WorkReport]:
    if work.cancelled():
        return Outcome.RELEASED, WorkReport()
    error = work.exception()
    if error is None:
        report = work.result()
        return (Outcome.FAILED if report.error else Outcome.DONE), report
    if isinstance(error, ThresherError):
        return Outcome.FAILED, WorkReport(error=error)
    if isinstance(error, OSError | asyncio.TimeoutError):
        known = ThresherError(f"{type(error).__name__}: {error}")
        known.kind = kind_of(error)
        return Outcome.FAILED, WorkReport(error=known)
    log.error("an error nobody expected", exc_info=error)
    unknown = ThresherError(f"unexpected {type(error).__name__}: {error}")
    unknown.kind = ErrorKind.ERROR
    return Outcome.FAILED, WorkReport(error=unknown)


def default_queues(kinds: Sequence[JobKind], capabilities: Sequence[str]) -> list[JobQueue]:
    """Every queue of a deployment with these capabilities."""
    return [JobQueue(kind, capability, lane) for kind in kinds for capability in capabilities for lane in Lane]
