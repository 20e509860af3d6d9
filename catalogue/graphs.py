"""The graphs of this deployment, as the catalogue needs to know them: that they exist, what they make, who can run them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from common.errors import UserError
from common.graph import Graph, load_graph


class GraphShelf:
    """Loads graphs by name, checking that the deployment has workers that can run them. A graph is read once a request."""

    def __init__(self, folders: Iterable[Path], capabilities: Iterable[str]) -> None:
        self._folders = tuple(folders)
        self._capabilities = frozenset(capabilities)
        self._loaded: dict[str, Graph] = {}

    def get(self, name: str, *, field: str) -> Graph:
        """Raises UserError naming `field`."""
        if name not in self._loaded:
            try:
                self._loaded[name] = load_graph(name, self._folders)
            except UserError as error:
                detail = f"{error.field}: {error.detail}" if error.field else error.detail
                raise UserError(detail, field=field) from None
        graph = self._loaded[name]
        if graph.capability not in self._capabilities:
            known = ", ".join(sorted(self._capabilities))
            raise UserError(f"'{name[:100]}' needs workers that can run '{graph.capability}'; this deployment has {known}", field=field)
        return graph

    def members_for(self, scene_graph: str, tile_graphs: Iterable[str]) -> list[str]:
        """The files of the product that the tile graphs need, where the scene graph only hands it on; none: all of it."""
        scene = self.get(scene_graph, field="scene_graph_name").document
        needed = [self.get(name, field="tile_graph_name").document.product_members for name in sorted(set(tile_graphs))]
        if scene.processing_steps or scene.product_members or not all(needed):
            return []
        return list(dict.fromkeys(pattern for patterns in needed for pattern in patterns))

    def check_layers(self, name: str, layers: Iterable[str]) -> None:
        """Raise UserError if the tile graph makes layers, and one that is asked for is not among them."""
        made = self.get(name, field="tile_graph_name").indexed_layers
        unknown = sorted(set(layers) - made)
        if made and unknown:
            raise UserError(f"graph '{name}' makes no such layer; it makes {', '.join(sorted(made))}", field=f"layers.{unknown[0]}")
