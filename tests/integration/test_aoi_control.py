"""What people do with a running AOI: pause, resume, cancel, delete with layers, watch; and the figures of the service."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fixtures_services import RunningCatalogue
from fixtures_workflow import Broker, layer, post, scenes, until
from jobs_by_hand import finish_jobs

from common.messages import JobKind, Outcome, SceneJob
from common.messaging import JOBS, connect
from common.work import JobContext, WorkReport
from common.worker import Worker


async def call(catalogue: RunningCatalogue, method: str, path: str) -> int:
    async with catalogue.http.request(method, catalogue.url + path) as response:
        return response.status


async def test_a_paused_aoi_sends_nothing_until_it_is_resumed(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(2))
    first = await broker.take(JobKind.SCENE)
    second = await broker.take(JobKind.SCENE)
    assert await call(catalogue, "PUT", "/aoi/w/pause") == 204
    await broker.report(*first)
    await broker.report(*second)
    await until(catalogue, "tile", ["PENDING", "NEW"])
    await post(catalogue, scenes(1, first=2))
    held = await catalogue.database.fetch("SELECT kind FROM job WHERE state = 'held' ORDER BY kind")
    assert [row["kind"] for row in held] == ["scene", "tile"]
    assert (await broker.client.jetstream().stream_info(JOBS)).state.messages == 0
    assert await call(catalogue, "PUT", "/aoi/w/resume") == 204
    assert await finish_jobs(catalogue) == 4
    await until(catalogue, "tile", ["DONE"] * 3)
    assert await call(catalogue, "PUT", "/aoi/nosuch/pause") == 404


async def test_deleting_cancels_what_runs_and_what_waits(catalogue: RunningCatalogue) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(job: SceneJob, context: JobContext) -> WorkReport:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return WorkReport()

    await post(catalogue, scenes(5, series=False))
    client = await connect(catalogue.settings.nats, "test")
    worker = Worker(client, JobKind.SCENE, slow, catalogue.settings, 1)
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(10):
            await started.wait()
            assert await call(catalogue, "DELETE", "/aoi/w") == 204
            await cancelled.wait()
            while (await client.jetstream().stream_info(JOBS)).state.messages:
                await asyncio.sleep(0.02)
        assert [await catalogue.count(table) for table in ("aoi", "scene", "tile", "job", "payload")] == [0] * 5
        assert await catalogue.count("record") == 5
    finally:
        worker.stop()
        await running
        await client.close()


async def with_layers(catalogue: RunningCatalogue, broker: Broker) -> Path:
    """An AOI of one scene whose layer is indexed; the file."""
    storage = Path(catalogue.settings.storage)
    storage.mkdir()
    file = storage / "layer.tif"
    file.write_bytes(b"x")
    await post(catalogue, scenes(1))
    await broker.run(JobKind.SCENE)
    job, message = await broker.take(JobKind.TILE)
    await broker.report(job, message, **layer(job, str(file)))
    await until(catalogue, "tile", ["DONE"])
    return file


async def test_deleting_leaves_the_layers(catalogue: RunningCatalogue, broker: Broker) -> None:
    file = await with_layers(catalogue, broker)
    assert await call(catalogue, "DELETE", "/aoi/w") == 204
    assert [await catalogue.count(table) for table in ("aoi", "dataset", "record", "deletion")] == [0, 1, 1, 0]
    assert file.exists()


async def test_deleting_with_layers_leaves_nothing(catalogue: RunningCatalogue, broker: Broker) -> None:
    file = await with_layers(catalogue, broker)
    assert await call(catalogue, "DELETE", "/aoi/w?layers=maybe") == 400
    assert await call(catalogue, "DELETE", "/aoi/w?layers=true") == 204
    assert [await catalogue.count(table) for table in ("aoi", "dataset", "record")] == [0, 0, 0]
    async with asyncio.timeout(10):
        while file.exists():
            await asyncio.sleep(0.02)


async def test_events_tell_every_change_and_the_progress(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(2))
    seen: list[tuple[str, str, str]] = []
    summaries: list[dict[str, Any]] = []
    progress: list[dict[str, Any]] = []

    async def listen() -> None:
        async with catalogue.http.get(f"{catalogue.url}/aoi/w/events") as response:
            assert response.content_type == "text/event-stream"
            async for name, data in events(response.content):
                if name == "summary":
                    summaries.append(data)
                elif name == "status":
                    seen.extend((data["kind"], source_id, status) for _, source_id, status in data["items"])
                else:
                    progress.append(data)

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(10):
        while not summaries:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # the summary comes first, LISTEN a moment later
        await broker.client.publish("progress.w", json.dumps({"job": "j", "worker": "w", "step": "fetch", "done": 0.5}).encode())
        await finish_jobs(catalogue)
        while len(seen) < 6 or not progress:
            await asyncio.sleep(0.01)
    listening.cancel()
    assert summaries[0]["scenes"]["pending"] == 2
    assert progress[0]["done"] == 0.5
    assert seen.count(("scene", "S2A_0", "DONE")) == seen.count(("scene", "S2A_1", "DONE")) == 1
    assert [entry for entry in seen if entry[0] == "tile"] == [("tile", "T", status) for status in ("PENDING", "DONE")] * 2


async def events(stream: Any) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async for line in stream:
        key, _, value = line.decode().rstrip("\n").partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            yield name, json.loads(value)


async def test_metrics_count_jobs_and_results(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(3, series=False))
    before = await metrics(catalogue)
    assert before['thresher_jobs{capability="python",kind="tile",state="ready"}'] == 0
    assert sum(value for name, value in before.items() if name.startswith("thresher_jobs{") and 'kind="scene"' in name) == 3
    assert await finish_jobs(catalogue) == 6
    after = await metrics(catalogue)
    assert after['thresher_results_total{fate="applied"}'] == 6
    assert after['thresher_attempts_total{graph="Pass",kind="tile",outcome="done"}'] == 3
    assert after['thresher_attempt_seconds_count{graph="Pass",kind="scene"}'] == 3
    assert after["process_resident_memory_bytes"] > 0


async def metrics(catalogue: RunningCatalogue) -> dict[str, float]:
    text = await (await catalogue.get("/metrics")).text()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}


async def test_dead_letters_are_listed_and_sent_again(catalogue: RunningCatalogue, broker: Broker) -> None:
    await post(catalogue, scenes(1))
    job, message = await broker.take(JobKind.SCENE)
    stream = broker.client.jetstream()
    await stream.publish("dead.jobs.scene.python.normal", message.data, headers={"Thresher-Reason": "given out 6 times"})
    await stream.publish("dead.results.scene", b"{")
    await broker.report(job, message, Outcome.POISONED, message="given out 6 times")
    await until(catalogue, "scene", ["FAILED"])
    os.environ["THRESHER_URL"] = catalogue.url
    try:
        first = await asyncio.to_thread(thresher, "dead", "list")
        assert "given out 6 times" in first.stdout
        assert "results.scene" in first.stdout
        second = await asyncio.to_thread(thresher, "dead", "retry", "1")
        assert second.stdout == "1: scene 1 is tried again\n"
        third = await asyncio.to_thread(thresher, "dead", "retry", "1")
        assert (third.returncode, third.stderr.count("\n")) == (2, 1)
    finally:
        del os.environ["THRESHER_URL"]
    letters = await (await catalogue.get("/dead")).json()
    assert [letter["subject"] for letter in letters] == ["results.scene"]
    assert await finish_jobs(catalogue) == 2
    await until(catalogue, "tile", ["DONE"])


def thresher(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-m", "thresher.cli", *arguments], capture_output=True, text=True, timeout=60, check=False)
