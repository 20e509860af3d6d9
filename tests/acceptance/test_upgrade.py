"""A rolling upgrade under load: the services of an older version are replaced one by one, on the same streams and the same database.

The older version is a commit of this repository's own history, so the test needs a clone that has it.
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from fixtures_workflow import VARIABLE, payload, scenes

from thresher.embedded.endpoint import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
BEFORE = "6caa2b10fdf4"
"""0.1.0: before there were orders, STAC items and logs of steps."""
PACKAGES = ("catalogue", "downloader", "processor", "common", "thresher", "payloads")
SERVICES = ("catalogue", "downloader", "processor")
CHAIN = 1500
"""Long enough to last through the upgrade on a quick machine."""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A folder with the packages of the older version."""
    packed = subprocess.run(["git", "archive", BEFORE, *PACKAGES], cwd=REPOSITORY, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"the history of this clone does not reach back to {BEFORE}")
    folder = tmp_path / "older"
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


class Stack:
    def __init__(self, folder: Path, database_url: str, nats_url: str) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "THRESHER_DATABASE_URL": database_url,
            "THRESHER_NATS_URL": nats_url,
            "THRESHER_STORAGE": str(folder / "storage"),
        }
        self.ports: dict[str, int] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, service: str, packages: Path) -> None:
        self.ports[name] = free_port()
        environment = {**self.environment, "PYTHONPATH": str(packages), "THRESHER_SERVER_PORT": str(self.ports[name])}
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", service], env=environment, cwd=self.folder, stdout=log, stderr=log
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        process.wait(60)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    async def ready(self, http: aiohttp.ClientSession, name: str) -> str:
        url = f"http://127.0.0.1:{self.ports[name]}"
        async with asyncio.timeout(60):
            while True:
                assert self.processes[name].poll() is None, self.log(name)
                try:
                    async with http.get(f"{url}/readyz") as response:
                        if response.status == 200:
                            return url
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)


@asynccontextmanager
async def stack_of(folder: Path, database_url: str, nats_url: str) -> AsyncIterator[Stack]:
    stack = Stack(folder, database_url, nats_url)
    try:
        yield stack
    finally:
        for name in list(stack.processes):
            stack.stop(name)


async def add(http: aiohttp.ClientSession, url: str, first: int, count: int) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("area", payload())
    form.add_field("tiles", scenes(count, first=first))
    async with http.post(f"{url}/catalog/aoi", data=form) as response:
        assert response.status == 200, await response.text()


async def done(database: asyncpg.Connection) -> int:
    count: int = await database.fetchval("SELECT count(*) FROM tile WHERE status = 'DONE'")
    return count


async def more_than(database: asyncpg.Connection, tiles: int) -> None:
    async with asyncio.timeout(90):
        while await done(database) < tiles:
            await asyncio.sleep(0.05)


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_services_are_replaced_one_by_one_and_nothing_is_lost(
    older: Path, database_url: str, clean_nats_url: str, tmp_path: Path
) -> None:
    async with stack_of(tmp_path, database_url, clean_nats_url) as stack, aiohttp.ClientSession() as http:
        for service in SERVICES:
            stack.start(f"{service}-old", service, older)
        url = await stack.ready(http, "catalogue-old")
        async with http.put(f"{url}/cube/variables/v", json=VARIABLE) as response:
            assert response.status == 201
        database = await asyncpg.connect(database_url)
        try:
            migrations: int = await database.fetchval("SELECT count(*) FROM schema_migration")
            # One chain: what is lost once stops it for ever.
            await add(http, url, 0, CHAIN)
            await more_than(database, 20)

            stack.start("catalogue-new", "catalogue", REPOSITORY)
            new_url = await stack.ready(http, "catalogue-new")
            assert await database.fetchval("SELECT count(*) FROM schema_migration") > migrations
            # Both versions on the migrated database and the same streams.
            begun = await done(database)
            await more_than(database, begun + 20)
            async with http.get(f"{url}/aoi/w") as response:
                assert response.status == 200, "the old one still answers"
            stack.stop("catalogue-old")

            for service in ("downloader", "processor"):
                begun = await done(database)
                await more_than(database, begun + 10)
                stack.start(f"{service}-new", service, REPOSITORY)
                await more_than(database, begun + 20)
                stack.stop(f"{service}-old")
            await add(http, new_url, CHAIN, 20)
            await more_than(database, CHAIN + 20)
            assert await database.fetchval("SELECT count(*) FROM tile") == CHAIN + 20
            outcomes = await database.fetch("SELECT count(*) AS n FROM job WHERE outcome = 'done' GROUP BY kind, scene_id, tile_id")
            assert [row["n"] for row in outcomes] == [1] * (2 * CHAIN + 40)
            assert await database.fetchval("SELECT count(*) FROM job WHERE outcome NOT IN ('done', 'released')") == 0
        finally:
            await database.close()
        for name in ("catalogue-new", "downloader-new", "processor-new"):
            assert "Traceback" not in stack.log(name), stack.log(name)
