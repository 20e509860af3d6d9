"""The broker: streams, subjects and consumers, and how to connect. Which job goes when is the catalogue's business.

Streams: `JOBS` and `RESULTS` are work queues, `DEAD` keeps what could not be read. Subjects of jobs: `jobs.{kind}.{capability}.{lane}`.
Buckets: `LEASES` holds a key for every connection to a host that limits them, `PAUSES` when a busy host may be asked again.
Progress is core NATS: for display, it may be lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, KeyValueConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.client import KV_STREAM_TEMPLATE
from nats.js.errors import APIError, NotFoundError

from common.config import NatsSettings, WorkerSettings, require
from common.errors import ConfigurationError
from common.messages import JobKind

log = logging.getLogger(__name__)

JOBS = "JOBS"
RESULTS = "RESULTS"
DEAD = "DEAD"
LEASES = "download-leases"
PAUSES = "download-pauses"
FREED = "freed"
"""Core NATS: a key of `LEASES` was given back."""
RESULTS_CONSUMER = "catalogue"
PROGRESS = "progress"
CANCEL = "cancel"
"""Core NATS: the ids of jobs that are no longer wanted."""

URGENT_PRIORITY = 10
"""A job of this priority or more takes the urgent lane, which workers empty first."""

_DUPLICATE_WINDOW_S = 120.0
_DEAD_AGE_S = 30 * 86400.0
_PAUSES_AGE_S = 3600.0


class Lane(StrEnum):
    URGENT = "urgent"
    NORMAL = "normal"


@dataclass(frozen=True)
class JobQueue:
    """Jobs of one kind that need one capability, in one lane: a subject and the consumer of it."""

    kind: JobKind
    capability: str
    lane: Lane

    @property
    def subject(self) -> str:
        return f"jobs.{self.kind}.{self.capability}.{self.lane}"

    @property
    def consumer(self) -> str:
        return f"{self.kind}-{self.capability}-{self.lane}"


def lane_of(priority: int) -> Lane:
    return Lane.URGENT if priority >= URGENT_PRIORITY else Lane.NORMAL


def result_subject(kind: JobKind) -> str:
    return f"results.{kind}"


def progress_subject(aoi: str) -> str:
    """AOI names hold no dot, star or space, so that they are tokens of a subject as they are."""
    return f"{PROGRESS}.{aoi}"


async def connect(settings: NatsSettings, name: str, *, wait_s: float = 30.0) -> Client:
    """A connection that reconnects for ever; waits for a broker that is still starting. Raises ConfigurationError."""
    servers = [server.strip() for server in require(settings.url, "nats.url").split(",")]

    async def on_error(error: Exception) -> None:
        log.debug("broker: %s", error or type(error).__name__)

    async def on_disconnect() -> None:
        if not client.is_closed:
            log.warning("broker: disconnected, trying again")

    async def on_reconnect() -> None:
        log.info("broker: connected again")

    client = Client()
    try:
        async with asyncio.timeout(wait_s):
            await client.connect(
                servers,
                name=name,
                inbox_prefix=inbox_prefix(settings.user),
                tls=_tls(settings),
                user=settings.user or None,
                password=settings.password.get_secret_value() if settings.password else None,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,  # type: ignore[arg-type]  # fractions work
                connect_timeout=5,
                ping_interval=10,
                max_outstanding_pings=2,
                error_cb=on_error,
                disconnected_cb=on_disconnect,
                reconnected_cb=on_reconnect,
            )
    except (nats.errors.Error, TimeoutError, OSError, ssl.SSLError, ValueError) as error:
        raise ConfigurationError(f"nats.url: no broker answers there: {error or type(error).__name__}") from None
    return client


def inbox_prefix(user: str) -> str:
    """Where replies to a service come: below its user name, so that no other may listen to them."""
    return f"_INBOX.{user}" if user else "_INBOX"


def _tls(settings: NatsSettings) -> ssl.SSLContext | None:
    """None: as the URL says."""
    if settings.tls_ca is None and settings.tls_certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
        if settings.tls_certificate is not None:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"nats.tls_ca, nats.tls_certificate, nats.tls_key: cannot be read: {error}") from None
    return context


async def declare(
    js: JetStreamContext, settings: NatsSettings, worker: WorkerSettings, queues: Sequence[JobQueue], *, wait_s: float = 60.0
) -> None:
    """Create or update the streams and consumers. Only the catalogue does this; workers bind to what is there.

    Tries for `wait_s`, as a cluster may have no leader or too few nodes yet. Raises ConfigurationError.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while True:
        try:
            return await _declare(js, settings, worker, queues)
        except (nats.errors.Error, APIError, OSError) as error:
            if loop.time() > deadline:
                raise ConfigurationError(f"nats: streams and consumers cannot be declared: {error or type(error).__name__}") from None
            log.debug("declaring: %s", error or type(error).__name__)
            await asyncio.sleep(0.5)


