"""The folders of a worker's working files: one a job, swept after a crash."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from uuid import UUID

log = logging.getLogger(__name__)

_PREFIX = "thresher-"


class Scratch:
    """The folder of one worker process below `root` (default: the system's temporary folder), with one folder a job."""

    def __init__(self, root: Path | None, owner: str) -> None:
        """`owner` ends in the process id, after a dash or colon."""
        self.parent = root or Path(tempfile.gettempdir())
        self._folder = self.parent / (_PREFIX + owner.replace("/", "_").replace(":", "-"))

    def folder(self, run: UUID) -> Path:
        folder = self._folder / str(run)
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def sweep(self) -> None:
        """Remove the folders of workers of this kind on this machine that no longer run. In a container that was started again they had
        our own process id.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        kind_and_host, _, _ = self._folder.name.rpartition("-")
        if not self.parent.is_dir():
            return
        for folder in self.parent.glob(f"{kind_and_host}-*"):
            pid = folder.name.rpartition("-")[2]
            if folder.is_dir() and not folder.is_symlink() and pid.isdigit() and not Path(f"/proc/{pid}").exists():
                log.info("removing what a worker that ended left behind: %s", folder)
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
