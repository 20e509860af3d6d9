"""Waiting for areas: progress of their scenes and tiles until nothing moves any more, and what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from thresher.answers import AreaStatus, Counts, Item
from thresher.client import Client, UnreachableError

_POLL_S = 0.5
_PATIENCE_POLLS = 120
"""Polls without an answer before giving up: a service may restart meanwhile."""
_SHOWN = 20


@dataclass(frozen=True)
class WatchOutcome:
    """How areas ended."""

    scenes: Counts
    tiles: Counts
    troubles: tuple[Item, ...]
    """What is in RETRY or FAILED."""

    @property
    def succeeded(self) -> bool:
        return not (self.troubles or _unfinished(self.scenes) or _unfinished(self.tiles))

    def complaints(self) -> list[str]:
        """Sentences for a person: each trouble with its message, and what waits behind them."""
        sentences = [f"{item.status} {_name(item)}: {item.message or 'no message'}" for item in self.troubles[:_SHOWN]]
        if len(self.troubles) > _SHOWN:
            sentences.append(f"and {len(self.troubles) - _SHOWN} more in RETRY or FAILED")
        waiting = self.tiles.new + self.scenes.new
        if waiting:
            sentences.append(f"{waiting} tiles wait for those in RETRY: `thresher retry AOI` runs these again")
        return sentences


async def watch_areas(client: Client, names: Sequence[str], console: Console) -> WatchOutcome:
    """Follow the areas, showing progress, until nothing is pending and nothing can become so.

    Tiles behind one in RETRY stay NEW until a person retries it: they are not waited for. Raises UnreachableError if the service stays
    away for a minute.
    """
    display = _Bars(console) if console.is_terminal else _Lines(console)
    misses = 0
    with display:
        while True:
            try:
                states = [await client.area(name) for name in names]
                misses = 0
            except UnreachableError:
                misses += 1
                if misses > _PATIENCE_POLLS:
                    raise
                await asyncio.sleep(_POLL_S)
                continue
            scenes, tiles = _sum(state.scenes for state in states), _sum(state.tiles for state in states)
            display.update(scenes, tiles)
            if _is_over(scenes, tiles):
                break
            await asyncio.sleep(_POLL_S)
    troubles = [trouble for state in states for trouble in await troubles_of(client, state)]
    return WatchOutcome(scenes, tiles, tuple(troubles))


async def troubles_of(client: Client, state: AreaStatus) -> list[Item]:
    """The scenes and tiles of an area that are in RETRY or FAILED."""
    troubles: list[Item] = []
    if state.scenes.retry:
        troubles += await client.area_scenes(state.name, "RETRY")
    if state.scenes.failed:
        troubles += await client.area_scenes(state.name, "FAILED")
    if state.tiles.retry:
        troubles += await client.area_tiles(state.name, "RETRY")
    if state.tiles.failed:
        troubles += await client.area_tiles(state.name, "FAILED")
    return troubles


class _Bars:
    """Bars on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:>6}"),
            BarColumn(40),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks = {kind: self._progress.add_task(kind, total=None, note="") for kind in ("scenes", "tiles")}

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, scenes: Counts, tiles: Counts) -> None:
        for kind, counts in (("scenes", scenes), ("tiles", tiles)):
            self._progress.update(self._tasks[kind], total=counts.total, completed=_ended(counts), note=_note(counts))


class _Lines:
    """A line whenever something changed, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, scenes: Counts, tiles: Counts) -> None:
        line = f"scenes {_ended(scenes)}/{scenes.total}{_note(scenes)}  tiles {_ended(tiles)}/{tiles.total}{_note(tiles)}"
        if line != self._last:
            self._console.print(line)
            self._last = line


def _is_over(scenes: Counts, tiles: Counts) -> bool:
    if scenes.pending or tiles.pending:
        return False
    return not (scenes.new or tiles.new) or bool(scenes.retry or tiles.retry)


def _ended(counts: Counts) -> int:
    return counts.done + counts.retry + counts.failed


def _unfinished(counts: Counts) -> int:
    return counts.new + counts.pending


def _note(counts: Counts) -> str:
    parts = [f" {count} {word}" for count, word in ((counts.retry, "to retry"), (counts.failed, "failed")) if count]
    return ",".join(parts)


def _sum(counts: Iterable[Counts]) -> Counts:
    return sum(counts, start=Counts())


def _name(item: Item) -> str:
    return f"{item.source_id} of {item.scene.source_id}" if item.scene and item.scene.source_id else item.source_id
