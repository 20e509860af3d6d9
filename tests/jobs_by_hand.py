"""Finishing jobs without workers: the results a worker would have reported go straight to the broker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import nats
from fixtures_services import RunningCatalogue

from common.errors import TemporaryError
from common.messages import JobKind, JobResult, Outcome, SceneJob, TileJob
from common.messaging import JOBS, JobQueue, Lane, result_subject
from common.pull import Pull


def result(job: SceneJob | TileJob, outcome: Outcome = Outcome.DONE, **more: Any) -> JobResult:
    now = datetime.now(UTC)
    return JobResult(
        job=job.job, send=job.send, kind=JobKind(job.kind), worker="test", outcome=outcome, started_at=now, ended_at=now, **more
    )


async def finish_jobs(catalogue: RunningCatalogue, *, wait_s: float = 10.0) -> int:
    """Report every job of the catalogue as done, until its database holds no unfinished one; how many there were."""
    client = await nats.connect(catalogue.settings.nats.url)
    count = 0

    async def serve(kind: JobKind, model: type[SceneJob] | type[TileJob]) -> None:
        nonlocal count
        pull = Pull(client, JOBS, JobQueue(kind, "python", Lane.NORMAL).consumer)
        await pull.open()
        while True:
            try:
                messages = await pull.receive(10)
            except TemporaryError:
                await asyncio.sleep(0.1)  # the consumer is not there; the catalogue makes it again
                continue
            for message in messages:
                count += 1
                job = model.model_validate_json(message.data)
                await client.jetstream().publish(result_subject(kind), result(job).model_dump_json().encode())
                await message.ack()

    servers = [asyncio.create_task(serve(JobKind.SCENE, SceneJob)), asyncio.create_task(serve(JobKind.TILE, TileJob))]
    try:
        async with asyncio.timeout(wait_s):
            while await catalogue.database.fetchval("SELECT count(*) FROM job WHERE state <> 'finished'"):
                await asyncio.sleep(0.01)
    finally:
        for server in servers:
            server.cancel()
        await asyncio.gather(*servers, return_exceptions=True)
        await client.close()
    return count
