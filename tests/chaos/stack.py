"""The stack: PostgreSQL as in production, three NATS nodes, two catalogues, two downloaders, three processors, each a process of its own.

A fleet keeps them running: what ends, for whatever reason, is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import asyncpg

from chaos.cluster import NatsCluster
from chaos.workload import GRAPHS, VARIABLE, Size, Workload
from thresher.embedded.endpoint import LOOPBACK, free_port
from thresher.embedded.postgres import PostgresServer
from thresher.embedded.process import Child, Launch, Part, StopPlan

CATALOGUES = ("catalogue0", "catalogue1")
DOWNLOADERS = ("downloader0", "downloader1")
PROCESSORS = ("processor0", "processor1", "processor2")
NODES = ("nats0", "nats1", "nats2")
POSTGRES = "postgres"
ACK_WAIT_S = 3.0
SCRATCH_MB = 32
_TICK_S = 0.05
_START_S = 60.0
_GRACE_S = 2.0


@dataclass
class Service:
    """One of our services, directly below the fleet, so that it can be killed alone."""

    name: str
    module: str
    environment: dict[str, str]
    port: int | None = None
    final_codes = frozenset[int]()
    stop_plan = StopPlan(((signal.SIGTERM, _GRACE_S + 15.0),))

    def prepare(self) -> Launch:
        return Launch((sys.executable, "-P", "-m", self.module), self.environment, death_signal=signal.SIGKILL)

    def is_ready(self, pid: int) -> bool:  # noqa: ARG002 - the fleet does not wait for it
        return True


@dataclass
class Slot:
    part: Part
    child: Child | None = None
    not_before: float = 0.0
    starts: int = 0


@dataclass
class Fleet:
    """Processes by name. `tend` starts again what has ended."""

    logs: Path
    slots: dict[str, Slot] = field(default_factory=dict)

    def add(self, part: Part, name: str = "") -> None:
        self.slots[name or part.name] = Slot(part)

    def start(self, name: str) -> None:
        slot = self.slots[name]
        slot.child = Child.start(name, slot.part.prepare(), self.logs / f"{name}.log")
        slot.starts += 1

    async def started(self, name: str) -> None:
        self.start(name)
        slot = self.slots[name]
        async with asyncio.timeout(_START_S):
            while slot.child is None or not slot.part.is_ready(slot.child.pid):
                await asyncio.sleep(_TICK_S)

    def signal(self, name: str, number: signal.Signals) -> None:
        child = self.slots[name].child
        if child is not None and child.exit_code() is None:
            child.signal(number)

    def kill(self, name: str, *, away_s: float = 0.2) -> None:
        """SIGKILL; it is started again after `away_s`."""
        slot = self.slots[name]
        slot.not_before = max(slot.not_before, asyncio.get_running_loop().time() + away_s)
        self.signal(name, signal.SIGKILL)

    def is_up(self, name: str) -> bool:
        child = self.slots[name].child
        return child is not None and child.exit_code() is None

    async def tend(self) -> None:
        while True:
            now = asyncio.get_running_loop().time()
            for name, slot in self.slots.items():
                if slot.child is not None and slot.child.exit_code() is not None and now >= slot.not_before:
                    slot.not_before = now + 0.3
                    self.start(name)
            await asyncio.sleep(_TICK_S)

    def stop(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.signal(name, signal.SIGCONT)
            self.signal(name, signal.SIGTERM)
        for name in names:
            slot = self.slots.get(name)
            if slot is not None and slot.child is not None:
                slot.child.stop(slot.part.stop_plan)


@dataclass
class Stack:
    folder: Path
    workload: Workload
    fleet: Fleet
    cluster: NatsCluster
    database_url: str
    ports: dict[str, int]
    scratch: Path
    can_fill: bool
    """Whether the scratch folder is a small disk of its own."""
    keep: bool = False
    """Leave the folder behind."""

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows, whatever PostgreSQL is going through: tried until it answers."""
        async with asyncio.timeout(30):
            while True:
                try:
                    connection = await asyncpg.connect(self.database_url, timeout=5)
                    try:
                        return await connection.fetch(query, *arguments)
                    finally:
                        await connection.close()
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await asyncio.sleep(0.1)

    async def submit(self) -> None:
        """Make the variable and post the work."""
        url = f"http://{LOOPBACK}:{self.ports[CATALOGUES[0]]}"
        async with aiohttp.ClientSession() as http:
            deadline = asyncio.get_running_loop().time() + _START_S
            while silent := await self.silent(http):
                if asyncio.get_running_loop().time() > deadline:
                    words = [f"{name}: {child.last_words()}" for name in silent if (child := self.fleet.slots[name].child) is not None]
                    raise RuntimeError("services that do not become ready: " + "; ".join(words))
                await asyncio.sleep(_TICK_S)
            async with http.put(f"{url}/cube/variables/count", json=VARIABLE) as response:
                assert response.status == 201, await response.text()
            form = aiohttp.FormData(default_to_multipart=True)
            form.add_field("area", self.workload.payload())
            form.add_field("tiles", self.workload.tiles())
            async with http.post(f"{url}/catalog/aoi", data=form) as response:
                assert response.status == 200, await response.text()

    async def silent(self, http: aiohttp.ClientSession) -> list[str]:
        """The services that do not say they are ready."""
        return [name for name, port in self.ports.items() if not await _answers(http, f"http://{LOOPBACK}:{port}/readyz")]

    def log_lines(self, names: tuple[str, ...], text: str) -> int:
        return sum((self.fleet.logs / f"{name}.log").read_text(errors="replace").count(text) for name in names)


