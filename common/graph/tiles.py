"""The three tiles a graph speaks of: the current one, the previous and the reference of its series."""

from __future__ import annotations

from dataclasses import dataclass

from common.messages import TileRef

SLOTS = 3
"""Of `in_files` and `out_files`: current, previous, reference."""


@dataclass(frozen=True)
class GraphTiles:
    """T0, T1 and T2 of a graph; a tile that is missing counts as the current one."""

    current: TileRef
    previous: TileRef | None = None
    reference: TileRef | None = None

    def slot(self, index: int) -> TileRef:
        """The tile of slot 0 (current), 1 (previous) or 2 (reference)."""
        return (self.current, self.previous or self.current, self.reference or self.current)[index]

    def same_scene(self, first: int, second: int) -> bool:
        return self.slot(first).scene.source_id == self.slot(second).scene.source_id
