"""Where the commands of steps are found: files of the graph folders, then what comes with the program."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from common.graph.document import Step

_LIBRARY = Path(str(files("common.graph") / "library"))
"""Has graphs of SNAP, which its `gpt` reads as files."""


@dataclass(frozen=True)
class StepSources:
    """Script files in the graph folders, then modules of the packages that ship steps."""

    folders: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ()
    """Such as `processor.steps`: the command `python/extract_s2.py` is its module `extract_s2`."""

    def file(self, command: str) -> Path | None:
        """The file of a command, inside one of the folders, else of the library; links that lead out of them are not followed."""
        for folder in (*self.folders, _LIBRARY):
            path = (folder / command).resolve()
            if path.is_relative_to(folder.resolve()) and path.is_file():
                return path
        return None

    def module(self, command: str) -> str | None:
        """The module of a command `NAME.py` or `python/NAME.py`, among the shipped steps."""
        parts = Path(command).parts
        if len(parts) > 2 or (len(parts) == 2 and parts[0] != "python") or not parts[-1].endswith(".py"):
            return None
        stem = parts[-1].removesuffix(".py")
        if not stem.isidentifier() or stem.startswith("_"):
            return None
        return next((f"{package}.{stem}" for package in self.packages if find_spec(package) and find_spec(f"{package}.{stem}")), None)

    def where(self, step: Step) -> str:
        """For a person: what is missing, and where it was looked for."""
        places = [*map(str, self.folders), *self.packages]
        return f"command {step.command} of engine '{step.engine}' is not in {', '.join(places) or 'any graph folder'}"
