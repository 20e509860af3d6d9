"""Look-up tables along an image, as calibration and noise annotations have them: vectors of values at some lines, each at some samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError
from processor.sar.annotation_xml import Section

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LineTable:
    """Values on some lines for all samples of an image; bilinear in between, that of the nearest beyond the first and last line."""

    lines: Floats
    """In ascending order, shape (n,); may begin before the image and end after it."""
    values: NDArray[np.float32]
    """Shape (n, samples)."""

    def at(self, lines: Floats, samples: slice | NDArray[np.intp] = slice(None)) -> NDArray[np.float32]:
        """Values at lines (any numbers, shape (m,)) and all or some samples (whole numbers): shape (m, samples)."""
        lines = np.asarray(lines, float)
        above = np.clip(np.searchsorted(self.lines, lines, side="right") - 1, 0, max(self.lines.size - 2, 0))
        below = np.minimum(above + 1, self.lines.size - 1)
        distance = np.maximum(self.lines[below] - self.lines[above], 1e-9)
        share = np.clip((lines - self.lines[above]) / distance, 0.0, 1.0).astype(np.float32)[:, None]
        columns = self.values[:, samples]
        return np.asarray(columns[above] * (1 - share) + columns[below] * share, np.float32)


def line_table(vectors: list[Section], element: str, samples: int) -> LineTable:
    """The table of the vectors' `line`, `pixel` and `element` lists, linear between samples. Raises FatalError where they do not fit."""
    if not vectors:
        raise FatalError("there are no vectors")
    found: dict[float, NDArray[np.float32]] = {}
    for vector in vectors:
        line = vector.number("line")
        pixels, values = np.array(vector.numbers("pixel")), np.array(vector.numbers(element))
        if pixels.size != values.size or (np.diff(pixels) <= 0).any():
            raise FatalError(
                f"{vector.name}: {element} of line {line:.0f} has {values.size} values for {pixels.size} samples, or they do not ascend"
            )
        found[line] = np.interp(np.arange(samples), pixels, values).astype(np.float32)
    lines = sorted(found)
    return LineTable(np.array(lines, float), np.stack([found[line] for line in lines]))
