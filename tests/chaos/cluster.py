"""A NATS cluster of three nodes on loopback, each a process of its own with its own store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from thresher.embedded.endpoint import LOOPBACK, free_port
from thresher.embedded.nats import _program as nats_program
from thresher.embedded.process import Launch, StopPlan


@dataclass
class NatsNode:
    """One node; a part for `running` or the fleet."""

    name: str
    folder: Path
    port: int
    route: int
    routes: list[int]
    final_codes = frozenset[int]()
    stop_plan = StopPlan(((signal.SIGTERM, 5.0),))

    @property
    def store(self) -> Path:
        return self.folder / self.name

    def prepare(self) -> Launch:
        configuration = self.folder / f"{self.name}.conf"
        routes = ", ".join(f'"nats://{LOOPBACK}:{port}"' for port in self.routes)
        configuration.write_text(f"""\
server_name: "{self.name}"
listen: "{LOOPBACK}:{self.port}"
max_payload: 8MB
jetstream {{ store_dir: {json.dumps(str(self.store))}, max_memory_store: 64MB, sync_interval: "5s" }}
cluster {{ name: "chaos", listen: "{LOOPBACK}:{self.route}", routes: [{routes}], no_advertise: true }}
""")
        environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        return Launch((str(nats_program()), "--config", str(configuration)), environment, death_signal=signal.SIGKILL)

    def is_ready(self, pid: int) -> bool:  # noqa: ARG002 - the port is this node's alone
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=0.5) as connection:
                return connection.recv(16).startswith(b"INFO")
        except OSError:
            return False

    def wipe(self) -> None:
        """Forget everything; only while it does not run."""
        shutil.rmtree(self.store, ignore_errors=True)


@dataclass(frozen=True)
class NatsCluster:
    folder: Path

    @cached_property
    def nodes(self) -> list[NatsNode]:
        self.folder.mkdir()
        ports = [free_port() for _ in range(6)]
        return [NatsNode(f"nats{number}", self.folder, ports[number], ports[3 + number], ports[3:]) for number in range(3)]

    @property
    def url(self) -> str:
        return ",".join(f"nats://{LOOPBACK}:{node.port}" for node in self.nodes)
