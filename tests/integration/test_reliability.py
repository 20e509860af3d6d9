"""What the workflow does when the broker forgets, a worker stands still or a result is poison: each case alone, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from fixtures_services import RunningCatalogue
from fixtures_workflow import Broker, post, scenes, statuses, until
from jobs_by_hand import finish_jobs, result

from catalogue.database import Pool, open_pool
from catalogue.workflow.dispatcher import Dispatcher
from catalogue.workflow.orphans import OrphanSweeper, doubt_tiles
from common.errors import TemporaryError
from common.messages import DatasetReport, JobKind, RasterFormat, SceneJob, StoredFile, TileJob
from common.messaging import JOBS, RESULTS, JobQueue, Lane, connect
from common.storage import open_storage
from common.work import JobContext, WorkReport
from common.worker import Worker, default_queues


@pytest.fixture
async def pool(catalogue: RunningCatalogue) -> AsyncIterator[Pool]:
    pool = await open_pool(catalogue.settings.database.url, size=2)
    yield pool
    await pool.close()


@pytest.fixture
def dispatcher(catalogue: RunningCatalogue, broker: Broker, pool: Pool) -> Dispatcher:
    """One by hand, beside that of the catalogue."""
    return Dispatcher(pool, broker.client, catalogue.settings, default_queues(list(JobKind), ["python"]))


async def all_sent(catalogue: RunningCatalogue, count: int) -> None:
    async with asyncio.timeout(10):
        while await catalogue.database.fetchval("SELECT count(*) FROM job WHERE stream_seq IS NOT NULL AND state = 'sent'") < count:
            await asyncio.sleep(0.01)


async def test_a_wiped_broker_gets_its_streams_again_and_every_job(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(3, series=False))
    await all_sent(catalogue, 3)
    stream = broker.client.jetstream()
    for info in await stream.streams_info():
        await stream.delete_stream(info.config.name)
    assert await finish_jobs(catalogue, wait_s=30) == 6
    assert await statuses(catalogue, "tile") == ["DONE"] * 3


async def test_consumers_alone_that_are_lost_are_declared_again(catalogue: RunningCatalogue, broker: Broker) -> None:
    stream = broker.client.jetstream()
    await stream.delete_consumer(JOBS, JobQueue(JobKind.TILE, "python", Lane.NORMAL).consumer)
    await stream.delete_consumer(RESULTS, "catalogue")
    await post(catalogue, scenes(1))
    assert await finish_jobs(catalogue, wait_s=20) == 2


async def test_a_result_lost_with_its_stream_is_made_again(catalogue: RunningCatalogue, broker: Broker, dispatcher: Dispatcher) -> None:
    await post(catalogue, scenes(1))
    await all_sent(catalogue, 1)
    _, message = await broker.take(JobKind.SCENE)
    await message.ack_sync()
    assert await dispatcher.resend_lost(older_than_s=0) == 1
    assert await finish_jobs(catalogue) == 2


async def test_lost_jobs_are_found_while_results_never_cease(catalogue: RunningCatalogue, broker: Broker, dispatcher: Dispatcher) -> None:
    """Results that came after a job was missed say nothing about it."""
    stream = broker.client.jetstream()
    await post(catalogue, scenes(1))
    await all_sent(catalogue, 1)
    job, message = await broker.take(JobKind.SCENE)
    stalled = await stream.consumer_info(RESULTS, "catalogue")
    await stream.delete_consumer(RESULTS, stalled.name)
    try:
        await stream.publish("results.scene", b"before")
        await message.ack_sync()
        before = (await stream.stream_info(RESULTS)).state.first_seq
        assert await dispatcher.resend_lost(older_than_s=0) == 0, "its result may be the one that waits"
        await stream.publish("results.scene", b"after")
        await stream.delete_msg(RESULTS, before)
        assert (await stream.stream_info(RESULTS)).state.messages == 1
        assert await dispatcher.resend_lost(older_than_s=0) == 1
    finally:
        await stream.purge_stream(RESULTS)
    assert await catalogue.database.fetchval("SELECT send FROM job WHERE id = $1", job.job) >= 1


async def test_a_job_that_was_published_but_not_noted_is_not_sent_twice(
    catalogue: RunningCatalogue, broker: Broker, dispatcher: Dispatcher
) -> None:
    await post(catalogue, scenes(1))
    await all_sent(catalogue, 1)
    seq = await catalogue.database.fetchval("UPDATE job SET stream_seq = NULL RETURNING (SELECT stream_seq FROM job)")
    assert await dispatcher.confirm(older_than_s=0) == 1
    assert await catalogue.database.fetchval("SELECT stream_seq FROM job") == seq
    assert (await broker.client.jetstream().stream_info(JOBS)).state.messages == 1


async def test_more_suspects_than_a_batch_are_looked_for_in_turn(
    catalogue: RunningCatalogue, broker: Broker, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalogue.workflow.dispatcher._BATCH", 2)
    await post(catalogue, scenes(5, series=False))
    await all_sent(catalogue, 5)
    last = await catalogue.database.fetchrow("SELECT id, stream_seq FROM job ORDER BY sent_at DESC, id DESC LIMIT 1")
    await broker.client.jetstream().delete_msg(JOBS, last["stream_seq"])
    assert [await dispatcher.resend_lost(older_than_s=0) for _ in range(3)] == [0, 0, 1]


async def test_a_worker_that_stood_still_neither_stores_nor_reports(catalogue: RunningCatalogue, tmp_path: Path) -> None:
    stored: list[UUID] = []

    async def handler(job: SceneJob, context: JobContext) -> WorkReport:
        if not stored:
            stored.append(UUID(int=0))
            time.sleep(1.5 * catalogue.settings.worker.ack_wait_s)  # noqa: ASYNC251 - nothing in this process moves
            with contextlib.suppress(TemporaryError):
                context.check_ours()
                stored.append(context.run)
            return WorkReport(files=[StoredFile(uri="stale", size=1, sha256="")])
        context.check_ours()
        return WorkReport()

    client = await connect(catalogue.settings.nats, "test")
    worker = Worker(client, JobKind.SCENE, handler, catalogue.settings, 2)
    await post(catalogue, scenes(1))
    running = asyncio.create_task(worker.run())
    await until(catalogue, "scene", ["DONE"])
    worker.stop()
    await running
    await client.close()
    assert len(stored) == 1
    attempts = (await (await catalogue.get("/scene/1")).json())["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["done"]
    assert not await catalogue.database.fetchval("SELECT count(*) FROM deletion WHERE uri = 'stale'")


async def test_heartbeats_that_only_reach_the_server_do_not_count(catalogue: RunningCatalogue, broker: Broker) -> None:
    """The consumer is gone, the server answers: the job may run elsewhere."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handler(job: SceneJob, context: JobContext) -> WorkReport:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return WorkReport()

    client = await connect(catalogue.settings.nats, "test")
    worker = Worker(client, JobKind.SCENE, handler, catalogue.settings, 1)
    await post(catalogue, scenes(1))
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(30):
        await begun.wait()
        await broker.client.jetstream().delete_stream(JOBS)
        # The catalogue declares it again; the message is gone for good, and nobody answers for it meanwhile.
        ends = asyncio.create_task(ended.wait())
        while not ends.done():
            with contextlib.suppress(Exception):
                await broker.client.jetstream().delete_stream(JOBS)
            await asyncio.wait([ends], timeout=0.2)
    worker.stop()
    await running
    await client.close()


