"""The terrain as a burst sees it: heights at the nodes of its lines and samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processor.sar.compiled import compiled
from processor.sar.coregistration import LINE_STEP, SAMPLE_STEP, BurstGeometry, nodes
from processor.sar.dem import Dem
from processor.sar.geocoding import look_up, outline
from processor.sar.map_grid import MapGrid, grid_around
from processor.sar.resampling import ValidArea

Floats = NDArray[np.float64]

_SPACING_M = 60.0
"""Of the heights that are looked up; nodes are some 110 m by 120 m apart on the ground."""
_LOWEST_M, _HIGHEST_M = -450.0, 9000.0
"""No land lies outside of these, above the ellipsoid."""


@dataclass(frozen=True, eq=False)
class BurstTerrain:
    """Heights above the ellipsoid, in metres."""

    at_nodes: Floats
    """The mean around each node (`coregistration.nodes`), of its shape."""
    lowest_m: float
    highest_m: float


def burst_terrain(geometry: BurstGeometry, dem: Dem) -> BurstTerrain:
    """What `dem` has of the area of a burst; nodes without a height (lain over, in shadow, not in the DEM) take that of their neighbours.

    A DEM without any height there is taken as 0 m: `Dem.on_grid` is what refuses places without height.
    """
    whole = ValidArea(0, geometry.grid.lines - 1, 0, geometry.grid.samples - 1)
    grid = _grid_seen(geometry, whole, dem)
    heights = dem.on_grid(grid, np.zeros(grid.shape, np.bool_))
    found = look_up(geometry, grid, heights)
    line, sample = found.positions(geometry.grid)
    rows, columns = nodes(geometry.grid)
    sums, counts = np.zeros((rows.size, columns.size)), np.zeros((rows.size, columns.size))
    _gather(line.ravel(), sample.ravel(), heights.ravel(), sums, counts)
    if not counts.any():
        return BurstTerrain(np.zeros(sums.shape), 0.0, 0.0)
    at_nodes = _filled(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))
    return BurstTerrain(at_nodes, float(at_nodes.min()), float(at_nodes.max()))


def _grid_seen(geometry: BurstGeometry, area: ValidArea, dem: Dem) -> MapGrid:
    """A grid in degrees over all that may be seen in the burst: first for heights that are there somewhere, then for those that are."""
    around = grid_around(*outline(geometry, area, (0.0,)), "EPSG:4326", 20 * _SPACING_M)
    heights = dem.on_grid(around, np.zeros(around.shape, np.bool_))
    known = heights[np.isfinite(heights)]
    lowest, highest = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    # What is higher than all of these may stand just outside, and a peak between the points: some room for both.
    bounds = max(lowest - 100.0, _LOWEST_M), min(highest * 1.2 + 300.0, _HIGHEST_M)
    return grid_around(*outline(geometry, area, bounds), "EPSG:4326", _SPACING_M)


@compiled
def _gather(line: Floats, sample: Floats, heights: NDArray[np.float32], sums: Floats, counts: Floats) -> None:
    for index in range(line.size):
        row, column = line[index] / LINE_STEP + 0.5, sample[index] / SAMPLE_STEP + 0.5
        # Also false where it is not a number.
        if row >= 0 and row < sums.shape[0] and column >= 0 and column < sums.shape[1]:
            sums[int(row), int(column)] += heights[index]
            counts[int(row), int(column)] += 1


def _filled(values: Floats) -> Floats:
    """`values` with the mean of what neighbours have in place of what is not a number, ring after ring."""
    while (missing := np.isnan(values)).any():
        padded = np.pad(values, 1, constant_values=np.nan)
        around = np.stack([padded[i : i + values.shape[0], j : j + values.shape[1]] for i in range(3) for j in range(3)])
        known = np.isfinite(around)
        count = known.sum(axis=0)
        mean = np.where(known, around, 0.0).sum(axis=0) / np.maximum(count, 1)
        values = np.where(missing & (count > 0), mean, values)
    return values
