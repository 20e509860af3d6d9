"""Orbits and the range-Doppler geometry of the simulation: where a satellite is, what it sees at a time and range, when it sees a point.

Positions are Earth-fixed (WGS 84), metres; times are seconds after an epoch that the caller keeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAJOR_M, MINOR_M = 6_378_137.0, 6_356_752.314245
EARTH_RATE_RAD_S = 7.292115e-5
LIGHT_M_S = 299_792_458.0

_ECC2 = 1 - (MINOR_M / MAJOR_M) ** 2
_DEGREE = 9
_TURNS = 6


@dataclass(frozen=True)
class StateVectors:
    """Samples of an orbit: arrays of shape (n,), (n, 3), (n, 3)."""

    times: Floats
    positions: Floats
    velocities: Floats


@dataclass(frozen=True)
class Orbit:
    """An orbit between its state vectors, as Chebyshev polynomials fitted to their positions."""

    vectors: StateVectors
    middle: float
    half: float
    coefficients: Floats

    def position(self, times: Floats) -> Floats:
        """Shape (..., 3)."""
        return self._derivative(times, 0)

    def velocity(self, times: Floats) -> Floats:
        return self._derivative(times, 1)

    def _derivative(self, times: Floats, order: int) -> Floats:
        x = (np.asarray(times, dtype=np.float64) - self.middle) / self.half
        values = chebyshev.chebval(x, chebyshev.chebder(self.coefficients, order) if order else self.coefficients)
        return np.asarray(np.moveaxis(values, 0, -1) / self.half**order, dtype=np.float64)


def fit_orbit(vectors: StateVectors) -> Orbit:
    """The orbit through state vectors that span some minutes."""
    first, last = float(vectors.times[0]), float(vectors.times[-1])
    middle, half = (first + last) / 2, (last - first) / 2
    fitted = chebyshev.chebfit((vectors.times - middle) / half, vectors.positions, min(_DEGREE, len(vectors.times) - 1))
    return Orbit(vectors, middle, half, np.asarray(fitted, dtype=np.float64))


def circular_orbit(
    times: Floats, *, node_longitude: float, inclination: float, radius_m: float, period_s: float, offset_m: tuple[float, float] = (0, 0)
) -> Orbit:
    """An orbit that crosses the equator northwards at time 0 and `node_longitude` (degrees), as state vectors at `times`.

    Kepler's circular orbit, with the period that regression of the node and the figure of the Earth leave. `offset_m`: to the right of the
    track and upwards, so that two passes make a baseline.
    """
    rate, tilt = 2 * math.pi / period_s, math.radians(inclination)
    angle = rate * times
    in_plane = np.stack([np.cos(angle), np.sin(angle) * math.cos(tilt), np.sin(angle) * math.sin(tilt)], axis=-1)
    along = np.stack([-np.sin(angle), np.cos(angle) * math.cos(tilt), np.cos(angle) * math.sin(tilt)], axis=-1)
    # To the right of the flight; the same direction all along a circular orbit.
    right = np.cross(along, in_plane)
    inertial = (radius_m + offset_m[1]) * in_plane + offset_m[0] * right
    speed = (radius_m + offset_m[1]) * rate * along
    turn = math.radians(node_longitude) - EARTH_RATE_RAD_S * times
    positions = _turned(inertial, turn)
    spin = np.stack([-EARTH_RATE_RAD_S * positions[:, 1], EARTH_RATE_RAD_S * positions[:, 0], np.zeros(len(times))], axis=-1)
    return fit_orbit(StateVectors(times, positions, _turned(speed, turn) - spin))


def see(orbit: Orbit, times: Floats, ranges_m: Floats, heights_m: Floats) -> Floats:
    """The points, shape (..., 3), to the right of the track at zero Doppler, at these times, ranges and heights above the ellipsoid."""
    positions, velocities = orbit.position(times), orbit.velocity(times)
    forward = velocities / np.linalg.norm(velocities, axis=-1, keepdims=True)
    down = -(positions - np.sum(positions * forward, axis=-1, keepdims=True) * forward)
    down /= np.linalg.norm(down, axis=-1, keepdims=True)
    right = np.cross(down, forward)
    distance = np.linalg.norm(positions, axis=-1)
    radius = MAJOR_M - 8_000 + heights_m
    angle = np.arccos(np.clip((distance**2 + ranges_m**2 - radius**2) / (2 * distance * ranges_m), -1, 1))
    # Every point at this angle from the vertical has the range and no Doppler; Newton's method finds the one at the height.
    for _ in range(_TURNS):
        cosine, sine = np.cos(angle)[..., None], np.sin(angle)[..., None]
        points = positions + ranges_m[..., None] * (cosine * down + sine * right)
        longitude, latitude, height = geodetic(points)
        slope = ranges_m * np.sum((cosine * right - sine * down) * up(longitude, latitude), axis=-1)
        angle = angle - (height - heights_m) / slope
    cosine, sine = np.cos(angle)[..., None], np.sin(angle)[..., None]
    return np.asarray(positions + ranges_m[..., None] * (cosine * down + sine * right), dtype=np.float64)


def seen_at(orbit: Orbit, points: Floats) -> tuple[Floats, Floats]:
    """When the points, shape (..., 3), stand at zero Doppler, and their range in metres then."""
    times = np.full(points.shape[:-1], orbit.middle)
    step = 1.0
    for _ in range(_TURNS):
        away = points - orbit.position(times)
        velocity = orbit.velocity(times)
        after = orbit.velocity(times + step)
        acceleration = (after - velocity) / step
        doppler = np.sum(away * velocity, axis=-1)
        slope = np.sum(away * acceleration, axis=-1) - np.sum(velocity * velocity, axis=-1)
        times = times - doppler / slope
    return times, np.linalg.norm(points - orbit.position(times), axis=-1)


def geocentric(longitude: Floats, latitude: Floats, height: Floats) -> Floats:
    """Points, shape (..., 3), of degrees and metres above the ellipsoid."""
    lon, lat = np.radians(longitude), np.radians(latitude)
    normal = MAJOR_M / np.sqrt(1 - _ECC2 * np.sin(lat) ** 2)
    across = (normal + height) * np.cos(lat)
    return np.stack([across * np.cos(lon), across * np.sin(lon), (normal * (1 - _ECC2) + height) * np.sin(lat)], axis=-1)


def geodetic(points: Floats) -> tuple[Floats, Floats, Floats]:
    """Longitude, latitude (degrees) and height above the ellipsoid; Bowring's formula, exact to micrometres near the surface."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    across = np.hypot(x, y)
    second = (MAJOR_M / MINOR_M) ** 2 - 1
    reduced = np.arctan2(z * MAJOR_M, across * MINOR_M)
    latitude = np.arctan2(z + second * MINOR_M * np.sin(reduced) ** 3, across - _ECC2 * MAJOR_M * np.cos(reduced) ** 3)
    normal = MAJOR_M / np.sqrt(1 - _ECC2 * np.sin(latitude) ** 2)
    height = across * np.cos(latitude) + z * np.sin(latitude) - MAJOR_M**2 / normal
    return np.degrees(np.arctan2(y, x)), np.degrees(latitude), height


def up(longitude: Floats, latitude: Floats) -> Floats:
    """The normal of the ellipsoid, shape (..., 3)."""
    lon, lat = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _turned(vectors: Floats, angle: Floats) -> Floats:
    """About the axis of the Earth."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = vectors[:, 0], vectors[:, 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, vectors[:, 2]], axis=-1)
