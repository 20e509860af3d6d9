"""A stack for benchmarks: PostgreSQL and NATS as `thresher up` runs them (nothing switched off), and the services as processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from thresher.embedded.endpoint import free_port
from thresher.embedded.nats import NatsServer
from thresher.embedded.postgres import PostgresServer
from thresher.embedded.process import Child, running

VARIABLE = {"name": "bench", "dtype": "uint8", "nodata": 0, "min_value": 0, "max_value": 255, "instances": [{"name": "raw"}]}
WKT = "POLYGON ((10 50, 11 50, 11 51, 10 51, 10 50))"


@dataclass
class Stack:
    url: str
    database_url: str
    environment: dict[str, str]
    http: aiohttp.ClientSession
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    servers: dict[str, Child] = field(default_factory=dict)

    def start(self, name: str, module: str, **environment: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", module], env={**self.environment, **environment}, stderr=log, stdout=log
            )

    async def post(self, name: str, collection: dict[str, Any], **more: Any) -> float:
        """Post tiles; the seconds until the answer."""
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("area", json.dumps(payload(name, **more)))
        form.add_field("tiles", json.dumps(collection))
        begun = asyncio.get_running_loop().time()
        async with self.http.post(f"{self.url}/catalog/aoi", data=form) as response:
            text = await response.text()
            assert response.status == 200, text
        return asyncio.get_running_loop().time() - begun

    def memory_mb(self) -> dict[str, int]:
        """Largest resident memory of each service so far, in MB."""
        found: dict[str, int] = {}
        for name, process in self.processes.items():
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    found[name] = int(line.split()[1]) // 1024
        return found

    def processor_seconds(self) -> dict[str, float]:
        """Time on processors so far, of each service with what it has started and that is still there."""
        spent: dict[str, float] = {}
        for name, process in (*self.processes.items(), *self.servers.items()):
            spent[name] = sum(_processor_seconds(pid) for pid in _family(process.pid))
        return spent


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family(int(child)))]


def _processor_seconds(pid: int) -> float:
    """Its own, and that of children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@contextlib.asynccontextmanager
async def running_stack(**environment: str) -> AsyncIterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="thresher-bench-"))
    folder.chmod(0o711)
    postgres, nats = PostgresServer(folder, shelters=[folder]), NatsServer(folder)
    with running(postgres, folder / "postgres.log") as database, running(nats, folder / "nats.log") as broker:
        port = str(free_port())
        stack = Stack(
            f"http://127.0.0.1:{port}",
            postgres.url,
            {
                **os.environ,
                "THRESHER_DATABASE_URL": postgres.url,
                "THRESHER_NATS_URL": nats.url,
                "THRESHER_STORAGE": str(folder / "storage"),
                "THRESHER_SERVER_PORT": port,
                "THRESHER_LOG_LEVEL": "warning",
                **environment,
            },
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)),
            folder,
            servers={"PostgreSQL": database, "NATS": broker},
        )
        try:
            stack.start("catalogue", "catalogue")
            async with asyncio.timeout(30):
                while not await _answers(stack):
                    await asyncio.sleep(0.05)
            async with stack.http.put(f"{stack.url}/cube/variables/bench", json=VARIABLE) as response:
                assert response.status == 201
            yield stack
        finally:
            await stack.http.close()
            for process in stack.processes.values():
                process.terminate()
            for process in stack.processes.values():
                process.wait(30)
            for log in sorted(folder.glob("*.log")):
                if log.stem in stack.processes and log.stat().st_size:
                    print(f"--- {log.stem}: {log.read_text()[-2000:]}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)


async def _answers(stack: Stack) -> bool:
    try:
        async with stack.http.get(f"{stack.url}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def payload(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "Polygon",
        "coordinates": [[[10, 50], [11, 50], [11, 51], [10, 51], [10, 50]]],
        "start_time": "2000-01-01T00:00:00Z",
        "end_time": "2030-01-01T00:00:00Z",
        "scene_type": {"constellation": "sentinel1"},
        "scene_graph_name": "Pass",
        "tile_graph_name": "Pass",
        "layers": {"bench": {"variable": "bench", "instance": "raw"}},
        **more,
    }


def tiles(scenes: int, tiles_each: int, *, chained: bool = True) -> dict[str, Any]:
    """Scenes a day apart; each tile follows the one at its place the day before."""

    def date(scene: int) -> str:
        return (datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=scene)).isoformat()

    def link(scene: int, tile: int) -> dict[str, str] | None:
        return {"SourceID": f"T{tile}", "SceneID": f"S1A_{scene}", "Date": date(scene)} if chained and scene >= 0 else None

    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": None,
                "properties": {
                    "source_id": f"S1A_{scene}",
                    "data": {"date": date(scene), "metadata": {"uuid": "00000000-0000-0000-0000-000000000000"}},
                    "tags": {"orbit": "1"},
                    "wkt": WKT,
                    "tiles": [
                        {
                            "SourceID": f"T{tile}",
                            "SceneID": f"S1A_{scene}",
                            "Date": date(scene),
                            "data": {},
                            "wkt": WKT,
                            "previous": link(scene - 1, tile),
                            "reference": link(0, tile) if scene else None,
                        }
                        for tile in range(tiles_each)
                    ],
                },
            }
            for scene in range(scenes)
        ],
    }


async def wait_done(database: asyncpg.Connection, aoi: str, *, timeout_s: float = 600) -> None:
    async with asyncio.timeout(timeout_s):
        while await database.fetchval(
            "SELECT EXISTS (SELECT FROM tile t JOIN aoi a ON a.id = t.aoi_id WHERE a.name = $1 AND t.status IN ('NEW', 'PENDING'))", aoi
        ):
            await asyncio.sleep(0.05)
