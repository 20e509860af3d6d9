"""Where each pixel of the reference burst lies in another burst: computed from both orbits and the terrain, as a polynomial.

shift = sum over c_i m_i, with m = 1, x, y, x2, xy, y2, y3, z, zx, zy, zy2, z2 of the line x, the sample y and the height z (each scaled
to -1..1). Fitted to points spread through the volume of the burst, held to others (`fit_shifts`): a single affine for each burst,
without heights, would err by up to 0.3 pixels in mountains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError
from processor.sar.geometry import ground_points, radar_coordinates
from processor.sar.orbit import OrbitPolynomial
from processor.sar.radar_grid import RadarGrid

Floats = NDArray[np.float64]

LINE_STEP = 8
SAMPLE_STEP = 32
"""Between the nodes on which shifts are given to resampling, which takes them as linear in between."""

_FIT = (9, 17, 4)
_CHECK = (6, 12, 3)
_LARGEST_RESIDUAL = 0.005
"""Pixels. Far above what any pair of real orbits leaves (0.0007): above it the geometry of the two bursts is not comparable."""


@dataclass(frozen=True, eq=False)
class ShiftModel:
    """The polynomial: position in the other burst minus position in the reference, in lines and samples."""

    line_coefficients: Floats
    sample_coefficients: Floats
    """Shape (12,), in the order of the terms above."""
    centre: tuple[float, float, float]
    scale: tuple[float, float, float]
    """Of line, sample and height: each is (value - centre) / scale in the terms."""
    line_residual: float
    sample_residual: float
    """The largest at points that took no part in the fit."""

    def shifts(self, line: Floats, sample: Floats, height: Floats) -> tuple[Floats, Floats]:
        """Shift in lines and in samples, at positions in the reference burst and heights above the ellipsoid (broadcast)."""
        terms = _terms(self._scaled(line, sample, height))
        return np.tensordot(self.line_coefficients, terms, 1), np.tensordot(self.sample_coefficients, terms, 1)

    def _scaled(self, *values: Floats) -> list[Floats]:
        return [(value - centre) / scale for value, centre, scale in zip(values, self.centre, self.scale, strict=True)]


@dataclass(frozen=True)
class BurstGeometry:
    """A burst, as far as positions go."""

    grid: RadarGrid
    orbit: OrbitPolynomial


def fit_shifts(reference: BurstGeometry, other: BurstGeometry, lowest_m: float, highest_m: float) -> ShiftModel:
    """The shifts from `reference` to `other` for heights above the ellipsoid between two bounds.

    Raises FatalError where the polynomial does not hold: the bursts are not of one place and track.
    """
    grid = reference.grid
    highest_m = max(highest_m, lowest_m + 100.0)
    extents = ((0.0, grid.lines - 1.0), (0.0, grid.samples - 1.0), (lowest_m, highest_m))
    centre = tuple((low + high) / 2 for low, high in extents)
    scale = tuple(max((high - low) / 2, 1.0) for low, high in extents)
    fit, check = (_volume(counts, centre, scale) for counts in (_FIT, _CHECK))
    measured = _measured(reference, other, fit)
    model = ShiftModel(np.zeros(12), np.zeros(12), (centre[0], centre[1], centre[2]), (scale[0], scale[1], scale[2]), 0.0, 0.0)
    matrix = _terms(model._scaled(*fit)).reshape(12, -1).T
    coefficients, *_ = np.linalg.lstsq(matrix, np.stack([value.ravel() for value in measured], axis=-1), rcond=None)
    model = ShiftModel(np.asarray(coefficients[:, 0], float), np.asarray(coefficients[:, 1], float), model.centre, model.scale, 0.0, 0.0)
    errors = [np.abs(a - b).max() for a, b in zip(model.shifts(*check), _measured(reference, other, check), strict=True)]
    if not max(errors) < _LARGEST_RESIDUAL:
        raise FatalError(
            f"the burst of {other.grid.first_line_time:%Y-%m-%d} cannot be coregistered on that of {grid.first_line_time:%Y-%m-%d}: "
            f"the model of the shift is off by up to {errors[0]:.3f} lines and {errors[1]:.3f} samples"
        )
    return ShiftModel(model.line_coefficients, model.sample_coefficients, model.centre, model.scale, float(errors[0]), float(errors[1]))


def nodes(grid: RadarGrid) -> tuple[Floats, Floats]:
    """Lines, shape (n, 1), and samples, shape (1, m), of the nodes that cover `grid`; the last may lie past its end."""
    lines = np.arange(-(-(grid.lines - 1) // LINE_STEP) + 1, dtype=float) * LINE_STEP
    samples = np.arange(-(-(grid.samples - 1) // SAMPLE_STEP) + 1, dtype=float) * SAMPLE_STEP
    return lines[:, None], samples[None, :]


def _measured(reference: BurstGeometry, other: BurstGeometry, volume: list[Floats]) -> tuple[Floats, Floats]:
    line, sample, height = volume
    found = radar_coordinates(other.orbit, other.grid, ground_points(reference.orbit, reference.grid, line, sample, height))
    return found.line - line, found.sample - sample


def _volume(counts: tuple[int, ...], centre: tuple[float, ...], scale: tuple[float, ...]) -> list[Floats]:
    """Points of a regular grid through the volume, its faces included; arrays of shape `counts`."""
    axes = [middle + half * np.linspace(-1, 1, count) for count, middle, half in zip(counts, centre, scale, strict=True)]
    return list(np.meshgrid(*axes, indexing="ij"))


def _terms(scaled: list[Floats]) -> Floats:
    x, y, z = np.broadcast_arrays(*scaled)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y, y**3, z, z * x, z * y, z * y * y, z * z])
