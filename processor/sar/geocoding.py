"""From a radar image to a map: where each pixel of the map lies in the image, at which angle it is seen, and its value.

The projected local incidence angle is that between the direction to the satellite and the normal of the terrain, projected onto the
plane of that direction and the vertical (Schreier, "SAR geocoding: data and systems", 1993, chapter 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError
from processor.sar import ellipsoid
from processor.sar.compiled import compiled, compiled_parallel, parallel_range
from processor.sar.coregistration import BurstGeometry
from processor.sar.geometry import ground_points, zero_doppler_of_one
from processor.sar.map_grid import MapGrid
from processor.sar.places import feet, place_row
from processor.sar.radar_grid import SPEED_OF_LIGHT_M_S, RadarGrid
from processor.sar.resampling import ValidArea

Pixels = NDArray[np.float32]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_ROWS = 16
"""Of the map that one processor does at a time."""
_OUTLINE_POINTS = 41


class Resampling(StrEnum):
    """How values between the pixels of the image are made; bicubic is Keys' cubic convolution (IEEE Trans. ASSP 29, 1981), a = -1/2."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


_SNAP_NAMES = {
    "NEAREST_NEIGHBOUR": Resampling.NEAREST,
    "BILINEAR_INTERPOLATION": Resampling.BILINEAR,
    "CUBIC_CONVOLUTION": Resampling.BICUBIC,
    "BICUBIC_INTERPOLATION": Resampling.BICUBIC,
}


def parse_resampling(text: str) -> Resampling:
    """Of its own name or the one it has in SNAP; raises FatalError."""
    try:
        return _SNAP_NAMES.get(text.strip().upper()) or Resampling(text.strip().lower())
    except ValueError:
        raise FatalError(f"img_resampling: '{text}' is none of {', '.join([*Resampling, *_SNAP_NAMES])}") from None


@dataclass(frozen=True, eq=False)
class LookUp:
    """For each pixel of a map, shape (height, width); not a number where the DEM has no height."""

    azimuth_time: Floats
    """Of zero Doppler: seconds after the first line of the image."""
    range_time: Floats
    """Two-way, seconds."""
    sine: Pixels
    """Of the projected local incidence angle."""

    def positions(self, grid: RadarGrid, late_s: float = 0.0) -> tuple[Floats, Floats]:
        """Lines and samples in a grid whose first line is `late_s` after that of the image (`RadarGrid.line`, `RadarGrid.sample`)."""
        line, sample = np.empty(self.range_time.shape), np.empty(self.range_time.shape)
        bulk = grid.bulk_bistatic_s
        timing = (late_s, grid.line_interval_s, grid.first_range_time_s, grid.range_sampling_rate_hz)
        _positions(self.azimuth_time, self.range_time, timing, bulk or 0.0, 0.5 if bulk is not None else 0.0, line, sample)
        return line, sample


def look_up(geometry: BurstGeometry, map_grid: MapGrid, heights: Pixels) -> LookUp:
    """When and how far away each pixel of `map_grid` was, with `heights` in metres above the ellipsoid of its shape."""
    lattice = map_grid.lattice()
    base, normal = feet(lattice)
    azimuth_time, range_time = np.empty(map_grid.shape), np.empty(map_grid.shape)
    sine = np.empty(map_grid.shape, np.float32)
    orbit = geometry.orbit
    arc = (orbit.coefficients, orbit.middle - orbit.seconds(geometry.grid.first_line_time), orbit.half)
    _look_up(arc, base, normal, lattice.step, heights, azimuth_time, range_time, sine)
    return LookUp(azimuth_time, range_time, sine)