@contextlib.asynccontextmanager
async def running_stack(size: Size) -> AsyncIterator[Stack]:
    """From the main thread only: the processes die with it."""
    folder = Path(tempfile.mkdtemp(prefix="thresher-chaos-"))
    folder.chmod(0o711)
    (folder / "logs").mkdir()
    scratch = folder / "scratch"
    scratch.mkdir()
    is_disk = _mounted(scratch)
    workload = Workload(folder, size)
    workload.prepare()
    fleet = Fleet(folder / "logs")
    postgres, cluster = PostgresServer(folder, shelters=[folder]), NatsCluster(folder / "nats")
    fleet.add(postgres)
    for node in cluster.nodes:
        fleet.add(node)
    configuration = folder / "thresher.toml"
    configuration.write_text(_configuration(folder, workload))
    ports = {name: free_port() for name in CATALOGUES}
    shared = {
        **{key: value for key, value in os.environ.items() if not key.startswith("THRESHER_")},
        "THRESHER_CONFIG": str(configuration),
        "THRESHER_NATS_URL": cluster.url,
    }
    for name in CATALOGUES:
        fleet.add(
            Service(
                name, "catalogue", {**shared, "THRESHER_DATABASE_URL": postgres.url, "THRESHER_SERVER_PORT": str(ports[name])}, ports[name]
            )
        )
    for name in (*DOWNLOADERS, *PROCESSORS):
        ports[name] = free_port()
        fleet.add(Service(name, name[:-1], {**shared, "THRESHER_WORKER_HTTP_PORT": str(ports[name])}, ports[name]))
    tending: asyncio.Task[None] | None = None
    stack = Stack(folder, workload, fleet, cluster, postgres.url, ports, scratch, is_disk)
    try:
        for name in (*NODES, POSTGRES):
            await fleet.started(name)
        tending = asyncio.create_task(fleet.tend())
        for name in (*CATALOGUES, *DOWNLOADERS, *PROCESSORS):
            fleet.start(name)
        yield stack
    finally:
        if tending is not None:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
        for name, slot in fleet.slots.items():
            if name != POSTGRES and slot.child is not None and slot.child.exit_code() is None:
                slot.child.kill()
        postgres_child = fleet.slots[POSTGRES].child
        if postgres_child is not None and postgres_child.exit_code() is None:
            postgres_child.stop(postgres.stop_plan)
        if is_disk:
            subprocess.run(["umount", "-l", str(scratch)], check=False)  # noqa: ASYNC221 - nothing else runs any more
        if stack.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _configuration(folder: Path, workload: Workload) -> str:
    return f"""\
storage = {json.dumps(str(folder / "storage"))}
[nats]
replicas = 3
[graphs]
folders = [{json.dumps(str(GRAPHS))}]
[worker]
capabilities = ["python", "cmd"]
ack_wait_s = {ACK_WAIT_S}
grace_s = {_GRACE_S}
min_scratch_mb = 4
concurrency = 3
scratch = {json.dumps(str(folder / "scratch"))}
[providers.products]
type = "local"
path = {json.dumps(str(workload.products))}
"""


def _mounted(folder: Path) -> bool:
    """A small disk at `folder`, where we may mount one."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={SCRATCH_MB}m", "thresher-chaos", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url, timeout=aiohttp.ClientTimeout(total=2)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
