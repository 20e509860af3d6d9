"""Stopping work that is no longer wanted: taken out of the broker where it waits, cancelled where it runs.

A hint only: what slips through reports a job nobody knows, and its files are swept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError

from catalogue.workflow.manual import SentJob
from common.messaging import CANCEL, JOBS, encode_cancellation

log = logging.getLogger(__name__)

_AT_ONCE = 100


async def cancel(client: Client, jobs: Sequence[SentJob]) -> None:
    """Take the jobs out of their stream and tell the workers to stop."""
    stream = client.jetstream()
    for start in range(0, len(jobs), _AT_ONCE):
        part = jobs[start : start + _AT_ONCE]
        ended = await asyncio.gather(
            *(stream.delete_msg(JOBS, job.stream_seq) for job in part if job.stream_seq is not None), return_exceptions=True
        )
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, nats.errors.Error | APIError | OSError):
                raise error
        try:
            await client.publish(CANCEL, encode_cancellation([job.id for job in part]))
        except (nats.errors.Error, OSError) as error:
            log.debug("cancellation: %s", error)
