"""The workflow on a real database and broker: what results change, what is lost and found again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from fixtures_services import RunningCatalogue, run_catalogue
from fixtures_workflow import VARIABLE, Broker, layer, payload, post, scenes, statuses, until
from jobs_by_hand import finish_jobs, result

from catalogue.database import open_pool
from catalogue.workflow.dispatcher import Dispatcher
from common.config import Settings
from common.errors import ErrorKind
from common.messages import JobKind, Outcome
from common.messaging import JOBS, Lane
from common.worker import default_queues


async def test_a_series_goes_tile_by_tile(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(3))
    for _ in range(3):
        await broker.run(JobKind.SCENE)
    await until(catalogue, "tile", ["PENDING", "NEW", "NEW"])
    job = await broker.run(JobKind.TILE)
    assert (job.previous, job.reference) == (None, None)
    await until(catalogue, "tile", ["DONE", "PENDING", "NEW"])
    await broker.run(JobKind.TILE)
    job = await broker.run(JobKind.TILE)
    assert (job.previous.scene.source_id, job.reference.scene.source_id) == ("S2A_1", "S2A_0")
    await until(catalogue, "tile", ["DONE"] * 3)


async def test_a_tile_waits_for_its_scene(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(2))
    first, message = await broker.take(JobKind.SCENE)
    second, other = await broker.take(JobKind.SCENE)
    await broker.report(first, message)
    await broker.run(JobKind.TILE)
    await until(catalogue, "tile", ["DONE", "NEW"])
    await broker.report(second, other)
    await until(catalogue, "tile", ["DONE", "PENDING"])


async def test_a_failed_tile_is_taken_out_of_its_series(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(4))
    for _ in range(4):
        await broker.run(JobKind.SCENE)
    await broker.run(JobKind.TILE, Outcome.FAILED, error_kind=ErrorKind.FATAL, message="no")
    await until(catalogue, "tile", ["FAILED", "PENDING", "NEW", "NEW"])
    rows = await catalogue.database.fetch("SELECT id, previous_id, reference_id FROM tile ORDER BY id")
    ids = [row["id"] for row in rows]
    assert [(row["previous_id"], row["reference_id"]) for row in rows[1:]] == [(None, None), (ids[1], ids[1]), (ids[2], ids[1])]
    await broker.run(JobKind.TILE)
    await broker.run(JobKind.TILE, Outcome.FAILED, error_kind=ErrorKind.FATAL)
    job = await broker.run(JobKind.TILE)
    assert job.previous.scene.source_id == job.reference.scene.source_id == "S2A_1"


async def test_failed_scenes_of_one_batch_leave_no_tile_behind(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(4))
    jobs = [await broker.take(JobKind.SCENE) for _ in range(4)]
    for job, message in jobs[:3]:
        await broker.report(job, message, Outcome.FAILED, error_kind=ErrorKind.FATAL)
    await broker.report(*jobs[3])
    await until(catalogue, "tile", ["FAILED"] * 3 + ["PENDING"])
    job = await broker.run(JobKind.TILE)
    assert (job.previous, job.reference) == (None, None)


@pytest.mark.parametrize("is_retriable", [True, False])
async def test_errors_use_up_the_retries_and_temporary_ones_do_not(catalogue: RunningCatalogue, broker: Broker, is_retriable: bool) -> None:
    await post(catalogue, scenes(1), retry_count=1, is_retriable=is_retriable)
    await broker.run(JobKind.SCENE, Outcome.RELEASED)
    await broker.run(JobKind.SCENE, Outcome.FAILED, error_kind=ErrorKind.TEMPORARY, message="busy")
    await broker.run(JobKind.SCENE, Outcome.FAILED, error_kind=ErrorKind.ERROR, message="first")
    await broker.run(JobKind.SCENE, Outcome.FAILED, error_kind=ErrorKind.ERROR, message="second")
    await until(catalogue, "scene", ["RETRY" if is_retriable else "FAILED"])
    scene = await (await catalogue.get("/scene/1")).json()
    assert scene["message"] == "second"
    assert [attempt["outcome"] for attempt in scene["attempts"]] == ["released", "failed", "failed", "failed"]
    if is_retriable:
        async with catalogue.http.put(f"{catalogue.url}/aoi/w/retry") as response:
            assert await response.json() == {"Scenes": 1, "Tiles": 0}
        assert await finish_jobs(catalogue) == 2
        await until(catalogue, "tile", ["DONE"])


async def test_the_first_result_wins_and_the_files_of_others_go(catalogue: RunningCatalogue, broker: Broker) -> None:
    storage = Path(catalogue.settings.storage)
    storage.mkdir()
    files = [storage / name for name in ("winner.tif", "loser.tif", "unknown.tif", "product.zip")]
    for file in files:
        file.write_bytes(b"x")
    winner, loser, unknown, product = files
    await post(catalogue, scenes(1))
    await broker.run(JobKind.SCENE)
    job, message = await broker.take(JobKind.TILE)
    stream = broker.client.jetstream()
    deletions = {"deletions": [str(product)]}
    for sent in (
        result(job, **layer(job, str(winner)), **deletions),
        result(job, **layer(job, str(loser)), **deletions),
        result(job, **layer(job, str(winner)), **deletions),
        result(job.model_copy(update={"job": uuid4()}), **layer(job, str(unknown))),
    ):
        await stream.publish("results.tile", sent.model_dump_json().encode())
    await message.ack()
    await until(catalogue, "tile", ["DONE"])
    async with asyncio.timeout(10):
        while loser.exists() or unknown.exists() or product.exists():
            await asyncio.sleep(0.02)
    assert winner.exists()
    found = await (await catalogue.get("/cube/datasets?aoi=w")).json()
    assert [dataset["uri"] for dataset in found["datasets"]] == [str(winner)]
    [record] = (await (await catalogue.get("/cube/records")).json())["records"]
    assert "processingDate" in record["tags"]
    assert await catalogue.count("job") == 2


async def test_an_item_that_will_be_retried_keeps_its_inputs(catalogue: RunningCatalogue, broker: Broker) -> None:
    storage = Path(catalogue.settings.storage)
    storage.mkdir()
    product = storage / "product.zip"
    product.write_bytes(b"x")
    await post(catalogue, scenes(1), retry_count=1)
    await broker.run(JobKind.SCENE)
    more = {"error_kind": ErrorKind.ERROR, "deletions": [str(product)]}
    await broker.run(JobKind.TILE, Outcome.FAILED, **more)
    await broker.take(JobKind.TILE)
    assert await catalogue.count("deletion") == 0
    assert product.exists()


async def test_a_purged_stream_is_sent_again_within_the_window_of_duplicates(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(2, series=False))
    async with asyncio.timeout(10):
        while await catalogue.database.fetchval("SELECT count(*) FROM job WHERE stream_seq IS NOT NULL") < 2:
            await asyncio.sleep(0.01)
    await broker.client.jetstream().purge_stream(JOBS)
    pool = await open_pool(catalogue.settings.database.url, size=2)
    try:
        dispatcher = Dispatcher(pool, broker.client, catalogue.settings, default_queues(list(JobKind), ["python"]))
        assert await dispatcher.resend_lost(older_than_s=0) == 2
        assert await dispatcher.resend_lost(older_than_s=0) in (0, 2)
    finally:
        await pool.close()
    assert await finish_jobs(catalogue) >= 4
    assert await statuses(catalogue, "tile") == ["DONE", "DONE"]


async def test_priority_takes_the_urgent_lane(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(1), priority=10)
    job, _ = await broker.take(JobKind.SCENE, Lane.URGENT)
    assert job.scene.source_id == "S2A_0"


async def test_two_catalogues_on_one_database(catalogue_settings: Settings) -> None:
    async with run_catalogue(catalogue_settings) as one, run_catalogue(catalogue_settings) as two:
        await post(one, scenes(20))
        await post(two, scenes(10, first=20))
        assert await finish_jobs(one, wait_s=30) == 60
        assert set(await statuses(one, "tile")) == set(await statuses(two, "scene")) == {"DONE"}


async def test_links_to_a_failed_tile_go_to_the_one_before(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(2))
    await broker.run(JobKind.SCENE)
    await broker.run(JobKind.SCENE, Outcome.FAILED, error_kind=ErrorKind.FATAL)
    await until(catalogue, "tile", ["PENDING", "FAILED"])
    await post(catalogue, scenes(1, first=2))
    row = await catalogue.database.fetchrow("SELECT previous_id, reference_id FROM tile ORDER BY id DESC LIMIT 1")
    assert (row["previous_id"], row["reference_id"]) == (1, 1)


async def test_a_link_to_nothing_is_refused(catalogue: RunningCatalogue) -> None:
    async with catalogue.http.put(f"{catalogue.url}/cube/variables/v", json=VARIABLE) as response:
        assert response.status == 201
    response = await catalogue.post("/catalog/aoi", area=payload(), tiles=scenes(1, first=1))
    problem = await response.json()
    assert (response.status, problem["field"]) == (400, "tiles.features.0.properties.tiles.0.previous")
    assert await catalogue.count("scene") == await catalogue.count("record") == 0
