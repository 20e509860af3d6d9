"""The loop of the workers, against a running catalogue: success, failure, surprise, stop, poison."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

from fixtures_services import RunningCatalogue
from fixtures_workflow import Broker, post, scenes, until
from jobs_by_hand import finish_jobs
from nats.aio.msg import Msg

from common.errors import FatalError, TemporaryError, ThresherError
from common.messages import JobKind, JobProgress, SceneJob
from common.messaging import connect, progress_subject
from common.work import Handler, JobContext, WorkReport
from common.worker import Worker


async def run_worker(catalogue: RunningCatalogue, handler: Handler[SceneJob], work: Awaitable[object]) -> None:
    """Run a worker of scenes while `work` is awaited."""
    client = await connect(catalogue.settings.nats, "test")
    worker = Worker(client, JobKind.SCENE, handler, catalogue.settings, 2)
    running = asyncio.create_task(worker.run())
    try:
        await work
    finally:
        worker.stop()
        await running
        await client.close()


async def test_worker_reports_success_failure_and_surprise(catalogue: RunningCatalogue, tmp_path: Path) -> None:
    seen: list[Path] = []

    async def handler(job: SceneJob, context: JobContext) -> WorkReport:
        (context.workdir / "file").write_text("x")
        seen.append(context.workdir)
        match job.scene.source_id:
            case "S2A_0":
                return WorkReport()
            case "S2A_1":
                return WorkReport(error=ThresherError("plain"))
            case "S2A_2":
                raise FatalError("hopeless")
            case _:
                raise KeyError("surprise")

    await post(catalogue, scenes(4, series=False))
    await run_worker(catalogue, handler, until(catalogue, "scene", ["DONE", "FAILED", "FAILED", "FAILED"]))
    messages = [row["message"] for row in await catalogue.database.fetch("SELECT message FROM scene ORDER BY id")]
    assert messages == ["", "plain", "hopeless", "unexpected KeyError: 'surprise'"]
    assert len(set(seen)) == 4
    assert not any(folder.exists() or folder.parent.exists() for folder in seen)


async def test_worker_that_stops_hands_its_job_back(catalogue: RunningCatalogue) -> None:
    started = asyncio.Event()

    async def slow(job: SceneJob, context: JobContext) -> WorkReport:
        started.set()
        await asyncio.sleep(60)
        return WorkReport()

    async def quick(job: SceneJob, context: JobContext) -> WorkReport:
        return WorkReport()

    await post(catalogue, scenes(1))
    await run_worker(catalogue, slow, started.wait())
    await run_worker(catalogue, quick, until(catalogue, "scene", ["DONE"]))
    scene = await (await catalogue.get("/scene/1")).json()
    assert [attempt["outcome"] for attempt in scene["attempts"]] == ["released", "done"]


async def test_a_long_job_keeps_its_heartbeat(catalogue: RunningCatalogue) -> None:
    runs = 0

    async def handler(job: SceneJob, context: JobContext) -> WorkReport:
        nonlocal runs
        runs += 1
        await asyncio.sleep(2.5 * catalogue.settings.worker.ack_wait_s)
        return WorkReport()

    await post(catalogue, scenes(1))
    await run_worker(catalogue, handler, until(catalogue, "scene", ["DONE"]))
    assert runs == 1


async def test_progress_tells_what_was_downloaded(catalogue: RunningCatalogue, broker: Broker) -> None:
    told: list[JobProgress] = []

    async def hear(message: Msg) -> None:
        told.append(JobProgress.model_validate_json(message.data))

    async def handler(job: SceneJob, context: JobContext) -> WorkReport:
        for done in (10**6, 2 * 10**6):
            await asyncio.sleep(0.15)
            context.received(done, 4 * 10**6)
            context.progress("fetch", done / 4e6)
        return WorkReport()

    await broker.client.subscribe(progress_subject("*"), cb=hear)
    await post(catalogue, scenes(1))
    await run_worker(catalogue, handler, until(catalogue, "scene", ["DONE"]))
    assert [(each.step, each.bytes_done, each.bytes_total) for each in told] == [
        ("started", None, None),
        ("fetch", 10**6, 4 * 10**6),
        ("fetch", 2 * 10**6, 4 * 10**6),
    ]
    assert told[0].bytes_per_s is None
    assert told[-1].bytes_per_s
    assert told[-1].bytes_per_s <= 2e6 / 0.3


async def test_a_job_that_kills_its_workers_is_poisoned(catalogue: RunningCatalogue, broker: Broker) -> None:
    async def handler(job: SceneJob, context: JobContext) -> WorkReport:
        raise AssertionError("never reached")

    await post(catalogue, scenes(1))
    for _ in range(catalogue.settings.worker.max_deliveries):
        _, message = await broker.take(JobKind.SCENE)
        await message.nak()  # the quickest way to another delivery
    await run_worker(catalogue, handler, until(catalogue, "scene", ["FAILED"]))
    scene = await (await catalogue.get("/scene/1")).json()
    assert "given out 6 times" in scene["message"]


async def test_temporary_failures_come_back_later(catalogue: RunningCatalogue) -> None:
    tries = 0

    async def handler(job: SceneJob, context: JobContext) -> WorkReport:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise TemporaryError("busy")
        return WorkReport()

    await post(catalogue, scenes(1))
    await run_worker(catalogue, handler, until(catalogue, "scene", ["DONE"]))
    assert tries == 2


async def test_unreadable_messages_go_to_the_dead_letters(catalogue: RunningCatalogue, broker: Broker) -> None:
    stream = broker.client.jetstream()
    await stream.publish("results.scene", b"{")
    await stream.publish("jobs.scene.python.normal", b"nonsense")

    async def handler(job: SceneJob, context: JobContext) -> WorkReport:
        return WorkReport()

    async def dead() -> None:
        async with asyncio.timeout(10):
            while (await stream.stream_info("DEAD")).state.messages < 2:
                await asyncio.sleep(0.02)

    await run_worker(catalogue, handler, dead())
    await post(catalogue, scenes(1))
    assert await finish_jobs(catalogue) == 2
