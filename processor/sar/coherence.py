"""Interferometric coherence of two coregistered bursts, and the wrapped phase of their interferogram.

coherence = |sum a b* e^(j flat)| / sqrt(sum |a|^2 sum |b|^2) over a window that slides from pixel to pixel (Touzi et al., "Coherence
estimation for SAR imagery", IEEE Trans. Geosci. Remote Sens. 37, 1999), then its mean over the looks. The phase of the ellipsoid is taken
away first, so that fringes do not lower it; the phase of the terrain above it is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from processor.sar.compiled import compiled, compiled_parallel, parallel_range
from processor.sar.coregistration import LINE_STEP, SAMPLE_STEP, BurstGeometry, nodes
from processor.sar.geometry import ground_points, zero_doppler
from processor.sar.radar_grid import RadarGrid

Samples = NDArray[np.complex64]
Floats = NDArray[np.float64]

_COARSE = 8
"""Flat-earth phase is computed at every so many nodes each way, and is smooth enough for cubic interpolation in between."""


@dataclass(frozen=True)
class Window:
    """Sizes in pixels: of what one value is estimated from, and of what is averaged afterwards."""

    lines: int = 4
    samples: int = 16
    azimuth_looks: int = 1
    range_looks: int = 4


@dataclass(frozen=True, eq=False)
class Interferogram:
    """Estimates on the multilooked grid; not a number where there is none."""

    coherence: NDArray[np.float32]
    """0 to 1: the mean over the looks."""
    phasor: Samples
    """The mean over the looks of the complex estimates: its angle is the phase of `first` minus that of `second`, wrapped."""
    grid: RadarGrid
    """Where they lie in the reference burst."""


def interferogram(first: Samples, second: Samples, flat_phase: Floats, grid: RadarGrid, window: Window) -> Interferogram:
    """Of two bursts on the pixels of the reference burst sampled by `grid`, both of its shape; pixels that are not a number take no
    part.

    `flat_phase`: radians at the nodes (`flat_earth_phase`), added to the phase of first times conjugate second. A window that does not fit
    gives no estimate, nor does one around a pixel that is not a number.
    """
    shape = (grid.lines // window.azimuth_looks, grid.samples // window.range_looks)
    coherence, phasor = np.empty(shape, np.float32), np.empty(shape, np.complex64)
    sizes = (window.lines, window.samples, window.azimuth_looks, window.range_looks)
    _estimate(first, second, flat_phase, sizes, coherence, phasor)
    return Interferogram(coherence, phasor, _centred(grid, window))


def flat_earth_phase(reference: BurstGeometry, first: BurstGeometry, second: BurstGeometry) -> Floats:
    """4 pi / wavelength (R_first - R_second) at the nodes of the reference burst, for points of it on the ellipsoid: shape as the nodes.

    The phase of a burst's pixel is -4 pi R / wavelength (plus that of its scatterers): this takes away what the ellipsoid does to the pair.
    """
    lines, samples = nodes(reference.grid)
    coarse = lines[::_COARSE], samples[:, ::_COARSE]
    # One more each way than needed, so that the cubic has points on both sides everywhere.
    line = _extended(coarse[0].ravel(), LINE_STEP * _COARSE)[:, None]
    sample = _extended(coarse[1].ravel(), SAMPLE_STEP * _COARSE)[None, :]
    points = ground_points(reference.orbit, reference.grid, line, sample, 0.0)
    _, range_first = zero_doppler(first.orbit, points)
    _, range_second = zero_doppler(second.orbit, points)
    turns = first.grid.radar_frequency_hz * range_first - second.grid.radar_frequency_hz * range_second
    return _refined(2 * np.pi * turns, lines.size, samples.size)


def _extended(values: Floats, step: int) -> Floats:
    return np.concatenate([[values[0] - step], values, [values[-1] + step, values[-1] + 2 * step]])


def _refined(coarse: Floats, rows: int, columns: int) -> Floats:
    """Cubic (Lagrange) interpolation of values at every `_COARSE`-th node, one before the first, to all nodes."""
    fraction = np.arange(_COARSE) / _COARSE
    weights = np.stack(
        [
            -fraction * (fraction - 1) * (fraction - 2) / 6,
            (fraction + 1) * (fraction - 1) * (fraction - 2) / 2,
            -(fraction + 1) * fraction * (fraction - 2) / 2,
            (fraction + 1) * fraction * (fraction - 1) / 6,
        ]
    )

    def along(values: Floats, count: int) -> Floats:
        cells = values.shape[0] - 3
        parts = sum(weights[tap][None, :, None] * values[tap : tap + cells, None, :] for tap in range(4))
        return np.asarray(parts).reshape(cells * _COARSE, -1)[:count]

    return np.ascontiguousarray(along(along(coarse, rows).T, columns).T)


def _centred(grid: RadarGrid, window: Window) -> RadarGrid:
    """The multilooked grid, half a pixel later where a window has no pixel in its middle (see `_estimate`)."""
    late_lines, late_samples = (0.5 if size % 2 == 0 else 0.0 for size in (window.lines, window.samples))
    moved = replace(
        grid,
        first_line_time=grid.first_line_time + timedelta(seconds=late_lines * grid.line_interval_s),
        first_range_time_s=grid.first_range_time_s + late_samples / grid.range_sampling_rate_hz,
    )
    return moved.multilooked(window.azimuth_looks, window.range_looks)


@compiled_parallel
def _estimate(
    first: Samples,
    second: Samples,
    flat_phase: Floats,
    sizes: tuple[int, int, int, int],
    coherence: NDArray[np.float32],
    phasor: Samples,
) -> None:
    window_lines, window_samples, azimuth_looks, range_looks = sizes
    lines, samples = first.shape
    band = 32
    bands = (coherence.shape[0] + band - 1) // band
    for number in parallel_range(bands):
        # Sums over the window's samples, of its lines: one row of the ring for each line.
        ring = np.zeros((window_lines, 4, samples))
        row = np.zeros((4, samples + 1))
        done = -1
        for out in range(number * band, min(coherence.shape[0], (number + 1) * band)):
            magnitude, vector = np.zeros(coherence.shape[1]), np.zeros(coherence.shape[1], np.complex128)
            for line in range(out * azimuth_looks, (out + 1) * azimuth_looks):
                top = line - (window_lines - 1) // 2
                bottom = top + window_lines
                if top < 0 or bottom > lines:
                    magnitude[:] = np.nan
                    continue
                for each in range(max(top, done + 1), bottom):
                    _row_sums(first[each], second[each], flat_phase, each, row)
                    _window_sums(row, window_samples, ring[each % window_lines])
                done = bottom - 1
                _add_estimates(ring, first[line], second[line], range_looks, magnitude, vector)
            looks = azimuth_looks * range_looks
            for column in range(coherence.shape[1]):
                coherence[out, column] = magnitude[column] / looks
                value = vector[column] / looks
                phasor[out, column] = value if magnitude[column] == magnitude[column] else complex(np.nan, np.nan)


@compiled
def _row_sums(first: Samples, second: Samples, flat_phase: Floats, line: int, sums: Floats) -> None:
    """Sums from the first sample on, of: real and imaginary part of the interferogram, both intensities."""
    samples = first.size
    node = min(line // LINE_STEP, max(flat_phase.shape[0] - 2, 0))
    below, part = min(node + 1, flat_phase.shape[0] - 1), line / LINE_STEP - node
    real = imaginary = one = other = 0.0
    for block in range(0, samples, SAMPLE_STEP):
        column = block // SAMPLE_STEP
        after = min(column + 1, flat_phase.shape[1] - 1)
        phase = flat_phase[node, column] * (1 - part) + flat_phase[below, column] * part
        turn = (flat_phase[node, after] * (1 - part) + flat_phase[below, after] * part - phase) / SAMPLE_STEP
        factor, rotation = complex(np.cos(phase), np.sin(phase)), complex(np.cos(turn), np.sin(turn))
        for sample in range(block, min(samples, block + SAMPLE_STEP)):
            a, b = first[sample], second[sample]
            power_a = a.real * a.real + a.imag * a.imag
            power_b = b.real * b.real + b.imag * b.imag
            # Not where one of them is not a number: the other must not count either.
            if power_a * power_b >= 0:
                cross_real, cross_imaginary = a.real * b.real + a.imag * b.imag, a.imag * b.real - a.real * b.imag
                real += cross_real * factor.real - cross_imaginary * factor.imag
                imaginary += cross_real * factor.imag + cross_imaginary * factor.real
                one += power_a
                other += power_b
            factor *= rotation
            sums[0, sample + 1] = real
            sums[1, sample + 1] = imaginary
            sums[2, sample + 1] = one
            sums[3, sample + 1] = other


@compiled
def _window_sums(sums: Floats, size: int, result: Floats) -> None:
    """Of running sums: those over the windows of `size` samples around each; not a number where it does not fit."""
    samples = result.shape[1]
    before = (size - 1) // 2
    for part in range(4):
        for sample in range(samples):
            start = sample - before
            if start < 0 or start + size > samples:
                result[part, sample] = np.nan
            else:
                result[part, sample] = sums[part, start + size] - sums[part, start]


@compiled
def _add_estimates(
    ring: Floats, first: Samples, second: Samples, range_looks: int, magnitude: Floats, vector: NDArray[np.complex128]
) -> None:
    """Add the estimates of one line to those of the looks."""
    for column in range(magnitude.size):
        for sample in range(column * range_looks, (column + 1) * range_looks):
            real = imaginary = one = other = 0.0
            for line in range(ring.shape[0]):
                real += ring[line, 0, sample]
                imaginary += ring[line, 1, sample]
                one += ring[line, 2, sample]
                other += ring[line, 3, sample]
            # The pixel in the middle decides whether there is an estimate.
            power = np.sqrt(one * other) + 0 * (first[sample].real + second[sample].real)
            if power > 0:
                magnitude[column] += min(np.sqrt(real * real + imaginary * imaginary) / power, 1.0)
                vector[column] += complex(real, imaginary) / power
            else:
                magnitude[column] = np.nan
