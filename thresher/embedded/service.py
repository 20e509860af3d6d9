"""A Python service of ours as a part of the stack: `python -P -m NAME`, ready when `/readyz` answers 200."""

from __future__ import annotations

import http.client
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from thresher.embedded.process import Launch, StopPlan

_ANSWER_S = 1.0


@dataclass(frozen=True)
class ServicePart:
    """A service; a part for the supervisor."""

    name: str
    module: str
    environment: Mapping[str, str]
    host: str
    port: int
    """Where it answers `GET /readyz`."""
    grace_s: float
    """After SIGTERM."""
    label: str
    """Of its guard's command line."""
    # What argparse and typer use for a wrong command line, and EX_CONFIG of sysexits.h.
    final_codes: frozenset[int] = frozenset({2, 78})

    @property
    def stop_plan(self) -> StopPlan:
        return StopPlan(((signal.SIGTERM, self.grace_s),))

    def prepare(self) -> Launch:
        # -P: the current folder may hold a `processor.py` or a `common/` of the user's, which would be run instead of ours.
        return Launch((sys.executable, "-P", "-m", self.module), self.environment, guarded=True, label=self.label)

    def is_ready(self, pid: int) -> bool:  # noqa: ARG002 - the port is this service's alone
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_ANSWER_S)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
