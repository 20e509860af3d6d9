"""Sends ready jobs to the broker, by priority, then age. A job is claimed and committed first and published after.

LISTEN wakes it; a sweep every second makes that only a hint. A job whose place in the stream was never written down (the broker did not
answer, or this process died) is published again under the same number of sending: the broker tells where it lies already. A sent job that
is no longer in its stream, although every result that was there by then has been applied, was lost by the broker (purged, wiped): it
becomes ready again under a new number, so that the broker's window of duplicates lets it pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from catalogue.database import DATABASE_ERRORS, Connection, Pool, affected
from catalogue.workflow.jobs import CHANNEL, hold
from catalogue.workflow.postbox import Letter, write_letters
from common.config import Settings
from common.errors import ConfigurationError
from common.messages import JobKind
from common.messaging import JOBS, RESULTS, URGENT_PRIORITY, JobQueue, declare, is_declared, lane_of
from common.tasks import stop_tasks

log = logging.getLogger(__name__)

_SWEEP_S = 1.0
_BATCH = 200
_PUBLISH_S = 5.0
_LOST_AFTER_S = 10.0
"""A sent job younger than this is not looked for in the stream."""
_UNCONFIRMED_S = 1.0
"""A sent job of this age ought to have a place in the stream."""
_START = (datetime(2000, 1, 1, tzinfo=UTC), UUID(int=0))
_TROUBLE: tuple[type[Exception], ...] = (*DATABASE_ERRORS, nats.errors.Error, APIError, ConfigurationError)


@dataclass
class Dispatcher:
    """Publishes jobs until cancelled. Several replicas may run: claiming is serialised per kind by an advisory lock."""

    pool: Pool
    client: Client
    settings: Settings
    queues: list[JobQueue]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _checked: tuple[datetime, UUID] = _START
    """The job that was looked for last, by when it was sent: the next look begins behind it."""
    _missing: dict[tuple[UUID, int], int] = field(default_factory=dict)
    """Jobs (and their number of sending) that are not in the stream, with the last sequence number of the results at that time."""

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen())
        looking = asyncio.create_task(self._look_for_lost())
        try:
            while True:
                self._wake.clear()
                try:
                    sent = sum([await self.dispatch(kind) for kind in JobKind])
                except _TROUBLE as error:
                    log.warning("jobs cannot be sent yet: %s", error or type(error).__name__)
                    await asyncio.sleep(_SWEEP_S)
                    continue
                if sent == 0:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_SWEEP_S):
                            await self._wake.wait()
        finally:
            await stop_tasks([listening, looking])

    async def dispatch(self, kind: JobKind) -> int:
        """Claim what is ready, up to a batch, and publish it; how many jobs went out."""
        async with self.pool.acquire() as connection:
            claimed = await self._claim(connection, kind)
        return await self._send(kind, claimed) if claimed else 0

    async def confirm(self, *, older_than_s: float = _UNCONFIRMED_S) -> int:
        """Publish again, under the same number of sending, what the broker has not confirmed; how many it has now. Uses job_sent."""
        confirmed = 0
        for kind in JobKind:
            rows = await self.pool.fetch(
                """SELECT id FROM job WHERE state = 'sent' AND kind = $1 AND sent_at < now() - make_interval(secs => $2)
                   AND stream_seq IS NULL ORDER BY sent_at LIMIT $3""",
                kind.value,
                older_than_s,
                _BATCH,
            )
            if rows:
                confirmed += await self._send(kind, [row["id"] for row in rows])
        return confirmed

    async def _send(self, kind: JobKind, jobs: list[UUID]) -> int:
        """Publish jobs that are marked as sent, and note where they lie; how many the broker confirmed."""
        async with self.pool.acquire() as connection:
            letters = await write_letters(connection, kind, jobs)
        outcomes = await asyncio.gather(*(self._publish(letter) for letter in letters))
        placed = [(letter, seq) for letter, seq in zip(letters, outcomes, strict=True) if seq is not None]
        async with self.pool.acquire() as connection:
            gone = await _note(connection, placed)
        # Their AOI was deleted while they were on their way.
        await asyncio.gather(*(self._js().delete_msg(JOBS, seq) for seq in gone), return_exceptions=True)
        if len(placed) < len(letters):
            log.warning("%d of %d jobs were not confirmed by the broker; they are tried again", len(letters) - len(placed), len(letters))
        return len(placed)

    async def _claim(self, connection: Connection, kind: JobKind) -> list[UUID]:
        """Mark the next jobs as sent. Commits before anything is published: a result may come back at once. Uses job_ready."""
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(7470002, $1)", list(JobKind).index(kind))
            arguments = (kind.value, _BATCH, self.settings.limits.in_flight)
            # A normal lane that is full up must not hold back what is urgent.
            rows = await connection.fetch(_CLAIM, *arguments) or await connection.fetch(_CLAIM_URGENT, *arguments, URGENT_PRIORITY)
        return [row["id"] for row in rows]

    async def _publish(self, letter: Letter) -> int | None:
        """The sequence number in the stream, or None if the broker did not confirm."""
        queue = JobQueue(letter.kind, letter.capability, lane_of(letter.priority))
        try:
            ack = await self._js().publish(
                queue.subject,
                letter.job.model_dump_json().encode(),
                timeout=_PUBLISH_S,
                headers={"Nats-Msg-Id": f"{letter.job.job}.{letter.job.send}"},
            )
        except (nats.errors.Error, APIError, OSError) as error:
            log.debug("publish: %s", error or type(error).__name__)
            return None
        return ack.seq

    def _js(self) -> JetStreamContext:
        return self.client.jetstream(timeout=_PUBLISH_S)

    async def _listen(self) -> None:
        """Wake at every NOTIFY; connects again when the connection is gone."""
        while True:
            try:
                async with self.pool.acquire() as connection:
                    await self._listen_on(connection)
            except _TROUBLE as error:
                log.debug("listen: %s", error)
            await asyncio.sleep(_SWEEP_S)

    async def _listen_on(self, connection: Connection) -> None:
        gone = asyncio.Event()

        def wake(*_: object) -> None:
            self._wake.set()

        def lost(_: object) -> None:
            gone.set()

        await connection.add_listener(CHANNEL, wake)
        connection.add_termination_listener(lost)
        try:
            self._wake.set()
            await gone.wait()
        finally:
            if not connection.is_closed():
                connection.remove_termination_listener(lost)
                await connection.remove_listener(CHANNEL, wake)

    async def _look_for_lost(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            try:
                if not await is_declared(self._js(), self.queues):
                    log.warning("the broker has lost streams or consumers: they are declared again")
                    await declare(self._js(), self.settings.nats, self.settings.worker, self.queues, wait_s=0)
                async with self.pool.acquire() as connection:
                    await hold(connection)
                await self.confirm()
                await self.resend_lost()
            except _TROUBLE as error:
                log.debug("looking for lost jobs: %s", error or type(error).__name__)

    async def resend_lost(self, *, older_than_s: float = _LOST_AFTER_S) -> int:
        """Make sent jobs ready again that the broker no longer has; how many. Looks at a batch at a time, all in turn. Uses job_sent."""
        suspects = await self.pool.fetch(
            """SELECT id, send, stream_seq, sent_at FROM job
               WHERE state = 'sent' AND stream_seq IS NOT NULL AND (sent_at, id) > ($1, $2) AND sent_at < now() - make_interval(secs => $3)
               ORDER BY sent_at, id LIMIT $4""",
            *self._checked,
            older_than_s,
            _BATCH,
        )
        self._checked = (suspects[-1]["sent_at"], suspects[-1]["id"]) if len(suspects) == _BATCH else _START
        if suspects:
            state = (await self._js().stream_info(JOBS)).state
            present = await asyncio.gather(*(self._in_stream(row["stream_seq"], row["id"], row["send"], state) for row in suspects))
            missing = [(row["id"], row["send"]) for row, there in zip(suspects, present, strict=True) if not there]
            if missing:
                # A worker reports before it acknowledges: if a missing job has a result, it is among these.
                last = (await self._js().stream_info(RESULTS)).state.last_seq
                self._missing |= {job: self._missing.get(job, last) for job in missing}
        return await self._resend_missing() if self._missing else 0

    async def _resend_missing(self) -> int:
        results = (await self._js().stream_info(RESULTS)).state
        # Numbers that went back are those of a stream that was made anew.
        lost = [job for job, last in self._missing.items() if not results.messages or results.first_seq > last or results.last_seq < last]
        for job in lost:
            del self._missing[job]
        rows = await self.pool.fetch(
            """UPDATE job SET state = 'ready', stream_seq = NULL WHERE id IN (
                   SELECT job.id FROM unnest($1::uuid[], $2::int[]) AS lost (id, send) JOIN job ON job.id = lost.id
                   WHERE job.send = lost.send AND job.state = 'sent' ORDER BY job.id FOR NO KEY UPDATE OF job)
               RETURNING id""",
            [job for job, _ in lost],
            [send for _, send in lost],
        )
        if rows:
            log.warning("%d jobs were lost by the broker and are sent again", len(rows))
            self._wake.set()
        return len(rows)

    async def _in_stream(self, seq: int | None, job: UUID, send: int, state: object) -> bool:
        last, first = getattr(state, "last_seq", 0), getattr(state, "first_seq", 0)
        if seq is None or not first <= seq <= last:
            return False
        try:
            message = await self._js().get_msg(JOBS, seq)
        except NotFoundError:
            return False
        return (message.headers or {}).get("Nats-Msg-Id") == f"{job}.{send}"


def _claim(only: str = "") -> str:
    """Marks the next jobs as sent, of those `only`: not more than a batch, nor than may be in flight."""
    return f"""
    UPDATE job SET state = 'sent', send = send + 1, sent_at = now(), stream_seq = NULL
    WHERE id IN (SELECT id FROM job WHERE state = 'ready' AND kind = $1 AND (not_before IS NULL OR not_before <= now()) {only}
                 ORDER BY priority DESC, seq
                 LIMIT greatest(0, least($2, $3 - (SELECT count(*) FROM job WHERE state = 'sent' AND kind = $1 {only})))
                 FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING id"""  # noqa: S608 - constants


_CLAIM = _claim()
_CLAIM_URGENT = _claim("AND priority >= $4")


async def _note(connection: Connection, placed: list[tuple[Letter, int]]) -> list[int]:
    """Write down where each job lies in the stream; where those lie that no longer exist. Locks in the order of ids, as those do who
    apply results.
    """
    tag = await connection.execute(
        """WITH locked AS (SELECT id FROM job WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE)
           UPDATE job SET stream_seq = sent.seq
           FROM unnest($1::uuid[], $2::int[], $3::bigint[]) AS sent (id, send, seq) JOIN locked ON locked.id = sent.id
           WHERE job.id = sent.id AND job.send = sent.send AND job.state = 'sent'""",
        [letter.job.job for letter, _ in placed],
        [letter.job.send for letter, _ in placed],
        [seq for _, seq in placed],
    )
    if affected(tag) == len(placed):
        return []
    rows = await connection.fetch("SELECT id FROM job WHERE id = ANY($1)", [letter.job.job for letter, _ in placed])
    existing = {row["id"] for row in rows}
    return [seq for letter, seq in placed if letter.job.job not in existing]
