"""What workers report: consumed in batches, each batch one transaction. The first result of a job wins; later ones are counted and dropped.

`ResultConsumer` reads the stream; `apply_results` is the transaction, and can be called without a broker.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import APIError
from pydantic import ValidationError

from catalogue.cube.datasets import IndexedLayer, index_layers
from catalogue.cube.records import mark_processed
from catalogue.database import PASSING_ERRORS, Connection, Pool
from catalogue.metrics import CatalogueMetrics
from catalogue.workflow.decisions import Decision, decide
from catalogue.workflow.deletions import request_deletions
from catalogue.workflow.jobs import create_jobs
from catalogue.workflow.orphans import doubt_tiles
from catalogue.workflow.status import Status
from catalogue.workflow.transitions import Change, change_scenes, change_tiles, lock_items
from common.errors import TemporaryError
from common.messages import DatasetReport, JobKind, JobResult, Outcome
from common.messaging import RESULTS, RESULTS_CONSUMER
from common.pull import Pull

log = logging.getLogger(__name__)

_BATCH = 200
_TRIES = 3
"""Of a result that cannot be applied, alone, for a reason nobody expected."""


@dataclass(frozen=True)
class _Winner:
    """The first result of a job, and the state of its scene or tile."""

    result: JobResult
    item: int
    decision: Decision
    graph: str


@dataclass(frozen=True)
class Applied:
    """What became of a batch of results."""

    counters: Counter[str]
    """applied, late, duplicate, unknown"""
    endings: list[Ending] = field(default_factory=list)


@dataclass(frozen=True)
class Ending:
    """An attempt that counts, and whether another follows."""

    result: JobResult
    graph: str
    again: bool


@dataclass
class ResultConsumer:
    """Reads `RESULTS` until cancelled. Several replicas may."""

    pool: Pool
    client: Client
    metrics: CatalogueMetrics = field(default_factory=CatalogueMetrics)

    async def run(self) -> None:
        pull = Pull(self.client, RESULTS, RESULTS_CONSUMER)
        await pull.open()
        try:
            while True:
                try:
                    messages = await pull.receive(_BATCH)
                except (TemporaryError, nats.errors.Error, APIError, OSError) as error:
                    log.debug("results: %s", error)
                    await asyncio.sleep(0.2)
                    continue
                if messages:
                    try:
                        await self._consume(messages)
                    except (nats.errors.Error, APIError, OSError) as error:
                        # Those that were not acknowledged come again.
                        log.warning("results cannot be acknowledged: %s", error or type(error).__name__)
        finally:
            await pull.close()

    async def _consume(self, messages: list[Msg]) -> None:
        results: list[JobResult] = []
        for message in messages:
            try:
                results.append(JobResult.model_validate_json(message.data))
            except ValidationError as error:
                log.error("a result cannot be read, it goes to the dead letters: %s", error)
                await self._bury(message, "not a result")
        delay, tries = 0.1, 0
        while True:
            try:
                async with self.pool.acquire() as connection:
                    self._count(await apply_results(connection, results))
                break
            except PASSING_ERRORS as error:
                # Not acknowledged: if this replica dies here, another gets them after the consumer's ack_wait.
                log.warning("results cannot be applied yet: %s", error or type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(2 * delay, 5.0)
            except Exception:
                if len(messages) > 1:
                    # One of them must not hold up the others.
                    for message in messages:
                        await self._consume([message])
                    return
                tries += 1
                if tries < _TRIES:
                    await asyncio.sleep(delay)
                    continue
                log.exception("a result cannot be applied, it goes to the dead letters")
                await self._bury(messages[0], "cannot be applied")
                break
        await asyncio.gather(*(message.ack() for message in messages))

    async def _bury(self, message: Msg, reason: str) -> None:
        self.metrics.count("unreadable")
        await self.client.jetstream().publish(f"dead.{message.subject}", message.data, headers={"Thresher-Reason": reason})

    def _count(self, applied: Applied) -> None:
        for fate, number in applied.counters.items():
            self.metrics.count(fate, number)
        for ending in applied.endings:
            self.metrics.ended(ending.graph, ending.result, again=ending.again)


async def apply_results(connection: Connection, results: Sequence[JobResult]) -> Applied:
    """Carry out what the results say, all or nothing."""
    counters: Counter[str] = Counter()
    if not results:
        return Applied(counters)
    now = datetime.now(UTC)
    async with connection.transaction():
        winners = await _decide(connection, results, counters)
        await _finish_jobs(connection, winners)
        layers = [IndexedLayer(report, winner.result.job) for winner in winners for report in _published(winner.result)]
        replaced = await index_layers(connection, layers)
        for kind, change in ((JobKind.SCENE, change_scenes), (JobKind.TILE, change_tiles)):
            mine = [winner for winner in winners if winner.result.kind is kind]
            await change(
                connection,
                [Change(w.item, w.decision.status, w.decision.retries_left, w.decision.message) for w in mine],
            )
            again = {winner.item: winner.decision.delay_s for winner in mine if winner.decision.status is Status.PENDING}
            await create_jobs(connection, kind, sorted(again), delays_s=again)
        await _touch_records(connection, winners, now)
        indexed = {layer.report.file.uri for layer in layers}
        superfluous = [file.uri for result in results for file in result.files if file.uri not in indexed]
        superfluous += await _logs_nobody_finds(connection, results, winners)
        # An item that will be tried again still needs its inputs.
        wanted = [uri for winner in winners if winner.decision.status is not Status.PENDING for uri in winner.result.deletions]
        await request_deletions(connection, [*wanted, *replaced, *superfluous])
        await _doubt(connection, results)
    return Applied(counters, [Ending(winner.result, winner.graph, winner.decision.status is Status.PENDING) for winner in winners])


async def _decide(connection: Connection, results: Sequence[JobResult], counters: Counter[str]) -> list[_Winner]:
    """Lock everything the results touch; which of them count."""
    ids = list({result.job for result in results})
    jobs = await connection.fetch("SELECT id, scene_id, tile_id FROM job WHERE id = ANY($1)", ids)
    scenes = [row["scene_id"] for row in jobs if row["scene_id"] is not None]
    tiles = [row["tile_id"] for row in jobs if row["tile_id"] is not None]
    await lock_items(connection, scenes, tiles)
    await connection.execute("SELECT FROM job WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", ids)
    # Read again: another replica may have finished them before the locks were ours.
    rows = await connection.fetch(
        """SELECT j.id, j.kind, j.state, j.worker, j.started_at, coalesce(j.scene_id, j.tile_id) AS item,
                  coalesce(s.retries_left, t.retries_left) AS retries_left, coalesce(s.data ->> 'graph_name', t.graph_name) AS graph,
                  coalesce((s.data ->> 'is_retriable')::boolean, t.is_retriable) AS is_retriable,
                  (SELECT count(*) FROM job f WHERE f.error_kind = 'temporary'
                   AND (f.scene_id = j.scene_id OR f.tile_id = j.tile_id)) AS temporary_failures
           FROM job j LEFT JOIN scene s ON s.id = j.scene_id LEFT JOIN tile t ON t.id = j.tile_id WHERE j.id = ANY($1)""",
        ids,
    )
    live = {row["id"]: row for row in rows if row["state"] != "finished"}
    known = {row["id"] for row in rows}
    winners: list[_Winner] = []
    for result in results:
        row = live.pop(result.job, None)
        if row is None or row["kind"] != result.kind.value:
            fate = "unknown" if result.job not in known else "duplicate" if _is_winner(result, rows, winners) else "late"
            counters[fate] += 1
            log.info("%s result of job %s dropped (%s, %s)", fate, result.job, result.outcome, result.worker)
            continue
        counters["applied"] += 1
        decision = decide(
            result.outcome,
            result.error_kind,
            _plain(result.message),
            retries_left=row["retries_left"],
            is_retriable=row["is_retriable"],
            temporary_failures=row["temporary_failures"],
            retry_after_s=result.retry_after_s,
        )
        winners.append(_Winner(result, row["item"], decision, row["graph"]))
    return winners


def _is_winner(result: JobResult, rows: Sequence[asyncpg.Record], winners: Sequence[_Winner]) -> bool:
    """Whether a result that comes too late is the very one that won, delivered again."""
    won = {(row["id"], row["worker"], row["started_at"]) for row in rows}
    won |= {(winner.result.job, winner.result.worker, winner.result.started_at) for winner in winners}
    return (result.job, result.worker, result.started_at) in won


def _published(result: JobResult) -> list[DatasetReport]:
    """The layers that count: of an attempt that came to its own end."""
    return result.datasets if result.outcome in (Outcome.DONE, Outcome.FAILED) else []


async def _finish_jobs(connection: Connection, winners: Sequence[_Winner]) -> None:
    await connection.execute(
        """UPDATE job SET state = 'finished', worker = r.worker, started_at = r.started_at, ended_at = r.ended_at, outcome = r.outcome,
                  error_kind = r.error_kind, message = r.message, log = r.log
           FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[])
                AS r (id, worker, started_at, ended_at, outcome, error_kind, message, log) WHERE job.id = r.id""",
        [winner.result.job for winner in winners],
        [_plain(winner.result.worker) for winner in winners],
        [winner.result.started_at for winner in winners],
        [winner.result.ended_at for winner in winners],
        [winner.result.outcome.value for winner in winners],
        [winner.result.error_kind.value if winner.result.error_kind else "" for winner in winners],
        [_plain(winner.result.message) for winner in winners],
        [_plain(winner.result.log) for winner in winners],
    )


async def _logs_nobody_finds(connection: Connection, results: Sequence[JobResult], winners: Sequence[_Winner]) -> list[str]:
    """What the steps of attempts that do not count printed."""
    told = {winner.result.log for winner in winners}
    losers = [result for result in results if result.log and result.log not in told]
    if not losers:
        return []
    # A result that won may be delivered again.
    rows = await connection.fetch("SELECT log FROM job WHERE id = ANY($1)", [result.job for result in losers])
    return sorted({result.log for result in losers} - {row["log"] for row in rows})


async def _doubt(connection: Connection, results: Sequence[JobResult]) -> None:
    """A job that was given out more than once may have been run by workers that never told of it."""
    again = [result.job for result in results if result.kind is JobKind.TILE and (result.deliveries > 1 or result.send > 1)]
    if again:
        rows = await connection.fetch("SELECT DISTINCT tile_id FROM job WHERE id = ANY($1) AND tile_id IS NOT NULL", again)
        await doubt_tiles(connection, [row["tile_id"] for row in rows])


async def _touch_records(connection: Connection, winners: Sequence[_Winner], now: datetime) -> None:
    tiles = list({report.tile_id for winner in winners for report in winner.result.datasets})
    if tiles:
        rows = await connection.fetch(
            "SELECT DISTINCT s.record_id FROM tile t JOIN scene s ON s.id = t.scene_id WHERE t.id = ANY($1) AND s.record_id IS NOT NULL",
            tiles,
        )
        records: list[UUID] = [row["record_id"] for row in rows]
        await mark_processed(connection, records, now)


def _plain(text: str) -> str:
    return text.replace("\x00", "")
