"""Between points on the ground and pixels of the radar image: the range-Doppler equations, and the angles at which a point is seen.

Source: Small & Schubert, "Guide to Sentinel-1 geocoding" (UZH-S1-GC-AD), and Cumming & Wong, "Digital processing of synthetic aperture
radar data" (2005), chapter 4. A pixel shows what stood at zero Doppler (on the plane through the satellite across its Earth-fixed velocity)
at its azimuth time, at its range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processor.sar import ellipsoid
from processor.sar.compiled import compiled, compiled_parallel, parallel_range
from processor.sar.orbit import OrbitPolynomial
from processor.sar.radar_grid import SPEED_OF_LIGHT_M_S, RadarGrid

Floats = NDArray[np.float64]

_TURNS = 10
_SHORT = 1e-6
"""Of the orbit polynomial's variable, whose unit is some 30 s: Newton's next step would be its square."""
_SECANTS = 8
_CLOSE_M = 1e-6


@dataclass(frozen=True, eq=False)
class RadarCoordinates:
    """Where points lie in a radar image; both arrays have the shape of the points."""

    line: Floats
    sample: Floats


def radar_coordinates(orbit: OrbitPolynomial, grid: RadarGrid, points: Floats) -> RadarCoordinates:
    """Line and sample (from 0, fractional, also outside the image) of Earth-centred `points`, metres, shape (..., 3)."""
    azimuth_time, range_time = zero_doppler(orbit, points)
    azimuth_time -= orbit.seconds(grid.first_line_time)
    return RadarCoordinates(grid.line(azimuth_time, range_time), grid.sample(range_time))


def zero_doppler(orbit: OrbitPolynomial, points: Floats) -> tuple[Floats, Floats]:
    """When the satellite passed Earth-centred `points`, shape (..., 3): seconds after `orbit.epoch`, and the two-way range time then."""
    flat = np.ascontiguousarray(points.reshape(-1, 3), dtype=np.float64)
    solved = _zero_doppler_of_all(orbit.coefficients, flat)
    shape = points.shape[:-1]
    azimuth_time = orbit.middle + orbit.half * solved[:, 0]
    return azimuth_time.reshape(shape), (2 / SPEED_OF_LIGHT_M_S * solved[:, 1]).reshape(shape)


def ground_points(orbit: OrbitPolynomial, grid: RadarGrid, lines: Floats, samples: Floats, heights: Floats | float) -> Floats:
    """Earth-centred points, shape (..., 3), seen at `lines` and `samples` and `heights` metres above the ellipsoid (broadcast).

    Of the two points that fulfil the equations, the one to the right of the track. Nowhere (no such height at this range): not a number.
    """
    line, sample, height = np.broadcast_arrays(np.asarray(lines, float), np.asarray(samples, float), np.asarray(heights, float))
    azimuth_time = orbit.seconds(grid.first_line_time) + grid.azimuth_time(line, sample)
    reach = (grid.range_time(sample) * (SPEED_OF_LIGHT_M_S / 2))[..., None]
    position, velocity = orbit.position(azimuth_time), orbit.velocity(azimuth_time)
    along = _unit(velocity)
    right = _unit(np.cross(along, position))
    down = np.cross(along, right)

    def seen(angle: Floats) -> Floats:
        return np.asarray(position + reach * (np.cos(angle) * down + np.sin(angle) * right))

    # Wanted is the angle from the vertical on the circle of zero Doppler and range: first for a sphere, then by secants.
    radius, centre = ellipsoid.MAJOR_M - 10_000 + height[..., None], np.linalg.norm(position, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        angle = np.arccos((centre**2 + reach**2 - radius**2) / (2 * centre * reach))
        before, error_before = angle + 1e-4, _error(seen(angle + 1e-4), height)
        for _ in range(_SECANTS):
            error = _error(seen(angle), height)
            slope = (error - error_before) / (angle - before)
            before, error_before = angle, error
            angle = np.where(np.abs(error) < _CLOSE_M, angle, angle - error / slope)
    return np.where(np.abs(error_before) < _CLOSE_M, seen(before), np.nan)


def incidence_angles(orbit: OrbitPolynomial, points: Floats) -> Floats:
    """Angles in radians between the normal of the ellipsoid and the direction to the satellite at `points`, shape (..., 3)."""
    azimuth_time, _ = zero_doppler(orbit, points)
    look = orbit.position(azimuth_time) - points
    longitude, latitude, _ = ellipsoid.geodetic(points)
    cosine = np.sum(look * ellipsoid.up(longitude, latitude), axis=-1) / np.linalg.norm(look, axis=-1)
    return np.asarray(np.arccos(np.clip(cosine, -1, 1)), float)


def _error(points: Floats, height: Floats) -> Floats:
    return np.asarray((ellipsoid.geodetic(points)[2] - height)[..., None])


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


@compiled
def zero_doppler_of_one(coefficients: Floats, x: float, px: float, py: float, pz: float) -> tuple[float, float, float, float]:
    """The zero of (P - S(x)) . S'(x), by Newton's method from a guess `x` (the orbit polynomial's variable), and P - S there."""
    last = coefficients.shape[0] - 1
    dx = dy = dz = 0.0
    for _ in range(_TURNS):
        sx, sy, sz = coefficients[last, 0], coefficients[last, 1], coefficients[last, 2]
        vx = vy = vz = ax = ay = az = 0.0
        for power in range(last - 1, -1, -1):
            ax, ay, az = ax * x + 2 * vx, ay * x + 2 * vy, az * x + 2 * vz
            vx, vy, vz = vx * x + sx, vy * x + sy, vz * x + sz
            sx, sy, sz = sx * x + coefficients[power, 0], sy * x + coefficients[power, 1], sz * x + coefficients[power, 2]
        dx, dy, dz = px - sx, py - sy, pz - sz
        step = (dx * vx + dy * vy + dz * vz) / (dx * ax + dy * ay + dz * az - vx * vx - vy * vy - vz * vz)
        x -= step
        if abs(step) < _SHORT:
            # Along so short a step the satellite flies straight on.
            dx, dy, dz = dx + step * vx, dy + step * vy, dz + step * vz
            break
    return x, dx, dy, dz


@compiled_parallel
def _zero_doppler_of_all(coefficients: Floats, points: Floats) -> Floats:
    """x and distance of each point: shape (n, 2). Neighbours are near each other: one's solution is the next one's guess."""
    count = points.shape[0]
    solved = np.empty((count, 2))
    block = 1024
    for part in parallel_range((count + block - 1) // block):
        x = 0.0
        for index in range(part * block, min(count, (part + 1) * block)):
            x, dx, dy, dz = zero_doppler_of_one(coefficients, x, points[index, 0], points[index, 1], points[index, 2])
            solved[index, 0] = x
            solved[index, 1] = (dx * dx + dy * dy + dz * dz) ** 0.5
    return solved
