"""Run the demonstration region through services that run from the image, as a deployment runs them: another user, a read-only root, no
capabilities. PostgreSQL and NATS are those of `thresher up`, on this machine; the containers share its network.

    podman build -f deploy/Containerfile -t thresher .
    PYTHONPATH=tests python -m image [--image thresher] [--podman "podman …"] [--run "…"]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from importlib.resources import files
from pathlib import Path

from thresher.client import Client
from thresher.demo.kinds import OPTICAL, configuration
from thresher.demo.region import make_region
from thresher.demo.server import FolderServer
from thresher.embedded.endpoint import free_port
from thresher.embedded.nats import NatsServer
from thresher.embedded.postgres import PostgresServer
from thresher.embedded.process import running
from thresher.variables import read_variables

USER = 10001
SERVICES = ("catalogue", "downloader", "processor")
HARDENED = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--tmpfs=/tmp:rw,size=512m,mode=1777"]


class Containers:
    def __init__(self, podman: list[str], more: list[str], image: str, mounts: dict[Path, str]) -> None:
        self._podman, self._more, self._image = podman, more, image
        self._mounts = [f"--volume={path}:{target}" for path, target in mounts.items()]
        self._mark = uuid.uuid4().hex[:8]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def name(self, service: str) -> str:
        return f"thresher-{service}-{self._mark}"

    def start(self, service: str, environment: dict[str, str], log: Path) -> None:
        given = [f"--env={key}={value}" for key, value in environment.items()]
        command = [
            *self._podman,
            "run",
            "--rm",
            f"--name={self.name(service)}",
            "--network=host",
            *HARDENED,
            *self._more,
            *self._mounts,
            *given,
        ]
        with log.open("wb") as file:
            self.processes[service] = subprocess.Popen(
                [*command, self._image, "python", "-P", "-m", service], stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )

    def users(self, service: str) -> str:
        """User and group of the service, as the container sees them."""
        command = [*self._podman, "exec", self.name(service), "python", "-c", "import os; print(os.getuid(), os.getgid())"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.stderr.strip()[-200:]

    def stop(self, service: str) -> tuple[int, float]:
        """SIGTERM, as an orchestrator sends it; exit code and seconds."""
        began = time.monotonic()
        subprocess.run([*self._podman, "kill", "--signal=TERM", self.name(service)], capture_output=True, check=False)
        try:
            return self.processes.pop(service).wait(60), time.monotonic() - began
        except subprocess.TimeoutExpired:
            subprocess.run([*self._podman, "kill", self.name(service)], capture_output=True, check=False)
            return -9, time.monotonic() - began


async def ingest(url: str) -> tuple[int, int]:
    """Scenes done and datasets made, once nothing moves any more."""
    async with Client(url) as client:
        async with asyncio.timeout(600):
            while not await client.is_ready():
                await asyncio.sleep(0.5)
        for variable in read_variables((files("payloads") / OPTICAL.variables).read_text(encoding="utf-8")):
            await client.apply_variable(variable)
        submission = await client.submit(json.loads((files("payloads") / OPTICAL.payload).read_text(encoding="utf-8")))
        async with asyncio.timeout(300):
            while True:
                state = await client.area(submission.name)
                if state.tiles.done + state.tiles.failed + state.tiles.retry == state.tiles.total and state.tiles.total:
                    break
                await asyncio.sleep(0.5)
        return state.tiles.done, len([dataset async for dataset in client.datasets(aoi=submission.name)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="thresher")
    parser.add_argument("--podman", default="podman", help="the runtime with its global options")
    parser.add_argument("--run", default="", help="more options of `run`")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="thresher-image-"))
    folder.chmod(0o711)
    storage, scratch, region = folder / "storage", folder / "scratch", folder / "region"
    for path in (storage, scratch, region):
        path.mkdir()
    for path in (storage, scratch):
        os.chown(path, USER, USER) if os.geteuid() == 0 else path.chmod(0o777)
    postgres, nats = PostgresServer(folder, shelters=[folder]), NatsServer(folder)
    try:
        with (
            running(postgres, folder / "postgres.log"),
            running(nats, folder / "nats.log"),
            FolderServer(region) as server,
        ):
            make_region(region)
            settings = folder / "thresher.toml"
            settings.write_text(configuration(server.url), encoding="utf-8")
            settings.chmod(0o644)
            port = free_port()
            shared = {
                "THRESHER_CONFIG": "/etc/thresher/thresher.toml",
                "THRESHER_NATS_URL": nats.url,
                "THRESHER_STORAGE": "/storage",
                "THRESHER_WORKER_SCRATCH": "/scratch",
            }
            mounts = {settings: "/etc/thresher/thresher.toml:ro", storage: "/storage", scratch: "/scratch"}
            containers = Containers(shlex.split(arguments.podman), shlex.split(arguments.run), arguments.image, mounts)
            for service in SERVICES:
                own = {"THRESHER_DATABASE_URL": postgres.url, "THRESHER_SERVER_PORT": str(port)} if service == "catalogue" else {}
                containers.start(service, {**shared, **own}, folder / f"{service}.log")
            try:
                tiles, datasets = asyncio.run(ingest(f"http://127.0.0.1:{port}"))
                who = {service: containers.users(service) for service in SERVICES}
            finally:
                ended = {service: containers.stop(service) for service in list(containers.processes)}
                for service in SERVICES:
                    if ended.get(service, (1, 0))[0]:
                        print(f"--- {service}\n{(folder / f'{service}.log').read_text()[-1500:]}", file=sys.stderr)
            print(f"{tiles} tiles done, {datasets} datasets")
            for service, (code, seconds) in ended.items():
                print(f"{service}: user and group {who[service]}, SIGTERM to exit code {code} in {seconds:.1f} s")
            good = (tiles, datasets) == (8, 40) and all(code == 0 for code, _ in ended.values()) and set(who.values()) == {f"{USER} {USER}"}
            print("as it should be" if good else "NOT as it should be")
            return 0 if good else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