def outline(geometry: BurstGeometry, valid: ValidArea, heights: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Longitude and latitude of points around the valid part of a burst, shape (len(heights), n): one ring for each height."""
    along = np.linspace(0, 1, _OUTLINE_POINTS)
    zero, one = np.zeros_like(along), np.ones_like(along)
    line = valid.first_line + np.concatenate([zero, along, one, along[::-1]]) * (valid.last_line - valid.first_line)
    sample = valid.first_sample + np.concatenate([along, one, along[::-1], zero]) * (valid.last_sample - valid.first_sample)
    points = ground_points(geometry.orbit, geometry.grid, line, sample, np.array(heights, float)[:, None])
    longitude, latitude, _ = ellipsoid.geodetic(points)
    return longitude, latitude


def warp(image: Pixels, line: Floats, sample: Floats, resampling: Resampling) -> Pixels:
    """`image` at fractional lines and samples, of their shape; not a number outside, and where a pixel that is needed is none."""
    result = np.empty(line.shape, np.float32)
    if resampling is Resampling.BICUBIC:
        _warp_bicubic(image, line, sample, result)
    elif resampling is Resampling.BILINEAR:
        _warp_bilinear(image, line, sample, result)
    else:
        _warp_nearest(image, line, sample, result)
    return result


def eroded(inside: Mask, pixels: int) -> Mask:
    """`inside` without what is within so many pixels (in rows, columns and diagonals) of its edge or of that of the map."""
    if pixels <= 0:
        return inside
    size = 2 * pixels + 1
    shrunk = inside
    for _ in range(2):
        sums = np.cumsum(np.pad(shrunk, ((pixels + 1, pixels), (0, 0))), axis=0, dtype=np.int32)
        shrunk = np.ascontiguousarray((sums[size:] - sums[:-size] == size).T)
    return shrunk


@compiled_parallel
def _positions(
    azimuth_time: Floats,
    range_time: Floats,
    timing: tuple[float, float, float, float],
    bulk: float,
    share: float,
    line: Floats,
    sample: Floats,
) -> None:
    late, interval, first_range, rate = timing
    for row in parallel_range(line.shape[0]):
        for column in range(line.shape[1]):
            away = range_time[row, column]
            line[row, column] = (azimuth_time[row, column] - late - (away - bulk) * share) / interval
            sample[row, column] = (away - first_range) * rate


@compiled_parallel
def _look_up(
    arc: tuple[Floats, float, float],
    base: Floats,
    normal: Floats,
    step: int,
    heights: Pixels,
    azimuth_time: Floats,
    range_time: Floats,
    sine: Pixels,
) -> None:
    coefficients, middle, half = arc
    rows, columns = heights.shape
    for part in parallel_range((rows + _ROWS - 1) // _ROWS):
        # Positions of three rows at a time, and the normals of the ellipsoid.
        places = np.empty((3, columns, 3))
        ups = np.empty((3, columns, 3))
        start, stop = part * _ROWS, min(rows, (part + 1) * _ROWS)
        for row in range(max(start - 1, 0), min(start + 1, rows)):
            place_row(base, normal, step, heights, row, places[row % 3], ups[row % 3])
        x = 0.0
        for row in range(start, stop):
            above, below = max(row - 1, 0), min(row + 1, rows - 1)
            place_row(base, normal, step, heights, below, places[below % 3], ups[below % 3])
            here = places[row % 3]
            for column in range(columns):
                px, py, pz = here[column, 0], here[column, 1], here[column, 2]
                if px != px:
                    azimuth_time[row, column] = range_time[row, column] = sine[row, column] = np.nan
                    continue
                x, dx, dy, dz = zero_doppler_of_one(coefficients, x, px, py, pz)
                distance = (dx * dx + dy * dy + dz * dz) ** 0.5
                azimuth_time[row, column] = middle + half * x
                range_time[row, column] = distance * (2 / SPEED_OF_LIGHT_M_S)
                look = (-dx / distance, -dy / distance, -dz / distance)
                east = _difference(here, here, column, min(column + 1, columns - 1), max(column - 1, 0))
                lower = places[below % 3] if places[below % 3, column, 0] == places[below % 3, column, 0] else here
                upper = places[above % 3] if places[above % 3, column, 0] == places[above % 3, column, 0] else here
                south = _difference(lower, upper, column, column, column)
                up = (ups[row % 3, column, 0], ups[row % 3, column, 1], ups[row % 3, column, 2])
                sine[row, column] = _projected_sine(look, up, _cross(south, east))


_Vector = tuple[float, float, float]


@compiled
def _difference(one: Floats, other: Floats, column: int, column_of_one: int, column_of_other: int) -> _Vector:
    """From a place to another; where one of them has no height, the place between them is taken instead."""
    p = column_of_one if one[column_of_one, 0] == one[column_of_one, 0] else column
    q = column_of_other if other[column_of_other, 0] == other[column_of_other, 0] else column
    return one[p, 0] - other[q, 0], one[p, 1] - other[q, 1], one[p, 2] - other[q, 2]


@compiled
def _cross(a: _Vector, b: _Vector) -> _Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@compiled
def _projected_sine(look: _Vector, up: _Vector, slope: _Vector) -> float:
    """Of the angle between `look` and the normal `slope` (any length, may point down), projected onto the plane of `look` and `up`."""
    across = _cross(up, look)
    length = across[0] ** 2 + across[1] ** 2 + across[2] ** 2
    sideways = (slope[0] * across[0] + slope[1] * across[1] + slope[2] * across[2]) / length
    nx, ny, nz = slope[0] - sideways * across[0], slope[1] - sideways * across[1], slope[2] - sideways * across[2]
    cosine = (nx * look[0] + ny * look[1] + nz * look[2]) / (nx * nx + ny * ny + nz * nz) ** 0.5
    return float(max(1 - cosine * cosine, 0.0) ** 0.5)


@compiled_parallel
def _warp_nearest(image: Pixels, line: Floats, sample: Floats, result: Pixels) -> None:
    for row in parallel_range(result.shape[0]):
        for column in range(result.shape[1]):
            y, x = line[row, column], sample[row, column]
            inside = -0.5 <= y < image.shape[0] - 0.5 and -0.5 <= x < image.shape[1] - 0.5
            result[row, column] = image[int(y + 0.5), int(x + 0.5)] if inside else np.nan


@compiled_parallel
def _warp_bilinear(image: Pixels, line: Floats, sample: Floats, result: Pixels) -> None:
    for row in parallel_range(result.shape[0]):
        for column in range(result.shape[1]):
            y, x = line[row, column], sample[row, column]
            if not (0 <= y < image.shape[0] - 1 and 0 <= x < image.shape[1] - 1):
                result[row, column] = np.nan
                continue
            i, j = int(y), int(x)
            v, u = y - i, x - j
            result[row, column] = (1 - v) * ((1 - u) * image[i, j] + u * image[i, j + 1]) + v * (
                (1 - u) * image[i + 1, j] + u * image[i + 1, j + 1]
            )


@compiled
def _cubic_weights(t: float) -> tuple[float, float, float, float]:
    return ((2 - t) * t - 1) * t / 2, ((3 * t - 5) * t * t + 2) / 2, ((4 - 3 * t) * t + 1) * t / 2, (t - 1) * t * t / 2


@compiled_parallel
def _warp_bicubic(image: Pixels, line: Floats, sample: Floats, result: Pixels) -> None:
    for row in parallel_range(result.shape[0]):
        for column in range(result.shape[1]):
            y, x = line[row, column], sample[row, column]
            if not (1 <= y < image.shape[0] - 2 and 1 <= x < image.shape[1] - 2):
                result[row, column] = np.nan
                continue
            i, j = int(y), int(x)
            down, across = _cubic_weights(y - i), _cubic_weights(x - j)
            total = 0.0
            for tap in range(4):
                pixels = image[i - 1 + tap]
                total += down[tap] * (
                    across[0] * pixels[j - 1] + across[1] * pixels[j] + across[2] * pixels[j + 1] + across[3] * pixels[j + 2]
                )
            result[row, column] = total
