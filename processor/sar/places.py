"""Where the pixels of a map are in space: earth-centred positions, bilinear between the points of a lattice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processor.sar import ellipsoid
from processor.sar.compiled import compiled, compiled_parallel, parallel_range
from processor.sar.map_grid import Lattice

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]


def positions(lattice: Lattice, heights: Pixels) -> Floats:
    """Earth-centred coordinates, shape (*heights.shape, 3), of points at `heights` above those of a lattice and between them."""
    places = np.empty((*heights.shape, 3))
    _place(*feet(lattice), lattice.step, heights, places)
    return places


def feet(lattice: Lattice) -> tuple[Floats, Floats]:
    """Of the points of a lattice, on the ellipsoid: earth-centred coordinates, and the normals; both of shape (rows, columns, 3)."""
    return ellipsoid.ecef(lattice.longitude, lattice.latitude), ellipsoid.up(lattice.longitude, lattice.latitude)


@compiled
def place_row(base: Floats, normal: Floats, step: int, heights: Pixels, row: int, places: Floats, ups: Floats) -> None:
    """Positions of a row of the map into `places`, the normals below them into `ups`, both of shape (columns, 3)."""
    i = min(row // step, max(base.shape[0] - 2, 0))
    below, v = min(i + 1, base.shape[0] - 1), (row - i * step) / step
    for column in range(heights.shape[1]):
        j = min(column // step, max(base.shape[1] - 2, 0))
        after, u = min(j + 1, base.shape[1] - 1), (column - j * step) / step
        a, b, c, d = (1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v
        height = heights[row, column]
        for axis in range(3):
            up = a * normal[i, j, axis] + b * normal[i, after, axis] + c * normal[below, j, axis] + d * normal[below, after, axis]
            foot = a * base[i, j, axis] + b * base[i, after, axis] + c * base[below, j, axis] + d * base[below, after, axis]
            ups[column, axis] = up
            places[column, axis] = foot + height * up


@compiled_parallel
def _place(base: Floats, normal: Floats, step: int, heights: Pixels, places: Floats) -> None:
    for row in parallel_range(heights.shape[0]):
        place_row(base, normal, step, heights, row, places[row], np.empty((heights.shape[1], 3)))
