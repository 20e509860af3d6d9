"""Programs of others that are installed beside this one: found, run without a shell, and refused clearly where they are absent."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from common.errors import FatalError, ThresherError


def find_program(name: str, variable: str, below: str = "bin") -> Path:
    """The executable `name`: in the folder the environment `variable` names (or `below` it), else on the path; raises FatalError."""
    home = os.environ.get(variable, "")
    places = [Path(home) / below / name, Path(home) / name] if home else []
    for place in places:
        if os.access(place, os.X_OK) and place.is_file():
            return place
    found = None if home else shutil.which(name)
    if found is None:
        where = f"in {home} ({variable})" if home else f"on the path, and {variable} is not set"
        raise FatalError(f"{name} is not installed here: it is not {where}")
    return Path(found)


def run_program(program: Path, arguments: Sequence[str], workdir: Path) -> None:
    """Run it in `workdir`, its output going where ours goes; raises ThresherError where it fails."""
    code = subprocess.run([str(program), *arguments], cwd=workdir, stdin=subprocess.DEVNULL, check=False).returncode
    if code != 0:
        raise ThresherError(f"{program.name} failed with exit code {code}")
