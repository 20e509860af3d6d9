"""For each pixel of a map: where it lies in a GRD image, and at which angles it is seen.

The local incidence angle is that between the direction to the satellite and the normal of the terrain, the incidence angle that with the
normal of the ellipsoid. Source of the equations: `processor.sar.geometry`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processor.sar import ellipsoid
from processor.sar.compiled import compiled, compiled_parallel, parallel_range
from processor.sar.geometry import zero_doppler_of_one
from processor.sar.grd_geometry import GrdGeometry, nearest_record, polynomial
from processor.sar.map_grid import MapGrid
from processor.sar.places import positions
from processor.sar.radar_grid import SPEED_OF_LIGHT_M_S

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]

_BEYOND_M = 500.0
"""How far in slant range outside of the image a pixel is still looked up."""


@dataclass(frozen=True, eq=False)
class GrdLookUp:
    """All arrays have the shape of the map; not a number where the DEM has no height, or far outside of the image."""

    line: Floats
    """Of the image, from 0."""
    sample: Floats
    cosine: Pixels
    """Of the incidence angle on the ellipsoid."""
    local_cosine: Pixels
    """Of the local incidence angle; below 0 where the terrain turns away."""
    foot_line: Floats
    """The line of the point of the ellipsoid below."""
    foot_range: Floats
    """The slant range of that point, metres."""


def look_up(geometry: GrdGeometry, grid: MapGrid, heights: Pixels, *, feet: bool = True) -> GrdLookUp:
    """Of the pixels of `grid`; `heights` (metres above the ellipsoid) reach one pixel further: shape (height + 2, width + 2).

    Without `feet`, what is told of the ellipsoid below is left undefined.
    """
    places = positions(grid.part(-1, -1, grid.height + 2, grid.width + 2).lattice(), heights)
    result = GrdLookUp(
        line=np.empty(grid.shape),
        sample=np.empty(grid.shape),
        cosine=np.empty(grid.shape, np.float32),
        local_cosine=np.empty(grid.shape, np.float32),
        foot_line=np.empty(grid.shape),
        foot_range=np.empty(grid.shape),
    )
    lines, conversions = geometry.grid, geometry.conversions
    arc = geometry.orbit.coefficients, geometry.orbit.middle, geometry.orbit.half
    timing = geometry.first_line_s, lines.line_interval_s, lines.bulk_bistatic_s if lines.bulk_bistatic_s is not None else np.nan
    ranges = conversions.times, conversions.origins, conversions.to_ground
    limits = geometry.sample_spacing_m, geometry.nearest_m - _BEYOND_M, geometry.farthest_m + _BEYOND_M
    _look_up(arc, timing, ranges, limits, places, heights, result.line, result.sample, result.cosine, result.local_cosine)
    if feet:
        _look_up_feet(arc, timing, places, heights, result.line, result.foot_line, result.foot_range)
    return result


_Arc = tuple[Floats, float, float]
_Timing = tuple[float, float, float]


@compiled_parallel
def _look_up(
    arc: _Arc,
    timing: _Timing,
    ranges: tuple[Floats, Floats, Floats],
    limits: tuple[float, float, float],
    places: Floats,
    heights: Pixels,
    lines: Floats,
    samples: Floats,
    cosines: Pixels,
    local_cosines: Pixels,
) -> None:
    coefficients, middle, half = arc
    record_times, origins, to_ground = ranges
    spacing, nearest, farthest = limits
    for row in parallel_range(lines.shape[0]):
        x = 0.0
        for column in range(lines.shape[1]):
            lines[row, column] = samples[row, column] = np.nan
            cosines[row, column] = local_cosines[row, column] = np.nan
            i, j = row + 1, column + 1
            if np.isnan(heights[i, j]):
                continue
            px, py, pz = places[i, j, 0], places[i, j, 1], places[i, j, 2]
            found, dx, dy, dz = zero_doppler_of_one(coefficients, x, px, py, pz)
            # Where the satellite never came near, the next pixel must not begin.
            x = found if abs(found) < 2 else 0.0
            distance = (dx * dx + dy * dy + dz * dz) ** 0.5
            if not (nearest < distance < farthest) or abs(found) > 2:
                continue
            time = middle + half * found
            record = nearest_record(record_times, time)
            samples[row, column] = polynomial(to_ground, record, distance - origins[record]) / spacing
            lines[row, column] = _line(timing, time, distance)
            # The gradient of x^2 + y^2 + z^2 (a / b)^2 is along the normal of the ellipsoid.
            wz = pz * _FLAT
            length = (px * px + py * py + wz * wz) ** 0.5
            cosines[row, column] = -(px * dx + py * dy + wz * dz) / (length * distance)
            local_cosines[row, column] = _slope_cosine(places, heights, i, j, px, py, wz, dx, dy, dz, distance)


_FLAT = (ellipsoid.MAJOR_M / ellipsoid.MINOR_M) ** 2


@compiled
def _line(timing: _Timing, time: float, distance: float) -> float:
    first, interval, bulk = timing
    residual = 0.0 if np.isnan(bulk) else (distance * (2 / SPEED_OF_LIGHT_M_S) - bulk) / 2
    return (time - first - residual) / interval


@compiled
def _slope_cosine(
    places: Floats, heights: Pixels, i: int, j: int, ux: float, uy: float, uz: float, dx: float, dy: float, dz: float, distance: float
) -> float:
    """Of the angle between the direction to the satellite and the normal of the terrain, by central differences."""
    west, east = (j - 1 if not np.isnan(heights[i, j - 1]) else j), (j + 1 if not np.isnan(heights[i, j + 1]) else j)
    north, south = (i - 1 if not np.isnan(heights[i - 1, j]) else i), (i + 1 if not np.isnan(heights[i + 1, j]) else i)
    ax, ay, az = (
        places[i, east, 0] - places[i, west, 0],
        places[i, east, 1] - places[i, west, 1],
        places[i, east, 2] - places[i, west, 2],
    )
    bx, by, bz = (
        places[north, j, 0] - places[south, j, 0],
        places[north, j, 1] - places[south, j, 1],
        places[north, j, 2] - places[south, j, 2],
    )
    nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    length = (nx * nx + ny * ny + nz * nz) ** 0.5
    if length == 0:
        return np.nan
    outward = 1.0 if nx * ux + ny * uy + nz * uz > 0 else -1.0
    return float(-outward * (nx * dx + ny * dy + nz * dz) / (length * distance))


@compiled_parallel
def _look_up_feet(
    arc: _Arc, timing: _Timing, places: Floats, heights: Pixels, lines: Floats, foot_lines: Floats, foot_ranges: Floats
) -> None:
    coefficients, middle, half = arc
    first, interval, _ = timing
    for row in parallel_range(lines.shape[0]):
        for column in range(lines.shape[1]):
            foot_lines[row, column] = foot_ranges[row, column] = np.nan
            line = lines[row, column]
            if np.isnan(line):
                continue
            px, py, pz = places[row + 1, column + 1, 0], places[row + 1, column + 1, 1], places[row + 1, column + 1, 2]
            wz = pz * _FLAT
            down = heights[row + 1, column + 1] / (px * px + py * py + wz * wz) ** 0.5
            x = (first + line * interval - middle) / half
            x, dx, dy, dz = zero_doppler_of_one(coefficients, x, px - down * px, py - down * py, pz - down * wz)
            distance = (dx * dx + dy * dy + dz * dz) ** 0.5
            foot_ranges[row, column] = distance
            foot_lines[row, column] = _line(timing, middle + half * x, distance)
