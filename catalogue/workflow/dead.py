"""Dead letters: messages nobody could read, and jobs that seem to kill their workers. Listed for a person, who may send them again."""

from __future__ import annotations

import asyncio
import json

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, BadRequestError, NotFoundError
from pydantic import BaseModel, ConfigDict, ValidationError

from catalogue.database import Pool
from catalogue.workflow.manual import set_status
from catalogue.workflow.status import Status
from common.errors import NotFoundError as NoSuchError
from common.errors import TemporaryError
from common.messages import JobKind, JobMessage
from common.messaging import DEAD
from common.times import UtcDatetime

_SHOWN = 2000
_PREFIX = "dead."


class DeadLetter(BaseModel):
    """A message in the stream `DEAD`."""

    model_config = ConfigDict(frozen=True)

    seq: int
    subject: str
    """Where it came from."""
    reason: str
    time: UtcDatetime | None
    data: str
    """Its first characters."""


async def list_dead(client: Client, *, offset: int = 0, limit: int = 100) -> list[DeadLetter]:
    """From the oldest on."""
    stream = client.jetstream()
    try:
        state = (await stream.stream_info(DEAD)).state
        seqs = range(state.first_seq + offset, state.last_seq + 1) if state.messages else range(0)
        letters = await asyncio.gather(*(_read(client, seq) for seq in seqs[:limit]))
    except (nats.errors.Error, APIError, OSError) as error:
        raise TemporaryError(f"the broker does not answer: {error or type(error).__name__}") from None
    return [letter for letter in letters if letter is not None]


async def retry_dead(pool: Pool, client: Client, seq: int) -> str:
    """Send a dead letter again and take it out of the stream; what was done. A job whose scene or tile is known gets a new attempt.

    Raises NotFoundError.
    """
    stream = client.jetstream()
    try:
        message = await stream.get_msg(DEAD, seq)
    except (NotFoundError, BadRequestError):
        raise NoSuchError(f"there is no dead letter {seq}", field="seq") from None
    subject, data = (message.subject or "").removeprefix(_PREFIX), message.data or b""
    item = await _item_of(pool, data) if subject.startswith("jobs.") else None
    if item is not None:
        async with pool.acquire() as connection:
            await set_status(connection, *item, Status.PENDING, force=True)
        done = f"{item[0]} {item[1]} is tried again"
    else:
        await stream.publish(subject, data)
        done = f"sent to {subject} again"
    await stream.delete_msg(DEAD, seq)
    return done


async def _read(client: Client, seq: int) -> DeadLetter | None:
    try:
        message = await client.jetstream().get_msg(DEAD, seq)
    except NotFoundError:
        return None
    return DeadLetter(
        seq=seq,
        subject=(message.subject or "").removeprefix(_PREFIX),
        reason=(message.headers or {}).get("Thresher-Reason", ""),
        time=message.time,
        data=(message.data or b"")[:_SHOWN].decode(errors="replace"),
    )


async def _item_of(pool: Pool, data: bytes) -> tuple[JobKind, int] | None:
    try:
        kind = JobKind(json.loads(data)["kind"])
        job = JobMessage.model_validate_json(data).job
    except (ValueError, KeyError, TypeError, ValidationError):
        return None
    row = await pool.fetchrow("SELECT coalesce(scene_id, tile_id) AS item FROM job WHERE id = $1", job)
    return None if row is None else (kind, row["item"])
