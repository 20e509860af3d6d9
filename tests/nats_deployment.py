"""The NATS cluster of `deploy/nats` with exactly the configuration that is shipped: three nodes on loopback, certificates of the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import trustme

from thresher.embedded.endpoint import LOOPBACK, free_port
from thresher.embedded.nats import _program as nats_program
from thresher.embedded.process import Child, Launch, StopPlan

CONFIGURATION = Path(__file__).resolve().parent.parent / "deploy" / "nats"
USERS = ("catalogue", "downloader", "processor", "operator")
_STOP = StopPlan(((signal.SIGTERM, 10.0),))


@dataclass
class NatsDeployment:
    folder: Path
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(9)])
    children: dict[int, Child] = field(default_factory=dict)

    @cached_property
    def ca(self) -> Path:
        authority = trustme.CA()
        path = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(str(path))
        certificate = authority.issue_cert(LOOPBACK, "localhost")
        certificate.private_key_pem.write_to_path(str(self.folder / "node.key"))
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(self.folder / "node.pem"), append=True)
        return path

    @property
    def url(self) -> str:
        return ",".join(f"tls://{LOOPBACK}:{port}" for port in self.ports[:3])

    def environment(self, user: str) -> dict[str, str]:
        """Of a service that connects as `user`."""
        return {
            "THRESHER_NATS_URL": self.url,
            "THRESHER_NATS_USER": user,
            "THRESHER_NATS_PASSWORD": password(user),
            "THRESHER_NATS_TLS_CA": str(self.ca),
            "THRESHER_NATS_REPLICAS": "3",
        }

    def start(self, number: int) -> None:
        shutil.copytree(CONFIGURATION, self.folder / "conf", dirs_exist_ok=True)
        # The addresses of the nodes are what every deployment has to fill in.
        routes = ", ".join(f'"tls://{LOOPBACK}:{port}"' for port in self.ports[3:6])
        (self.folder / "conf" / "routes.conf").write_text(f"routes: [ {routes} ]\n")
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
            "NATS_NAME": f"nats-{number}",
            "NATS_STORE": str(self.folder / f"store{number}"),
            "NATS_HOST": LOOPBACK,
            "NATS_PORT": str(self.ports[number]),
            "NATS_ROUTE_PORT": str(self.ports[3 + number]),
            "NATS_MONITOR": f"{LOOPBACK}:{self.ports[6 + number]}",
            "NATS_CERTIFICATE": str(self.folder / "node.pem"),
            "NATS_KEY": str(self.folder / "node.key"),
            "NATS_CA": str(self.ca),
            "NATS_MEMORY": "64MB",
            "NATS_DISK": "1GB",
            **{f"NATS_{user.upper()}_PASSWORD": password(user) for user in USERS},
        }
        launch = Launch(
            (str(nats_program()), "--config", str(self.folder / "conf" / "nats.conf")), environment, death_signal=signal.SIGKILL
        )
        self.children[number] = Child.start(f"nats-{number}", launch, self.folder / f"nats-{number}.log")

    def stop(self, number: int) -> None:
        self.children.pop(number).stop(_STOP)


def password(user: str) -> str:
    return f"{user}-of-the-test"


@contextlib.contextmanager
def nats_deployment(folder: Path) -> Iterator[NatsDeployment]:
    deployment = _started(folder)
    try:
        yield deployment
    finally:
        for number in list(deployment.children):
            deployment.stop(number)


def _started(folder: Path) -> NatsDeployment:
    """All nodes listening: a port that was free a moment ago may be somebody else's by now, so it is tried again with others."""
    for attempt in range(5):
        place = folder / str(attempt)
        place.mkdir()
        deployment = NatsDeployment(place)
        for number in range(3):
            deployment.start(number)
        if all(_listens(deployment.children[number], deployment.ports[number]) for number in range(3)):
            return deployment
        for number in list(deployment.children):
            deployment.stop(number)
    raise RuntimeError(f"the cluster does not start: see {folder}")


def _listens(child: Child, port: int) -> bool:
    for _ in range(200):
        if child.exit_code() is not None:
            return False
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=0.5) as connection:
            return connection.recv(16).startswith(b"INFO") and child.exit_code() is None
        time.sleep(0.1)
    return False
