"""What steps printed: kept whole, found by the attempt, and gone with what it belongs to."""

from __future__ import annotations

import asyncio
import gzip
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fixtures_services import RunningCatalogue
from fixtures_workflow import Broker, post, scenes, until
from jobs_by_hand import result

from common.config import GraphSettings, Settings
from common.errors import ErrorKind
from common.graph import StepRecord, record
from common.layers import open_layer_store
from common.messages import JobKind, JobResult, Outcome, SceneRef, TileRef
from common.messaging import result_subject
from common.step_logs import store_log

SCENE = SceneRef(id=1, source_id="S", aoi="a", date=datetime(2022, 1, 4, tzinfo=UTC))
TILE = TileRef(id=1, source_id="T", scene=SCENE)


def test_a_record_keeps_the_beginning_and_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MOST_BYTES", 100)
    with StepRecord(tmp_path) as lines:
        for number in range(2000):
            lines.line(f"line {number} é")
        kept = lines.write(tmp_path).read_text().splitlines()
    assert (kept[0], kept[8], kept[9]) == ("line 0 é", "line 8 é", "line 9 é")
    assert kept[10] == "[990 lines are left out]"
    assert (kept[11], kept[-1], len(kept)) == ("line 1000 é", "line 1999 é", 1011)


def test_a_record_has_no_name_while_steps_run(tmp_path: Path) -> None:
    with StepRecord(tmp_path) as lines:
        assert lines.is_empty
        lines.line("x")
        assert not lines.is_empty
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("lines", "suffix"), [(1, ".log"), (10_000, ".log.gz")])
async def test_logs_lie_beside_the_layers(tmp_path: Path, lines: int, suffix: str) -> None:
    store, run = open_layer_store("", Settings(storage=str(tmp_path / "store"))), uuid.uuid4()
    with StepRecord(tmp_path) as taken:
        for number in range(lines):
            taken.line(f"line {number}")
        uri = await store_log(taken, store, SCENE, TILE, run, GraphSettings(), failed=False)
    assert uri == str(tmp_path / "store" / "a" / "S" / "tiles" / "T" / "logs" / f"{run}{suffix}")
    content = Path(uri).read_bytes()
    assert (gzip.decompress(content) if suffix.endswith("gz") else content).count(b"\n") == lines


@pytest.mark.parametrize(
    ("logs", "failed", "kept"), [("always", False, True), ("failure", False, False), ("failure", True, True), ("never", True, False)]
)
async def test_when_logs_are_kept(tmp_path: Path, logs: str, failed: bool, kept: bool) -> None:
    store = open_layer_store("", Settings(storage=str(tmp_path / "store")))
    with StepRecord(tmp_path) as taken:
        settings = GraphSettings.model_validate({"logs": logs})
        assert await store_log(taken, store, SCENE, None, uuid.uuid4(), settings, failed=failed) == "", "nothing was printed"
        taken.line("x")
        uri = await store_log(taken, store, SCENE, None, uuid.uuid4(), settings, failed=failed)
    assert bool(uri) is kept
    assert ("/a/S/logs/" in uri) is kept


async def test_a_log_that_cannot_be_stored_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file, not a folder")
    store = open_layer_store("", Settings(storage=str(tmp_path / "store")))
    with StepRecord(tmp_path) as taken:
        taken.line("x")
        assert await store_log(taken, store, SCENE, TILE, uuid.uuid4(), GraphSettings(), failed=True) == ""


def test_a_result_of_the_version_before_has_no_log() -> None:
    now = datetime.now(UTC).isoformat()
    old = {
        "version": 0,
        "job": str(uuid.uuid4()),
        "send": 1,
        "kind": "tile",
        "worker": "w",
        "outcome": "done",
        "started_at": now,
        "ended_at": now,
    }
    assert JobResult.model_validate(old).log == ""


async def test_attempts_name_their_logs_and_losers_are_swept(catalogue: RunningCatalogue, broker: Broker, tmp_path: Path) -> None:
    folder = Path(catalogue.settings.storage) / "w" / "S2A_0" / "logs"
    folder.mkdir(parents=True)
    first, second, late = (folder / f"{name}.log" for name in ("first", "second", "late"))
    for file in (first, second, late):
        file.write_text(file.stem)

    await post(catalogue, scenes(1), retry_count=1)
    job, carried = await broker.take(JobKind.SCENE)
    won = result(job, Outcome.FAILED, error_kind=ErrorKind.ERROR, message="no", log=str(first))
    lost = result(job, Outcome.DONE, log=str(late)).model_copy(update={"worker": "another"})
    for told in (won, won, lost):
        await broker.client.jetstream().publish(result_subject(JobKind.SCENE), told.model_dump_json().encode())
    await carried.ack()
    await broker.run(JobKind.SCENE, log=str(second))
    await until(catalogue, "tile", ["PENDING"])

    scene = await catalogue.database.fetchval("SELECT id FROM scene")
    async with catalogue.http.get(f"{catalogue.url}/scene/{scene}") as response:
        attempts = (await response.json())["attempts"]
    assert [attempt["log"] for attempt in attempts] == [str(first), str(second)]
    await gone(late)
    assert (first.read_text(), second.read_text()) == ("first", "second"), "the winner's stays, also when its result came twice"

    async with catalogue.http.delete(f"{catalogue.url}/aoi/w") as response:
        assert response.status == 204
    await gone(first)
    await gone(second)


async def gone(file: Path) -> None:
    async with asyncio.timeout(10):
        while file.exists():
            await asyncio.sleep(0.02)
