"""A backup under load, everything destroyed, restored: the work goes on to its end, and nothing that is listed is missing."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from chaos.checks import Findings, check
from chaos.stack import CATALOGUES, DOWNLOADERS, NODES, POSTGRES, PROCESSORS, Stack, running_stack
from chaos.workload import Size

from thresher.embedded.endpoint import LOOPBACK
from thresher.embedded.postgres import PostgresServer

SIZE = Size(orbits=2, dates=10, tiles=4)
SERVICES = (*CATALOGUES, *DOWNLOADERS, *PROCESSORS)
NEVER = float("inf")


async def until_done(stack: Stack, tiles: int) -> None:
    async with asyncio.timeout(120):
        while (await stack.fetch("SELECT count(*) AS n FROM tile WHERE status = 'DONE'"))[0]["n"] < tiles:
            await asyncio.sleep(0.05)


def run(program: Path, *arguments: str | Path) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


async def hold(stack: Stack, *, on: bool) -> None:
    url = f"http://{LOOPBACK}:{stack.ports[CATALOGUES[0]]}/deletions/hold"
    async with aiohttp.ClientSession() as http, http.request("PUT" if on else "DELETE", f"{url}/30" if on else url) as response:
        assert response.status == 200
        assert ((await response.json())["held_until"] is not None) is on


async def destroy(stack: Stack, server: PostgresServer) -> None:
    """Every process killed; database, streams and storage gone."""
    for name in (*SERVICES, *NODES):
        stack.fleet.slots[name].not_before = NEVER
        stack.fleet.signal(name, signal.SIGKILL)
    async with asyncio.timeout(30):
        while any(stack.fleet.is_up(name) for name in (*SERVICES, *NODES)):
            await asyncio.sleep(0.05)
    for node in stack.cluster.nodes:
        node.wipe()
    shutil.rmtree(stack.storage)
    elsewhere = await asyncpg.connect(server.url_of("postgres"))
    try:
        await elsewhere.execute("DROP DATABASE thresher WITH (FORCE)")
        await elsewhere.execute("CREATE DATABASE thresher")
    finally:
        await elsewhere.close()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_restored_backup_runs_to_its_end(tmp_path: Path) -> None:
    dump, copy = tmp_path / "thresher.dump", tmp_path / "storage"
    async with running_stack(SIZE) as stack:
        server = stack.fleet.slots[POSTGRES].part
        assert isinstance(server, PostgresServer)
        programs = server.home.programs
        await stack.submit()
        await until_done(stack, SIZE.tile_count // 4)

        await hold(stack, on=True)
        await asyncio.to_thread(run, programs / "pg_dump", "--format=custom", f"--file={dump}", stack.database_url)
        then = (await stack.fetch("SELECT count(*) AS n FROM tile WHERE status = 'DONE'"))[0]["n"]
        # Long enough for files to become superfluous between the dump and the copy.
        await until_done(stack, min(then + SIZE.chain_count, SIZE.tile_count - 1))
        await asyncio.to_thread(shutil.copytree, stack.storage, copy, ignore=shutil.ignore_patterns(".part-*"))
        await hold(stack, on=False)
        await until_done(stack, then + SIZE.chain_count + 5)

        await destroy(stack, server)
        await asyncio.to_thread(run, programs / "pg_restore", "--no-owner", f"--dbname={stack.database_url}", dump)
        shutil.copytree(copy, stack.storage)
        restored = (await stack.fetch("SELECT count(*) AS n FROM tile WHERE status = 'DONE'"))[0]["n"]
        assert 0 < restored < then + SIZE.chain_count, "the restored database is behind what was destroyed"
        for name in (*NODES, *SERVICES):
            stack.fleet.slots[name].not_before = 0.0
        await until_done(stack, SIZE.tile_count)
        # The hold was in the dump; an operator ends it, and so would time.
        await hold(stack, on=False)
        async with asyncio.timeout(60):
            while (await stack.fetch("SELECT count(*) AS n FROM deletion"))[0]["n"]:
                await asyncio.sleep(0.1)

        for name in (*DOWNLOADERS, *PROCESSORS):
            stack.fleet.slots[name].not_before = NEVER
        await asyncio.to_thread(stack.fleet.stop, (*DOWNLOADERS, *PROCESSORS))
        findings = Findings()
        await check(stack, findings)
        assert findings.broken == []
