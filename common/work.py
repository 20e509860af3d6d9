"""What a worker gives to the code that carries out a job, and what that code gives back. The loop around it is `common.worker`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from common.config import Settings
from common.errors import ThresherError
from common.messages import DatasetReport, SceneJob, StoredFile, TileJob

ProgressCallback = Callable[[str, float], None]
"""(step, done 0..1): may be called as often as one likes, from any thread; it never blocks."""

BytesCallback = Callable[[int, int | None], None]
"""(bytes there, bytes expected or None) of a download: told with the next progress. Less than before where it is begun anew."""


def _nobody(_done: int, _total: int | None) -> None:
    pass


@dataclass(frozen=True)
class JobContext:
    """The surroundings of one job. Cancelling the task that runs the job must end it and whatever it started."""

    settings: Settings
    workdir: Path
    """Empty folder of this job alone, removed afterwards; never the process-wide working directory."""
    run: UUID
    """Of this execution alone. Indexed layers are stored under it: one that comes late can overwrite nothing."""
    progress: ProgressCallback
    check_ours: Callable[[], None] = lambda: None
    """Raises TemporaryError once the job may run elsewhere: to be called before anything is stored."""
    received: BytesCallback = _nobody
    """To be called from the event loop."""


@dataclass(frozen=True)
class WorkReport:
    """What a job left behind. With `error` it failed; what graphs keep on failure is still listed."""

    files: list[StoredFile] = field(default_factory=list)
    """Stored under a key of this run."""
    datasets: list[DatasetReport] = field(default_factory=list)
    deletions: list[str] = field(default_factory=list)
    error: ThresherError | None = None
    log: str = ""
    """URI of what the steps printed; empty: none was kept."""


JobType = TypeVar("JobType", SceneJob, TileJob, contravariant=True)
Handler = Callable[[JobType, JobContext], Awaitable[WorkReport]]
"""Carries out a job; may raise a ThresherError instead of reporting one."""
