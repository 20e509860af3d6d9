"""The workflow under random posts, results, retries and changes by hand: after every step its invariants hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from fixtures_workflow import payload, scenes
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from catalogue.cube.variables import VariableSpec, apply_variable
from catalogue.database import Pool, open_pool
from catalogue.graphs import GraphShelf
from catalogue.ingestion import ingest
from catalogue.workflow import manual
from catalogue.workflow.results import apply_results
from catalogue.workflow.status import Status
from common.errors import ErrorKind, ForbiddenTransitionError
from common.features import SceneCollection
from common.messages import JobKind, JobResult, Outcome
from common.payload import parse_payload

VARIABLE = VariableSpec.model_validate({"name": "v", "dtype": "uint8", "min_value": 0, "max_value": 255, "instances": [{"name": "i"}]})

OUTCOMES = st.one_of(
    st.just((Outcome.DONE, None)),
    st.just((Outcome.RELEASED, None)),
    st.just((Outcome.POISONED, None)),
    st.tuples(st.just(Outcome.FAILED), st.sampled_from(ErrorKind)),
)

BROKEN = {
    "a tile is PENDING before its scene and the tile before it are done": """
        SELECT t.id FROM tile t JOIN scene s ON s.id = t.scene_id LEFT JOIN tile p ON p.id = t.previous_id
        WHERE t.status = 'PENDING' AND (s.status <> 'DONE' OR p.status <> 'DONE')""",
    "a tile waits for nothing": """
        SELECT t.id FROM tile t JOIN scene s ON s.id = t.scene_id LEFT JOIN tile p ON p.id = t.previous_id
        WHERE t.status = 'NEW' AND s.status = 'DONE' AND (p.id IS NULL OR p.status = 'DONE')""",
    "a tile waits for one that failed": """
        SELECT t.id FROM tile t JOIN tile p ON p.id = t.previous_id WHERE t.status = 'NEW' AND p.status = 'FAILED'""",
    "a tile waits for a scene that failed": """
        SELECT t.id FROM tile t JOIN scene s ON s.id = t.scene_id WHERE t.status IN ('NEW', 'PENDING') AND s.status = 'FAILED'""",
    "the reference of a tile that waits has failed": """
        SELECT t.id FROM tile t JOIN tile r ON r.id = t.reference_id WHERE t.status = 'NEW' AND r.status = 'FAILED'""",
    "a tile that follows another has no reference": """
        SELECT t.id FROM tile t WHERE t.status = 'NEW' AND t.previous_id IS NOT NULL AND t.reference_id IS NULL""",
    "a PENDING item has not exactly one live job, or another item has one": """
        SELECT i.id FROM (
            SELECT s.id, s.status, (SELECT count(*) FROM job j WHERE j.scene_id = s.id AND j.state <> 'finished') AS live FROM scene s
            UNION ALL
            SELECT t.id, t.status, (SELECT count(*) FROM job j WHERE j.tile_id = t.id AND j.state <> 'finished') FROM tile t) AS i
        WHERE live <> CASE WHEN status = 'PENDING' THEN 1 ELSE 0 END""",
    "attempts are not counted one by one": """
        SELECT coalesce(scene_id, tile_id) FROM job GROUP BY scene_id, tile_id
        HAVING count(*) <> max(attempt) OR count(DISTINCT attempt) <> count(*)""",
    "retries do not add up": """
        SELECT id FROM (SELECT id, retries_left FROM scene UNION ALL SELECT id, retries_left FROM tile) AS i
        WHERE retries_left NOT BETWEEN 0 AND 1""",
}


class Workflow(RuleBasedStateMachine):
    """Scenes of one place on days 0 to 9, posted in any order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        super().__init__()
        self.loop, self.pool = loop, pool
        self.finished: list[tuple[UUID, JobKind]] = []
        self.run(pool.execute("TRUNCATE aoi, record, variable, deletion RESTART IDENTITY CASCADE"))
        self.run(self._do(lambda connection: apply_variable(connection, VARIABLE)))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def _do(self, work: Any) -> Any:
        async with self.pool.acquire() as connection:
            return await work(connection)

    @rule(days=st.sets(st.integers(0, 9), min_size=1, max_size=3), is_retriable=st.booleans(), retries=st.integers(0, 1))
    def post(self, days: set[int], is_retriable: bool, retries: int) -> None:
        document = json.loads(payload(is_retriable=is_retriable, retry_count=retries))
        posted = [feature for day in sorted(days) for feature in json.loads(scenes(1, first=day))["features"]]
        for feature in posted:
            for tile in feature["properties"]["tiles"]:
                tile["previous"] = tile["reference"] = None
        self.run(self._do(lambda connection: self._post(connection, document, {"type": "FeatureCollection", "features": posted})))

    async def _post(self, connection: asyncpg.Connection, document: dict[str, Any], posted: dict[str, Any]) -> None:
        """Linked to what is there the plainest way: each day to the latest day before it, of this post or not."""
        there = await connection.fetch("SELECT source_id, date FROM scene ORDER BY date")
        days = {row["source_id"]: row["date"].isoformat() for row in there}
        days |= {f["properties"]["source_id"]: f["properties"]["data"]["date"] for f in posted["features"]}
        order = sorted(days, key=lambda name: days[name])
        for feature in posted["features"]:
            name = feature["properties"]["source_id"]
            if name not in {row["source_id"] for row in there} and (before := order.index(name)):
                links = [{"SourceID": "T", "SceneID": order[at], "Date": days[order[at]]} for at in (before - 1, 0)]
                feature["properties"]["tiles"][0]["previous"], feature["properties"]["tiles"][0]["reference"] = links
        await ingest(
            connection, parse_payload(document), document, SceneCollection.model_validate(posted).scenes, GraphShelf((), ["python"])
        )

    @rule(count=st.integers(1, 4))
    def send(self, count: int) -> None:
        self.run(
            self.pool.execute(
                """UPDATE job SET state = 'sent', send = send + 1, sent_at = now()
                   WHERE id IN (SELECT id FROM job WHERE state = 'ready' ORDER BY seq LIMIT $1)""",
                count,
            )
        )

    @rule(data=st.data(), count=st.integers(1, 4))
    def report(self, data: st.DataObject, count: int) -> None:
        """Results of jobs that were sent, a few at once, each perhaps twice."""
        jobs = self.run(self.pool.fetch("SELECT id, kind FROM job WHERE state = 'sent' ORDER BY seq LIMIT $1", count))
        results = [
            result(job["id"], JobKind(job["kind"]), *data.draw(OUTCOMES)) for job in jobs for _ in range(data.draw(st.integers(1, 2)))
        ]
        self.finished += [(job["id"], JobKind(job["kind"])) for job in jobs]
        self.run(self._do(lambda connection: apply_results(connection, results)))

    @precondition(lambda self: self.finished)
    @rule(data=st.data(), outcome=OUTCOMES)
    def report_late(self, data: st.DataObject, outcome: tuple[Outcome, ErrorKind | None]) -> None:
        before = self.run(self._state())
        job, kind = data.draw(st.sampled_from([*self.finished, (uuid4(), JobKind.TILE)]))
        self.run(self._do(lambda connection: apply_results(connection, [result(job, kind, *outcome)])))
        assert self.run(self._state()) == before

    async def _state(self) -> list[Any]:
        return await self.pool.fetch("SELECT id, status, previous_id, reference_id FROM tile ORDER BY id")

    @rule(data=st.data(), kind=st.sampled_from(JobKind), status=st.sampled_from([Status.PENDING, Status.FAILED]))
    def change_by_hand(self, data: st.DataObject, kind: JobKind, status: Status) -> None:
        items = [row["id"] for row in self.run(self.pool.fetch(f"SELECT id FROM {kind.value} ORDER BY id"))]
        if items:
            item = data.draw(st.sampled_from(items))
            with contextlib.suppress(ForbiddenTransitionError):
                self.run(self._do(lambda connection: manual.set_status(connection, kind, item, status)))

    @rule(force=st.booleans())
    def retry(self, force: bool) -> None:
        if self.run(self.pool.fetchval("SELECT count(*) FROM aoi")):
            self.run(self._do(lambda connection: manual.retry_aoi(connection, "w", force=force)))

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        if self.run(self.pool.fetchval("SELECT count(*) FROM aoi")):
            self.run(self._do(lambda connection: manual.pause_aoi(connection, "w", paused=paused)))

    @invariant()
    def holds(self) -> None:
        for what, query in BROKEN.items():
            rows = self.run(self.pool.fetch(query))
            assert not rows, f"{what}: {[row[0] for row in rows]}"

    def teardown(self) -> None:
        """Left alone with workers that succeed, everything comes to an end."""
        self.pause(paused=False)
        for _ in range(200):
            if not self.run(self.pool.fetchval("SELECT count(*) FROM job WHERE state <> 'finished'")):
                break
            jobs = self.run(self.pool.fetch("SELECT id, kind FROM job WHERE state <> 'finished'"))
            done = [result(job["id"], JobKind(job["kind"]), Outcome.DONE, None) for job in jobs]
            self.run(self._do(lambda connection, done=done: apply_results(connection, done)))
            self.holds()
        waiting = self.run(
            self.pool.fetchval(
                """WITH RECURSIVE blocked AS (
                       SELECT t.id FROM tile t JOIN scene s ON s.id = t.scene_id WHERE t.status = 'RETRY' OR s.status = 'RETRY'
                       UNION SELECT t.id FROM tile t JOIN blocked b ON t.previous_id = b.id)
                   SELECT count(*) FROM tile WHERE status = 'NEW' AND id NOT IN (SELECT id FROM blocked)"""
            )
        )
        assert waiting == 0


def result(job: UUID, kind: JobKind, outcome: Outcome, error_kind: ErrorKind | None) -> JobResult:
    now = datetime.now(UTC)
    return JobResult(job=job, send=1, kind=kind, worker="model", outcome=outcome, error_kind=error_kind, started_at=now, ended_at=now)


def test_invariants_hold(database_url: str) -> None:
    loop = asyncio.new_event_loop()
    pool = loop.run_until_complete(open_pool(database_url, size=2))
    try:
        run_state_machine_as_test(
            lambda: Workflow(loop, pool),
            settings=settings(
                max_examples=int(os.environ.get("THRESHER_EXAMPLES", "25")),
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                derandomize=True,
                database=None,
            ),
        )
    finally:
        loop.run_until_complete(pool.close())
        loop.close()
