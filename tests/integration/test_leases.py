"""Limits that hold for all workers together, on a real broker: also when workers are killed, or the broker is out of reach."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from counting_server import CONTENT, CountingServer
from nats.aio.client import Client

from common.config import NatsSettings, WorkerSettings
from common.errors import TemporaryError
from common.messaging import LEASES, PAUSES, connect, declare, is_declared
from downloader.leases import SharedLeases
from thresher.embedded.nats import NatsServer
from thresher.embedded.process import running

LEASE_S = 1.5
WORKERS, LIMIT, FILES = 8, 4, 3
WORKER = Path(__file__).resolve().parent.parent / "polite_worker.py"


@pytest.fixture
async def client(clean_nats_url: str) -> AsyncIterator[Client]:
    settings = NatsSettings(url=clean_nats_url, lease_s=LEASE_S)
    client = await connect(settings, "test")
    await declare(client.jetstream(), settings, WorkerSettings(), [])
    yield client
    await client.close()


@pytest.fixture
async def leases(client: Client) -> AsyncIterator[SharedLeases]:
    leases = SharedLeases(client, "one")
    yield leases
    await leases.close()


async def _keys(client: Client) -> list[str]:
    bucket = await client.jetstream().key_value(LEASES)
    with contextlib.suppress(nats.js.errors.NoKeysError):
        return await bucket.keys()
    return []


async def _gone(client: Client) -> None:
    while await _keys(client):
        await asyncio.sleep(0.05)


async def _tries(leases: SharedLeases, name: str, limit: int) -> bool:
    """Whether there is a permit now."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3), leases.hold(name, limit):
            return True
    return False


async def test_eight_workers_never_open_a_fifth_connection_also_when_some_are_killed(
    client: Client, clean_nats_url: str, tmp_path: Path
) -> None:
    async with CountingServer(full=LIMIT) as server, asyncio.TaskGroup() as group:
        names = [f"worker{number}" for number in range(WORKERS)]
        workers = {
            name: await asyncio.create_subprocess_exec(
                *(sys.executable, str(WORKER), clean_nats_url, server.url, name, str(FILES), str(tmp_path)),
                env={"PYTHONPATH": str(WORKER.parent.parent)},
            )
            for name in names
        }
        killed = names[:3]

        async def kill(name: str) -> None:
            await server.until(name)
            workers[name].kill()

        for name in killed:
            group.create_task(kill(name))
        async with asyncio.timeout(60):
            codes = {name: await worker.wait() for name, worker in workers.items()}
    assert server.most == LIMIT
    assert {name: code for name, code in codes.items() if name not in killed} == dict.fromkeys(names[3:], 0)
    for name in names[3:]:
        assert all((tmp_path / f"{name}-{number}").read_bytes() == CONTENT for number in range(FILES))
    assert all(codes[name] != 0 for name in killed)
    async with asyncio.timeout(2 * LEASE_S):
        await _gone(client)  # what the killed ones held is forgotten


async def test_permits_are_counted_and_given_back(client: Client, leases: SharedLeases) -> None:
    async with leases.hold("host account", 2), leases.hold("host account", 2):
        assert len(await _keys(client)) == 2
        assert not await _tries(SharedLeases(client, "two"), "host account", 2)
        assert await _tries(leases, "another host", 1)
    async with asyncio.timeout(5):
        await _gone(client)
    assert await _tries(leases, "host account", 2)


async def test_a_permit_outlives_its_key_while_it_is_renewed(client: Client, leases: SharedLeases) -> None:
    async with leases.hold("host", 1):
        await asyncio.sleep(2 * LEASE_S)
        assert not await _tries(SharedLeases(client, "two"), "host", 1)


async def test_whoever_loses_a_permit_is_stopped(client: Client, leases: SharedLeases) -> None:
    async def lose() -> None:
        async with asyncio.timeout(3 * LEASE_S), leases.hold("host", 1):
            await (await client.jetstream().key_value(LEASES)).delete((await _keys(client))[0])
            await asyncio.sleep(60)

    with pytest.raises(TemporaryError, match="permit for a connection to host was lost"):
        await lose()
    assert await _tries(leases, "host", 1)


async def test_without_the_broker_a_permit_ends_before_it_could_be_given_to_another(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(server, tmp_path / "log"))
        settings = NatsSettings(url=server.url, lease_s=LEASE_S)
        client = await connect(settings, "test")
        await declare(client.jetstream(), settings, WorkerSettings(), [])
        stopped = 0.0

        async def hold() -> None:
            nonlocal stopped
            async with SharedLeases(client, "one").hold("host", 1):
                await asyncio.to_thread(stack.close)
                stopped = loop.time()
                await asyncio.sleep(60)

        with pytest.raises(TemporaryError, match="was lost"):
            await hold()
        assert loop.time() - stopped < LEASE_S
    with contextlib.suppress(ConnectionError):
        await client.close()


async def test_cancelled_while_waiting_or_holding_leaves_nothing_behind(client: Client, leases: SharedLeases) -> None:
    async def hold() -> None:
        async with leases.hold("host", 1):
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(hold()) for _ in range(5)]
    while not await _keys(client):
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))
    async with asyncio.timeout(LEASE_S / 2):
        await _gone(client)


async def test_one_who_is_told_to_wait_holds_back_all(client: Client, leases: SharedLeases) -> None:
    other = SharedLeases(client, "two")
    await leases.pause("host", 0.6)
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with other.hold("host", 1), other.patience("elsewhere"):
        assert loop.time() - start >= 0.5
    await other.pause("host", 0.0)
    await leases.pause("host", 1000)
    for entering in (other.hold("host", 1), leases.patience("host")):
        with pytest.raises(TemporaryError) as caught:
            async with entering:
                pass
        assert caught.value.retry_after_s == pytest.approx(1000, abs=5)


async def test_workers_wait_for_the_buckets(clean_nats_url: str) -> None:
    settings = NatsSettings(url=clean_nats_url, lease_s=LEASE_S)
    client = await connect(settings, "test")
    leases = SharedLeases(client, "one")
    held = asyncio.Event()

    async def hold() -> None:
        async with leases.hold("host", 1):
            held.set()

    task = asyncio.create_task(hold())
    await asyncio.sleep(0.3)
    assert not held.is_set()
    assert not await is_declared(client.jetstream(), [])
    await declare(client.jetstream(), settings, WorkerSettings(), [])
    await asyncio.wait_for(task, 5)
    await leases.close()
    assert await is_declared(client.jetstream(), [])
    await declare(client.jetstream(), settings.model_copy(update={"lease_s": 3.0}), WorkerSettings(), [])
    assert (await (await client.jetstream().key_value(LEASES)).status()).ttl == 3.0
    assert (await (await client.jetstream().key_value(PAUSES)).status()).ttl == 3600.0
    await client.close()
