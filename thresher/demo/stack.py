"""The stack of the demonstration: `thresher up` as a child process with a configuration of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from types import TracebackType

from common.errors import ThresherError
from common.identity import own_root
from thresher.embedded.process import Child, Launch, StopPlan

_POLL_S = 0.05
_START_S = 180.0
_STOP = StopPlan(((signal.SIGTERM, 60.0),))
_READY = re.compile(r"^ready (http\S+)$", re.MULTILINE)
_POSTGRES_ELSEWHERE = "postgres.location"


class StackError(ThresherError):
    """The stack of the demonstration did not start."""


class DemoStack:
    """A running stack while entered as a context. Only from the main thread. It dies with this process, however that ends."""

    def __init__(self, folder: Path, data_dir: Path, config: Path) -> None:
        """`folder` takes its log and is its working directory."""
        self._folder = folder
        self._data_dir = data_dir
        self._config = config
        self._child: Child | None = None

    def __enter__(self) -> DemoStack:
        command = [sys.executable, "-P", "-m", "thresher.cli", "up", "--port", "0"]
        command += ["--data-dir", str(self._data_dir), "--config", str(self._config)]
        scratch = self._folder / "scratch"
        scratch.mkdir(exist_ok=True)
        environment = {**_environment(), "THRESHER_WORKER_SCRATCH": str(scratch)}
        launch = Launch(command, environment, folder=self._folder, guarded=True, label="thresher-demo")
        self._child = Child.start("thresher up", launch, self._log)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._child is None:
            return
        try:
            self._child.stop(_STOP)
        except BaseException:  # a second Ctrl-C: at once, then
            self._child.kill()
            raise

    @property
    def _log(self) -> Path:
        return self._folder / "up.log"

    def url(self) -> str:
        """Where the API answers, once everything is ready; raises StackError with its last words if it ends before."""
        child = self._child
        if child is None:
            raise StackError("the stack is not started")
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            code = child.exit_code()
            match = _READY.search(self._said(child))
            if match:
                return match[1]
            if code is not None:
                raise StackError(f"`thresher up` ended with code {code}: {child.last_words() or 'it said nothing'}")
            time.sleep(_POLL_S)
        raise StackError(f"`thresher up` is not ready after {_START_S:.0f} s: {child.last_words() or 'it said nothing'}")

    def _said(self, child: Child) -> str:
        with self._log.open("rb") as log:
            log.seek(child.log_start)
            return log.read().decode(errors="replace")


def remove_data(data_dir: Path) -> None:
    """Remove the data of a stopped stack, also where its PostgreSQL had to keep them outside `data_dir`."""
    pointer = data_dir / _POSTGRES_ELSEWHERE
    if pointer.is_file():
        elsewhere = Path(pointer.read_text(encoding="utf-8").strip())
        if elsewhere.name.startswith("thresher-postgres-"):
            shutil.rmtree(elsewhere, ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Ours without the settings of other deployments: the demonstration touches none of their data."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("THRESHER_") or key.startswith("THRESHER_LOG_")}
    # `python -P` would not find a bare checkout.
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(own_root()), os.environ.get("PYTHONPATH")]))
    return kept
