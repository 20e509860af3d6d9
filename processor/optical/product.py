"""An optical product as its bands: which file holds a layer, and what its pixels mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import FatalError

CATEGORICAL = frozenset({"SCL", "QA_PIXEL", "QA_RADSAT", "QA_AEROSOL"})
"""Layers of classes or flags."""


@dataclass(frozen=True)
class Band:
    """The file of a layer. Physical value = pixel * scale + offset, where these are known."""

    path: Path
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    """What the product says where the file itself says nothing."""
    index: int = 1
    """Of the band in its file."""

    def scaling(self, raster: Any) -> tuple[float, float]:
        """Scale and offset of its pixels: the product's, else those its open file is tagged with."""
        if self.scale is None and self.offset is None:
            return raster.scales[0], raster.offsets[0]
        return 1.0 if self.scale is None else self.scale, 0.0 if self.offset is None else self.offset


@dataclass(frozen=True)
class Product:
    """The bands of a product by layer name."""

    name: str
    bands: dict[str, Band]

    def band(self, layer: str) -> Band:
        """Raises FatalError naming the bands there are."""
        if layer not in self.bands:
            raise FatalError(f"{self.name} has no band {layer}; it has {', '.join(sorted(self.bands)) or 'none'}")
        return self.bands[layer]

    def chosen(self, layers: Iterable[str]) -> dict[str, Band]:
        """The bands of these layers, in order; raises FatalError naming all that are missing, by themselves or as files."""
        wanted = list(dict.fromkeys(layers))
        missing = [layer for layer in wanted if layer not in self.bands or not self.bands[layer].path.is_file()]
        if missing:
            there = ", ".join(sorted(self.bands)) or "none"
            raise FatalError(f"{self.name} lacks {'band' if len(missing) == 1 else 'bands'} {', '.join(missing)}; it has {there}")
        return {layer: self.bands[layer] for layer in wanted}


def product_files(workdir: Path, pattern: str) -> list[Path]:
    """Files of this name pattern in `workdir` or up to three folders below: products come in folders of folders."""
    found: Iterator[Path] = (path for depth in range(4) for path in workdir.glob("*/" * depth + pattern) if path.is_file())
    return sorted(found, key=lambda path: (len(path.parts), path))


def of_scene(candidates: Iterable[Path], scene: str, workdir: Path) -> Path | None:
    """The one candidate that belongs to `scene`: the only one, else that whose path names it. Raises FatalError if that is not one."""
    choice = list(candidates)
    if len(choice) > 1:
        choice = [path for path in choice if scene and scene in str(path.relative_to(workdir))] or choice
    if len(choice) > 1:
        names = ", ".join(str(path.relative_to(workdir)) for path in choice[:3])
        raise FatalError(f"there are several products here ({names}); none is plainly that of {scene or 'the scene'}")
    return choice[0] if choice else None