async def test_one_poison_result_does_not_hold_up_the_others(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(3, series=False))
    for _ in range(3):
        await broker.run(JobKind.SCENE)
    taken = [await broker.take(JobKind.TILE) for _ in range(3)]
    stream = broker.client.jetstream()
    poison = report(taken[0][0], "/x", instance="not an id")
    for (job, _), more in zip(taken, ({"datasets": [poison]}, {}, {}), strict=True):
        await stream.publish("results.tile", result(job, **more).model_dump_json().encode())
    async with asyncio.timeout(20):
        while (await statuses(catalogue, "tile")).count("DONE") < 2 or not (await stream.stream_info("DEAD")).state.messages:
            await asyncio.sleep(0.02)
    assert (await stream.stream_info(RESULTS)).state.messages == 0


async def test_what_a_killed_execution_stored_is_swept(catalogue: RunningCatalogue, broker: Broker, pool: Pool) -> None:
    await post(catalogue, scenes(1))
    await broker.run(JobKind.SCENE)
    job, message = await broker.take(JobKind.TILE)
    folder = Path(catalogue.settings.storage) / "w" / "S2A_0" / "tiles" / "T"
    winner, orphan, other, deep = (
        folder / str(uuid4()) / "layer.tif",
        folder / str(uuid4()) / "layer.tif",
        folder / "state.txt",
        folder / str(uuid4()) / "sub" / "layer.tif",
    )
    for file in (winner, orphan, other, deep):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    sweeper = OrphanSweeper(pool, lambda _: open_storage(catalogue.settings.storage, catalogue.settings), catalogue.settings.storage, 0)
    async with pool.acquire() as connection:
        await doubt_tiles(connection, [job.tile.id])
    await sweeper.sweep()
    assert winner.exists(), "its result may still come"
    assert orphan.exists()
    await broker.report(job, message, deliveries=2, datasets=[report(job, str(winner))])
    await until(catalogue, "tile", ["DONE"])
    async with asyncio.timeout(20):
        while orphan.exists():
            await asyncio.sleep(0.05)
    assert winner.exists()
    assert other.exists()
    assert deep.exists()
    async with asyncio.timeout(5):
        while await catalogue.count("doubtful_tile"):
            await asyncio.sleep(0.02)


def report(job: TileJob, uri: str, instance: str = "") -> DatasetReport:
    return DatasetReport(
        layer="layer",
        tile_id=job.tile.id,
        instance_id=instance or job.instances["layer"],
        file=StoredFile(uri=uri, size=1, sha256="0" * 64),
        format=RasterFormat(dtype="uint8", nodata=0, min_value=1, max_value=2),
        real_min=0,
        real_max=1,
    )
