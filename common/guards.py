"""Whether a machine can take more work: free disk for working files, free memory. A worker that cannot refuses new jobs and says why."""

from __future__ import annotations

import shutil
from pathlib import Path

from common.config import WorkerSettings

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def refusal(settings: WorkerSettings, scratch: Path) -> str:
    """Why no more work is taken at the moment; empty where nothing speaks against it."""
    try:
        free = shutil.disk_usage(scratch).free
    except OSError as error:
        return f"the scratch folder cannot be read: {error}"
    if free < settings.min_scratch_mb * 2**20:
        return f"{free // 2**20} MB are free in {scratch}, {settings.min_scratch_mb} are needed (worker.min_scratch_mb)"
    available = available_memory()
    if available is not None and available < settings.min_memory_mb * 2**20:
        return f"{available // 2**20} MB of memory are free, {settings.min_memory_mb} are needed (worker.min_memory_mb)"
    return ""


def available_memory() -> int | None:
    """Bytes that new work can use: of the machine, or of the control group where that is less. None where the system does not tell."""
    figures = [figure for figure in (_machine(), _control_group()) if figure is not None]
    return min(figures, default=None)


def _machine() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _control_group() -> int | None:
    """Limit minus use, page cache that can be given up not counted (control groups version 2)."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return None if limit == "max" else int(limit) - used + int(statistics.get("inactive_file", 0))
    except (OSError, ValueError):
        return None
