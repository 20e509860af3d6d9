"""Where the satellite was: state vectors, and the polynomial through them that the geometry computes with.

State vectors come from annotations or from orbit files; both are Earth-fixed (WGS 84), in metres and metres a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError

Floats = NDArray[np.float64]

_DEGREE = 7
_MARGIN_S = 25.0
"""State vectors this far outside the wanted time take part: with one in 10 s, at least four and eight conditions for a polynomial."""
_FEWEST = 4
_BEYOND_S = 1.0
"""How far past the first and last state vector the polynomial is still used."""


@dataclass(frozen=True, eq=False)
class Orbit:
    """State vectors in order of time."""

    epoch: datetime
    """UTC; `times` count from here."""
    times: Floats
    """Seconds, shape (n,)."""
    positions: Floats
    """Metres, Earth-fixed, shape (n, 3)."""
    velocities: Floats
    """Metres a second, shape (n, 3)."""
    source: str
    """Where they are from: `annotation`, or the name of an orbit file."""

    @classmethod
    def from_vectors(cls, times: Sequence[datetime], positions: Floats, velocities: Floats, source: str) -> Orbit:
        """Of state vectors in any order; the same time twice counts once. Raises FatalError for fewer than four."""
        if len(times) < _FEWEST:
            raise FatalError(f"{source}: {len(times)} state vectors; an orbit needs at least {_FEWEST}")
        epoch = min(times)
        seconds, order = np.unique([(time - epoch).total_seconds() for time in times], return_index=True)
        return cls(epoch, seconds, np.asarray(positions, float)[order], np.asarray(velocities, float)[order], source)

    def seconds(self, moment: datetime) -> float:
        """`moment` in the times of this orbit."""
        return (moment - self.epoch).total_seconds()

    def polynomial(self, start: datetime, stop: datetime) -> OrbitPolynomial:
        """The position from `start` to `stop` as a polynomial.

        Least squares over positions and velocities of the state vectors around; for an arc of 90 s the degree alone errs by less than a
        micrometre. Raises FatalError where the state vectors do not cover the time.
        """
        first, last = self.seconds(start), self.seconds(stop)
        if first < self.times[0] - _BEYOND_S or last > self.times[-1] + _BEYOND_S:
            raise FatalError(f"the orbit ({self.source}) does not cover {start:%Y-%m-%dT%H:%M:%S} to {stop:%Y-%m-%dT%H:%M:%S}")
        near = (self.times >= first - _MARGIN_S) & (self.times <= last + _MARGIN_S)
        if near.sum() < _FEWEST:
            centre = (first + last) / 2
            near = np.isin(np.arange(self.times.size), np.argsort(np.abs(self.times - centre))[:_FEWEST])
        times = self.times[near]
        middle, half = (times[0] + times[-1]) / 2, (times[-1] - times[0]) / 2
        return OrbitPolynomial(self.epoch, middle, half, _fit((times - middle) / half, half, self.positions[near], self.velocities[near]))


@dataclass(frozen=True, eq=False)
class OrbitPolynomial:
    """Position over a short arc, as a polynomial in x = (time - middle) / half."""

    epoch: datetime
    middle: float
    """Seconds after `epoch`."""
    half: float
    """Seconds."""
    coefficients: Floats
    """Metres, ascending powers of x, shape (degree + 1, 3)."""

    def seconds(self, moment: datetime) -> float:
        """`moment` in the times of this orbit."""
        return (moment - self.epoch).total_seconds()

    def position(self, times: Floats | float) -> Floats:
        """Metres, shape (..., 3), at `times` in seconds after `epoch`."""
        return self._derivative(times, 0)

    def velocity(self, times: Floats | float) -> Floats:
        """Metres a second, shape (..., 3)."""
        return self._derivative(times, 1)

    def acceleration(self, times: Floats | float) -> Floats:
        """Metres a second squared, in the Earth-fixed frame, shape (..., 3)."""
        return self._derivative(times, 2)

    def _derivative(self, times: Floats | float, order: int) -> Floats:
        x = (np.asarray(times, float) - self.middle) / self.half
        derived = np.polynomial.polynomial.polyder(self.coefficients, order) if order else self.coefficients
        values = np.asarray(np.polynomial.polynomial.polyval(x, derived), float) / self.half**order
        return np.moveaxis(values, 0, -1)


def _fit(x: Floats, half: float, positions: Floats, velocities: Floats) -> Floats:
    degree = min(_DEGREE, 2 * x.size - 1)
    powers = np.vander(x, degree + 1, increasing=True)
    slopes = np.zeros_like(powers)
    slopes[:, 1:] = powers[:, :-1] * np.arange(1, degree + 1)
    # Dividing by the duration makes errors of velocity comparable: an arc of 50 s turns 1 mm/s into 25 mm.
    fitted, *_ = np.linalg.lstsq(np.vstack([powers, slopes]), np.vstack([positions, velocities * half]), rcond=None)
    return np.asarray(fitted, float)
