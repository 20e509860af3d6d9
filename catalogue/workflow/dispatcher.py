"""Sends ready jobs to the broker, by priority, then age. A job is claimed and committed first and published after.

LISTEN wakes it; a sweep every second makes that only a hint. A sent job that is no longer in its stream although no result waits was lost
by the broker (purged, wiped): it becomes ready again under a new number of sending, so that the broker's window of duplicates lets it pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from catalogue.database import Connection, Pool
from catalogue.workflow.jobs import CHANNEL
from catalogue.workflow.postbox import Letter, write_letters
from common.config import Settings
from common.messages import JobKind
from common.messaging import JOBS, RESULTS, JobQueue, declare, lane_of

log = logging.getLogger(__name__)

_SWEEP_S = 1.0
_BATCH = 200
_PUBLISH_S = 5.0
_LOST_AFTER_S = 10.0
"""A sent job younger than this is not looked for in the stream."""


@dataclass
class Dispatcher:
    """Publishes jobs until cancelled. Several replicas may run: claiming is serialised per kind by an advisory lock."""

    pool: Pool
    client: Client
    settings: Settings
    queues: list[JobQueue]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen())
        looking = asyncio.create_task(self._look_for_lost())
        try:
            while True:
                self._wake.clear()
                try:
                    sent = sum([await self.dispatch(kind) for kind in JobKind])
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, nats.errors.Error) as error:
                    log.warning("jobs cannot be sent yet: %s", error or type(error).__name__)
                    await asyncio.sleep(_SWEEP_S)
                    continue
                if sent == 0:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), _SWEEP_S)
        finally:
            for task in (listening, looking):
                task.cancel()
            await asyncio.gather(listening, looking, return_exceptions=True)

    async def dispatch(self, kind: JobKind) -> int:
        """Claim what is ready, up to a batch, and publish it; how many jobs went out."""
        async with self.pool.acquire() as connection:
            claimed = await self._claim(connection, kind)
            if not claimed:
                return 0
            letters = await write_letters(connection, kind, claimed)
        outcomes = await asyncio.gather(*(self._publish(letter) for letter in letters))
        async with self.pool.acquire() as connection:
            await _note(connection, letters, outcomes)
        failed = sum(seq is None for seq in outcomes)
        if failed:
            log.warning("%d of %d jobs could not be handed to the broker; they are tried again", failed, len(letters))
        return len(letters) - failed

    async def _claim(self, connection: Connection, kind: JobKind) -> list[UUID]:
        """Mark the next jobs as sent. Commits before anything is published: a result may come back at once. Uses job_ready."""
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(7470002, $1)", list(JobKind).index(kind))
            rows = await connection.fetch(
                """UPDATE job SET state = 'sent', send = send + 1, sent_at = now(), stream_seq = NULL
                   WHERE id IN (SELECT id FROM job WHERE state = 'ready' AND kind = $1 AND (not_before IS NULL OR not_before <= now())
                                ORDER BY priority DESC, seq
                                LIMIT greatest(0, least($2, $3 - (SELECT count(*) FROM job WHERE state = 'sent' AND kind = $1)))
                                FOR NO KEY UPDATE SKIP LOCKED)
                   RETURNING id""",
                kind.value,
                _BATCH,
                self.settings.limits.in_flight,
            )
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
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
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
                await self.resend_lost()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, nats.errors.Error, APIError) as error:
                log.debug("looking for lost jobs: %s", error or type(error).__name__)

    async def resend_lost(self, *, older_than_s: float = _LOST_AFTER_S) -> int:
        """Make sent jobs ready again that the broker no longer has; how many. A broker that was wiped gets its streams again."""
        suspects = await self.pool.fetch(
            """SELECT id, send, stream_seq FROM job WHERE state = 'sent' AND sent_at < now() - make_interval(secs => $1)
               ORDER BY sent_at LIMIT $2""",
            older_than_s,
            _BATCH,
        )
        if not suspects:
            return 0
        try:
            info = await self._js().stream_info(JOBS)
        except NotFoundError:
            await declare(self._js(), self.settings.nats, self.settings.worker, self.queues)
            info = await self._js().stream_info(JOBS)
        present = await asyncio.gather(*(self._in_stream(row["stream_seq"], row["id"], row["send"], info.state) for row in suspects))
        missing = [(row["id"], row["send"]) for row, there in zip(suspects, present, strict=True) if not there]
        if not missing or (await self._js().stream_info(RESULTS)).state.messages:
            return 0  # acknowledged jobs leave the stream before their results are applied
        rows = await self.pool.fetch(
            """UPDATE job SET state = 'ready', stream_seq = NULL FROM unnest($1::uuid[], $2::int[]) AS lost (id, send)
               WHERE job.id = lost.id AND job.send = lost.send AND job.state = 'sent' RETURNING job.id""",
            [job for job, _ in missing],
            [send for _, send in missing],
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


async def _note(connection: Connection, letters: list[Letter], seqs: list[int | None]) -> None:
    """Write down where each job lies in the stream; what the broker did not confirm is ready again in a second."""
    await connection.execute(
        """UPDATE job SET stream_seq = sent.seq, state = CASE WHEN sent.seq IS NULL THEN 'ready'::job_state ELSE job.state END,
                  not_before = CASE WHEN sent.seq IS NULL THEN now() + interval '1 s' ELSE job.not_before END
           FROM unnest($1::uuid[], $2::int[], $3::bigint[]) AS sent (id, send, seq)
           WHERE job.id = sent.id AND job.send = sent.send AND job.state = 'sent'""",
        [letter.job.job for letter in letters],
        [letter.job.send for letter in letters],
        seqs,
    )
