"""The shipped configuration of a NATS cluster: services work with it and may do nothing else, nodes restart in turn."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import nats
import pytest
from fixtures_workflow import VARIABLE, payload, scenes
from nats.aio.client import Client
from nats_deployment import NatsDeployment, nats_deployment, password

from common.config import NatsSettings, WorkerSettings
from common.messages import JobKind
from common.messaging import JobQueue, Lane, connect, declare
from thresher.embedded.endpoint import free_port

SERVICES = ("catalogue", "downloader", "processor")
QUEUES = [JobQueue(kind, "python", lane) for kind in JobKind for lane in Lane]

# Who may send to a subject; nobody else may.
SENDERS: dict[str, set[str]] = {
    "jobs.scene.python.normal": {"catalogue"},
    "jobs.tile.python.urgent": {"catalogue"},
    "results.scene": {"downloader"},
    "results.tile": {"processor"},
    "progress.area": {"downloader", "processor"},
    "cancel": {"catalogue"},
    "dead.jobs.scene.python.normal": {"catalogue", "downloader"},
    "dead.jobs.tile.python.normal": {"catalogue", "processor"},
    "dead.results.tile": {"catalogue"},
    "freed.host": {"downloader"},
    "anything": set(),
    "_INBOX.catalogue.x": set(),
    "_INBOX.downloader.x": set(),
    "$KV.download-leases.host.0": {"downloader"},
    "$KV.download-pauses.host": {"downloader"},
    "$KV.other.key": set(),
    "$JS.API.INFO": {"catalogue"},
    "$JS.API.STREAM.LIST": set(),
    "$JS.API.STREAM.NAMES": set(),
    "$JS.API.STREAM.CREATE.JOBS": {"catalogue"},
    "$JS.API.STREAM.CREATE.OTHER": set(),
    "$JS.API.STREAM.UPDATE.RESULTS": {"catalogue"},
    "$JS.API.STREAM.UPDATE.KV_download-leases": {"catalogue"},
    "$JS.API.STREAM.DELETE.JOBS": set(),
    "$JS.API.STREAM.DELETE.KV_download-leases": set(),
    "$JS.API.STREAM.PURGE.JOBS": set(),
    "$JS.API.STREAM.PURGE.DEAD": set(),
    "$JS.API.STREAM.SNAPSHOT.JOBS": set(),
    "$JS.API.STREAM.MSG.GET.JOBS": {"catalogue"},
    "$JS.API.STREAM.MSG.GET.RESULTS": set(),
    "$JS.API.STREAM.MSG.DELETE.JOBS": {"catalogue"},
    "$JS.API.STREAM.MSG.DELETE.RESULTS": set(),
    "$JS.API.STREAM.MSG.GET.KV_download-leases": {"downloader"},
    "$JS.API.CONSUMER.CREATE.JOBS.other": {"catalogue"},
    "$JS.API.CONSUMER.CREATE.DEAD.other": set(),
    "$JS.API.CONSUMER.DELETE.JOBS.scene-python-normal": set(),
    "$JS.API.CONSUMER.DELETE.RESULTS.catalogue": set(),
    "$JS.API.CONSUMER.INFO.JOBS.scene-python-normal": {"catalogue", "downloader"},
    "$JS.API.CONSUMER.INFO.JOBS.tile-python-normal": {"catalogue", "processor"},
    "$JS.API.CONSUMER.MSG.NEXT.JOBS.scene-python-normal": {"downloader"},
    "$JS.API.CONSUMER.MSG.NEXT.JOBS.scene-python-urgent": {"downloader"},
    "$JS.API.CONSUMER.MSG.NEXT.JOBS.tile-python-normal": {"processor"},
    "$JS.API.CONSUMER.MSG.NEXT.RESULTS.catalogue": {"catalogue"},
    "$JS.ACK.JOBS.scene-python-normal.1.1.1.1.0": {"downloader"},
    "$JS.ACK.JOBS.tile-python-normal.1.1.1.1.0": {"processor"},
    "$JS.ACK.RESULTS.catalogue.1.1.1.1.0": {"catalogue"},
    "$SYS.REQ.SERVER.PING": set(),
}

# Who may listen to a subject.
LISTENERS: dict[str, set[str]] = {
    ">": set(),
    "jobs.>": set(),
    "results.>": set(),
    "dead.>": set(),
    "progress.area": {"catalogue"},
    "progress.*": {"catalogue"},
    "cancel": {"downloader", "processor"},
    "freed.*": {"downloader"},
    "_INBOX.>": set(),
    "_INBOX.catalogue.>": {"catalogue"},
    "_INBOX.downloader.>": {"downloader"},
    "_INBOX.processor.>": {"processor"},
    "$KV.>": set(),
    "$JS.API.>": set(),
    "$JS.ACK.>": set(),
    "$JS.EVENT.>": set(),
    "$SYS.>": set(),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsDeployment]:
    with nats_deployment(tmp_path_factory.mktemp("nats")) as deployment:
        yield deployment


def settings(cluster: NatsDeployment, user: str) -> NatsSettings:
    return NatsSettings.model_validate({"url": cluster.url, "user": user, "password": password(user), "tls_ca": cluster.ca, "replicas": 3})


@asynccontextmanager
async def connection(cluster: NatsDeployment, user: str) -> AsyncIterator[Client]:
    client = await connect(settings(cluster, user), user)
    try:
        yield client
    finally:
        await client.close()


async def complaints(cluster: NatsDeployment, user: str) -> tuple[Client, list[str]]:
    """A connection, and what the server objects to."""
    heard: list[str] = []

    async def hear(error: Exception) -> None:
        heard.append(str(error))

    context = ssl.create_default_context(cafile=cluster.ca)
    client = await nats.connect(cluster.url.split(","), user=user, password=password(user), tls=context, error_cb=hear)
    return client, heard


async def declared(cluster: NatsDeployment) -> None:
    async with connection(cluster, "catalogue") as client:
        await declare(client.jetstream(), settings(cluster, "catalogue"), WorkerSettings(), QUEUES)


@pytest.mark.parametrize("user", SERVICES)
async def test_a_service_may_send_to_its_subjects_alone(cluster: NatsDeployment, user: str) -> None:
    await declared(cluster)
    client, heard = await complaints(cluster, user)
    try:
        refused: set[str] = set()
        for subject in SENDERS:
            heard.clear()
            # A body that no request of the broker can be: nothing comes of what is allowed.
            await client.publish(subject, b"{")
            await client.flush()
            await asyncio.sleep(0.02)
            if any("ermissions violation" in line.lower() for line in heard):
                refused.add(subject)
        assert refused == {subject for subject, senders in SENDERS.items() if user not in senders}
    finally:
        await client.close()


@pytest.mark.parametrize("user", SERVICES)
async def test_a_service_may_listen_to_its_subjects_alone(cluster: NatsDeployment, user: str) -> None:
    client, heard = await complaints(cluster, user)
    try:
        refused: set[str] = set()
        for subject in LISTENERS:
            heard.clear()
            await client.subscribe(subject)
            await client.flush()
            await asyncio.sleep(0.02)
            if any("ermissions violation" in line.lower() for line in heard):
                refused.add(subject)
        assert refused == {subject for subject, listeners in LISTENERS.items() if user not in listeners}
    finally:
        await client.close()


async def test_nobody_comes_in_without_password_or_tls(cluster: NatsDeployment) -> None:
    context = ssl.create_default_context(cafile=cluster.ca)
    server = cluster.url.split(",")[0]
    for more in ({}, {"user": "catalogue", "password": "wrong"}, {"user": "stranger", "password": password("catalogue")}):
        with pytest.raises(nats.errors.Error, match="Authorization"):
            await nats.connect(server, tls=context, allow_reconnect=False, **more)
    with pytest.raises((nats.errors.Error, ssl.SSLError, OSError)):
        # Its certificate is of nobody this machine trusts.
        await nats.connect(server, user="catalogue", password=password("catalogue"), allow_reconnect=False)


@pytest.mark.timeout(240)
async def test_nodes_restart_one_after_another_under_load(cluster: NatsDeployment, database_url: str, tmp_path: Path) -> None:
    """Streams with three replicas, each service with its own user: everything is done, once."""
    async with running_services(cluster, database_url, tmp_path) as (url, http, database):
        async with http.put(f"{url}/cube/variables/v", json=VARIABLE) as response:
            assert response.status == 201, await response.text()
        for round_, number in enumerate((None, 0, 1, 2)):
            if number is not None:
                await asyncio.to_thread(cluster.stop, number)
            form = aiohttp.FormData(default_to_multipart=True)
            form.add_field("area", payload())
            form.add_field("tiles", scenes(40, series=False, first=40 * round_))
            async with http.post(f"{url}/catalog/aoi", data=form) as response:
                assert response.status == 200, await response.text()
            if number is not None:
                cluster.start(number)
                await until_healthy(cluster, number)
        async with asyncio.timeout(90):
            while await database.fetchval("SELECT count(*) FROM tile WHERE status <> 'DONE'"):
                await asyncio.sleep(0.1)
        assert await database.fetchval("SELECT count(*) FROM tile") == 160
        done = await database.fetch("SELECT count(*) AS n FROM job WHERE outcome = 'done' GROUP BY kind, scene_id, tile_id")
        assert [row["n"] for row in done] == [1] * 320
    async with connection(cluster, "operator") as client:
        info = await client.jetstream().stream_info("JOBS")
        assert info.config.num_replicas == 3
        assert info.cluster is not None
        assert len(info.cluster.replicas or []) == 2


async def until_healthy(cluster: NatsDeployment, number: int) -> None:
    """The node says that its streams have caught up."""
    address = f"http://127.0.0.1:{cluster.ports[6 + number]}/healthz"
    async with asyncio.timeout(60):
        while True:
            try:
                with await asyncio.to_thread(urllib.request.urlopen, address, None, 2) as answer:
                    if json.load(answer)["status"] == "ok":
                        return
            except (OSError, ValueError):
                pass
            await asyncio.sleep(0.2)


@asynccontextmanager
async def running_services(
    cluster: NatsDeployment, database_url: str, folder: Path
) -> AsyncIterator[tuple[str, aiohttp.ClientSession, asyncpg.Connection]]:
    port = free_port()
    processes: dict[str, subprocess.Popen[bytes]] = {}
    for name in SERVICES:
        environment = {
            **os.environ,
            **cluster.environment(name),
            "THRESHER_STORAGE": str(folder / "storage"),
            "THRESHER_SERVER_PORT": str(port),
            **({"THRESHER_DATABASE_URL": database_url} if name == "catalogue" else {}),
        }
        processes[name] = start_service(name, environment, folder / f"{name}.log")
    url = f"http://127.0.0.1:{port}"
    database = await asyncpg.connect(database_url)
    try:
        async with aiohttp.ClientSession() as http:
            async with asyncio.timeout(60):
                while True:
                    try:
                        async with http.get(f"{url}/readyz") as response:
                            if response.status == 200:
                                break
                    except aiohttp.ClientError:
                        pass
                    assert all(process.poll() is None for process in processes.values()), logs(folder)
                    await asyncio.sleep(0.1)
            yield url, http, database
        assert all(process.poll() is None for process in processes.values()), logs(folder)
        assert "ermissions violation" not in logs(folder).lower()
    finally:
        await database.close()
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def start_service(name: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, "-P", "-m", name], env=environment, stdout=file, stderr=file)


def logs(folder: Path) -> str:
    return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(folder.glob("*.log")))