async def is_declared(js: JetStreamContext, queues: Sequence[JobQueue]) -> bool:
    """Whether all streams and consumers are there; a broker that lost its data, or a replica that died while declaring, left fewer."""
    try:
        streams = (JOBS, RESULTS, DEAD, *(KV_STREAM_TEMPLATE.format(bucket=bucket) for bucket in (LEASES, PAUSES)))
        jobs, results, *_ = [(await js.stream_info(name)).state.consumer_count or 0 for name in streams]
    except NotFoundError:
        return False
    return jobs >= len(queues) and results >= 1


async def _declare(js: JetStreamContext, settings: NatsSettings, worker: WorkerSettings, queues: Sequence[JobQueue]) -> None:
    for config in _streams(settings):
        try:
            await js.stream_info(config.name or "")
            await js.update_stream(config)
        except NotFoundError:
            await js.add_stream(config)
    await _declare_bucket(js, settings, LEASES, settings.lease_s)
    await _declare_bucket(js, settings, PAUSES, _PAUSES_AGE_S)
    for queue in queues:
        await js.add_consumer(
            JOBS,
            ConsumerConfig(
                durable_name=queue.consumer,
                filter_subject=queue.subject,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=worker.ack_wait_s,
                max_deliver=-1,
                max_ack_pending=-1,
            ),
        )
    await js.add_consumer(
        RESULTS,
        ConsumerConfig(
            durable_name=RESULTS_CONSUMER, ack_policy=AckPolicy.EXPLICIT, ack_wait=worker.ack_wait_s, max_deliver=-1, max_ack_pending=-1
        ),
    )


async def _declare_bucket(js: JetStreamContext, settings: NatsSettings, bucket: str, life_s: float) -> None:
    """A bucket that forgets keys `life_s` after their last revision. On disk: a broker that forgot them all would give them out twice."""
    config = KeyValueConfig(bucket=bucket, ttl=life_s, history=1, storage=StorageType.FILE, replicas=settings.replicas)
    try:
        info = await js.stream_info(KV_STREAM_TEMPLATE.format(bucket=bucket))
    except NotFoundError:
        await js.create_key_value(config)
        return
    wanted = info.config.evolve(max_age=life_s, duplicate_window=min(life_s, _DUPLICATE_WINDOW_S), num_replicas=settings.replicas)
    if wanted != info.config:
        await js.update_stream(wanted)


def _streams(settings: NatsSettings) -> list[StreamConfig]:
    return [
        StreamConfig(
            name=name,
            subjects=[f"{name.lower()}.>"],
            retention=RetentionPolicy.LIMITS if name == DEAD else RetentionPolicy.WORK_QUEUE,
            max_age=_DEAD_AGE_S if name == DEAD else None,
            discard=DiscardPolicy.NEW,
            storage=StorageType.FILE,
            num_replicas=settings.replicas,
            duplicate_window=_DUPLICATE_WINDOW_S,
        )
        for name in (JOBS, RESULTS, DEAD)
    ]


def encode_cancellation(jobs: Sequence[UUID]) -> bytes:
    """The message on `CANCEL` that tells workers to stop these jobs."""
    return json.dumps([str(job) for job in jobs]).encode()


def decode_cancellation(data: bytes) -> list[UUID]:
    """Raises ValueError."""
    return [UUID(job) for job in json.loads(data)]
