"""The loop of every worker: take a job, run it under a heartbeat, report its outcome, and only then acknowledge it.

A job whose last heartbeat was confirmed longer than `ack_wait` ago may already run elsewhere, also when it was this process that stood
still: it is stopped without storing or reporting anything more. On SIGTERM the loop takes no more work, gives running jobs the grace time
and hands the rest back (`released`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import time
from collections import OrderedDict
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
from common.tasks import stop_tasks
from common.throughput import Received
from common.work import Handler, JobContext, WorkReport

log = logging.getLogger(__name__)

_PUBLISH_S = 5.0
_GUARD_S = 5.0
"""How often a worker that refuses new work looks whether it can take some again."""
_IN_PROGRESS = b"+WPI"
_REMEMBERED = 100_000
"""Cancellations."""
_TAIL = 4000
_LONGEST_RETRY_S = 7 * 86400.0
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
    _cancelled: OrderedDict[UUID, None] = field(default_factory=OrderedDict)
    """The latest cancellations: one may come before its job."""
    _pulls: list[Pull] = field(default_factory=list)

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
            stopping.cancel()
            await stop_tasks(pullers)
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
        """Take jobs of one queue while there is room. All lanes wait on the broker at once; the urgent one asks for one at a time.

        A job that comes when others have filled the room is taken all the same and waits under its heartbeat: left lying, it would be
        given out again.
        """
        await self._bind(js, queue)
        pull = Pull(self.client, JOBS, queue.consumer)
        await pull.open()
        self._pulls.append(pull)
        try:
            while True:
                await self._room(scratch, pull)
                free = self.concurrency - len(self._running) - sum(other.credit for other in self._pulls if other is not pull)
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

    async def _room(self, scratch: Scratch, pull: Pull) -> None:
        """Wait until there is a free place, and disk and memory for what it will need, or until a job has come nevertheless."""
        arrival = asyncio.create_task(pull.arrival())
        try:
            await self._free_place(scratch, arrival)
        finally:
            arrival.cancel()

    async def _free_place(self, scratch: Scratch, arrival: asyncio.Task[None]) -> None:
        while not arrival.done():
            if len(self._running) >= self.concurrency:
                await asyncio.wait([arrival, *self._running], return_when=asyncio.FIRST_COMPLETED)
                continue
            reason = refusal(self.settings.worker, scratch.parent)
            if bool(reason) != bool(self.refusing):
                log.warning("%s", f"no new jobs are taken: {reason}" if reason else "new jobs are taken again")
            self.refusing = reason
            self.metrics.refusing.set(bool(reason))
            if not reason:
                return
            await asyncio.wait([arrival], timeout=_GUARD_S)

    async def _on_cancel(self, message: Msg) -> None:
        try:
            jobs = decode_cancellation(message.data)
        except ValueError as error:
            log.warning("a cancellation cannot be read: %s", error)
            return
        for job in jobs:
            self._cancelled[job] = None
            if job in self._work_of:
                self._work_of[job].cancel()
        while len(self._cancelled) > _REMEMBERED:
            self._cancelled.popitem(last=False)

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
        started, run = datetime.now(UTC), uuid4()
        pulse = _Pulse(self.client, message, self.settings.worker.ack_wait_s)
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
            heart = asyncio.create_task(pulse.beat())
            try:
                outcome, report = await self._attempt(message, job, scene.aoi, scratch, run, pulse, heart)
            finally:
                heart.cancel()
            if not pulse.is_alive:
                log.warning("the broker was out of reach for too long: stopped, the job may run elsewhere")
                return
            if job.job in self._cancelled:
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
                retry_after_s=_retry_after_s(failure),
                files=report.files,
                datasets=report.datasets,
                deletions=report.deletions,
                log=report.log or (failure.log if failure else ""),
                started_at=started,
                ended_at=datetime.now(UTC),
                deliveries=message.metadata.num_delivered or 1,
            )
            log.info("%s in %.1f s%s", outcome, (result.ended_at - started).total_seconds(), f": {failure}" if failure else "")
            self.metrics.ended(job.graph_name, result)
            if outcome is Outcome.POISONED:
                await js.publish(f"dead.{message.subject}", message.data, headers={"Thresher-Reason": result.message})
            await self._report(js, message, result, run, pulse)

    async def _attempt(
        self, message: Msg, job: SceneJob | TileJob, aoi: str, scratch: Scratch, run: UUID, pulse: _Pulse, heart: asyncio.Task[None]
    ) -> tuple[Outcome, WorkReport]:
        """Run the job while its heart beats."""
        if job.job in self._cancelled:
            return Outcome.RELEASED, WorkReport()
        deliveries = message.metadata.num_delivered or 1
        if deliveries > self.settings.worker.max_deliveries:
            reason = f"given out {deliveries} times without an end: it seems to kill its worker"
            return Outcome.POISONED, WorkReport(error=ThresherError(reason))
        work = self._work_of[job.job] = asyncio.create_task(self._work(job, aoi, run, scratch, pulse))
        try:
            await asyncio.wait([heart, work], return_when=asyncio.FIRST_COMPLETED)
            return _outcome(work) if work.done() else (Outcome.RELEASED, WorkReport())
        except asyncio.CancelledError:
            return Outcome.RELEASED, WorkReport()
        finally:
            if self._work_of.get(job.job) is work:
                del self._work_of[job.job]
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _work(self, job: SceneJob | TileJob, aoi: str, run: UUID, scratch: Scratch, pulse: _Pulse) -> WorkReport:
        loop = asyncio.get_running_loop()

        received = Received()

        def publish(step: str, done: float) -> None:
            progress = JobProgress(
                job=job.job,
                send=job.send,
                worker=self.name,
                step=step,
                done=done,
                bytes_done=received.bytes_done,
                bytes_total=received.bytes_total,
                bytes_per_s=received.bytes_per_s,
            )
            task = asyncio.ensure_future(self.client.publish(progress_subject(aoi), progress.model_dump_json().encode()))
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

        def progress(step: str, done: float) -> None:
            loop.call_soon_threadsafe(publish, step, done)

        # One job of each lane may wait here for room; its heartbeat has begun.
        async with self._slots:
            workdir = scratch.folder(run)
            try:
                progress("started", 0.0)
                context = JobContext(self.settings, workdir, run, progress, pulse.check, received.update)
                return await self.handler(job, context)  # type: ignore[arg-type]
            finally:
                await asyncio.to_thread(shutil.rmtree, workdir, True)

    async def _report(self, js: JetStreamContext, message: Msg, result: JobResult, run: UUID, pulse: _Pulse) -> None:
        """Hand the result to the stream of results, then acknowledge. Tries until the broker takes it or has given the job to another."""
        data = result.model_dump_json().encode()
        delay = 0.1
        heart = asyncio.create_task(pulse.beat())
        try:
            while pulse.is_alive:
                try:
                    await js.publish(result_subject(self.kind), data, timeout=_PUBLISH_S, headers={"Nats-Msg-Id": f"{result.job}.{run}"})
                    await message.ack()
                except (nats.errors.Error, APIError, OSError) as error:
                    log.warning("the result cannot be reported yet: %s", error or type(error).__name__)
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, 5.0)
                else:
                    return
            log.warning("the result could not be reported for too long: the job may run elsewhere")
        finally:
            heart.cancel()


class _Pulse:
    """Whether a job is still ours: the broker confirmed a heartbeat within `ack_wait_s`, by a clock that goes on when we stand still."""

    def __init__(self, client: Client, message: Msg, ack_wait_s: float) -> None:
        self._client = client
        self._subject = message.reply
        self._ack_wait_s = ack_wait_s
        self._confirmed = time.monotonic()

    @property
    def is_alive(self) -> bool:
        return time.monotonic() - self._confirmed < self._ack_wait_s

    def check(self) -> None:
        if not self.is_alive:
            raise TemporaryError("the broker was out of reach for too long: the job may run elsewhere")

    async def beat(self) -> None:
        """Tell the broker every third of `ack_wait` that the job lives; ends when that failed for a whole one.

        Answered by the leader of the consumer itself: that our own server is well says nothing about it.
        """
        while self.is_alive:
            await asyncio.sleep(self._ack_wait_s / 3)
            asked = time.monotonic()
            try:
                await self._client.request(self._subject, _IN_PROGRESS, timeout=self._ack_wait_s / 3)
            except (nats.errors.Error, OSError) as error:
                log.debug("heartbeat: %s", error or type(error).__name__)
            else:
                if self.is_alive:
                    self._confirmed = asked


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


def _retry_after_s(failure: ThresherError | None) -> float | None:
    """What a server asked for, within reason."""
    seconds = failure.retry_after_s if failure else None
    return None if seconds is None else min(max(0.0, seconds), _LONGEST_RETRY_S)


def default_queues(kinds: Sequence[JobKind], capabilities: Sequence[str]) -> list[JobQueue]:
    """Every queue of a deployment with these capabilities."""
    return [JobQueue(kind, capability, lane) for kind in kinds for capability in capabilities for lane in Lane]
