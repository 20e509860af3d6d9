"""Graphs by name: those of the configured folders, then those that come with the program (`library/*.json`)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from common.errors import UserError
from common.graph.document import MAX_BYTES, Action, GraphDocument, parse_graph
from common.graph.hooks import SUFFIX, hook_graph

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./ +-]{0,255}")
_PREFIXES = ("library/graph/", "graph/library/", "library/", "graph/")


@dataclass(frozen=True)
class Graph:
    """A graph that can be run."""

    name: str
    document: GraphDocument

    @property
    def config(self) -> dict[str, str]:
        """Its default configuration."""
        return dict(self.document.config)

    @property
    def indexed_layers(self) -> frozenset[str]:
        """The layers it can index."""
        return frozenset(file.layer for slot in self.document.out_files for file in slot if file.action is Action.INDEX)

    @property
    def engines(self) -> frozenset[str]:
        """The engines of its steps; none for a graph without steps."""
        return frozenset(str(step.engine) for step in self.document.processing_steps)

    @property
    def capability(self) -> str:
        """What a worker must offer to run it: its engines, sorted and joined by '-' ('python' where it has no steps), then its memory
        class after a '_'.
        """
        engines = "-".join(sorted(self.engines)) or "python"
        return f"{engines}_{self.document.memory_class}" if self.document.memory_class else engines


def load_graph(name: str, folders: Sequence[Path] = ()) -> Graph:
    """The graph `name`: a plain name, with or without `.json`, or a path as the reference has them (`library/graph/NAME.json`).

    Raises UserError: unknown (listing the known ones), outside the folders, or wrong in itself.
    """
    if not _NAME.fullmatch(name) or ".." in name.split("/") or "//" in name:
        raise UserError(f"{name[:80]!r} is not the name of a graph: a name or a relative path without '..' is expected")
    spellings = _spellings(name)
    for place in folders:
        for spelling in spellings:
            text = _read(place, spelling)
            if text is not None:
                return _checked(_stem(spelling), text)
        if (hook := _hook(place, _stem(spellings[-1]))) is not None:
            return hook
    for spelling in spellings:
        if (graph := _shipped_graph(spelling)) is not None:
            return graph
    known = known_graphs(folders)
    guesses = difflib.get_close_matches(_stem(spellings[-1]), known, n=1, cutoff=0.75)
    hint = f"did you mean '{guesses[0]}'? " if guesses else ""
    raise UserError(f"graph '{name}' is not known; {hint}known are: {', '.join(known)}")


def known_graphs(folders: Sequence[Path] = ()) -> list[str]:
    """The names of all graphs that `load_graph` finds, sorted."""
    names = {_stem(entry.name) for entry in _shipped().iterdir() if entry.name.endswith(".json")}
    for folder in folders:
        names.update(_stem(path.relative_to(folder).as_posix()) for path in _documents(folder))
        hooks = (path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ()
        names.update(name for name in hooks if _hook(folder, name))
    return sorted(names)


@lru_cache(maxsize=128)
def _checked(name: str, text: bytes) -> Graph:
    return Graph(name, parse_graph(text, name))


@lru_cache(maxsize=256)
def _shipped_graph(spelling: str) -> Graph | None:
    """What comes with the program does not change while it runs; every job asks for it."""
    text = _read(_shipped(), spelling)
    return None if text is None else _checked(_stem(spelling), text)


def _hook(place: Path | Traversable, name: str) -> Graph | None:
    """The graph of a custom hook; raises UserError where its file is wrong."""
    text = _read(place, f"{name}{SUFFIX}")
    graph = hook_graph(text, name) if text is not None else None
    return _checked(name, graph) if graph is not None else None


def _spellings(name: str) -> list[str]:
    """The file names to look for, the most literal first."""
    path = name if name.endswith(".json") else f"{name}.json"
    return [path, *(path.removeprefix(prefix) for prefix in _PREFIXES if path.startswith(prefix))]


def _stem(path: str) -> str:
    return path.removesuffix(".json")


def _shipped() -> Traversable:
    return files("common.graph") / "library"


def _read(place: Path | Traversable, relative: str) -> bytes | None:
    """The text of a file in `place`, or None; what lies outside of it is not there. One byte too many is enough to refuse it."""
    path = place / relative if isinstance(place, Path) else place.joinpath(*relative.split("/"))
    if isinstance(path, Path) and isinstance(place, Path) and not path.resolve().is_relative_to(place.resolve()):
        return None
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"graph '{_stem(relative)}' cannot be read: {error.strerror}") from None


def _documents(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*.json") if path.is_file()) if folder.is_dir() else iter(())
