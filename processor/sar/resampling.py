"""Resamples a TOPS burst onto the pixels of another: ramp off, sinc interpolation in range and azimuth, ramp on again.

The kernel is an 8-tap sinc under a Kaiser window (Oppenheim & Schafer, "Discrete-time signal processing", 3rd edition, section 7.5.3), beta
chosen for the oversampling of Sentinel-1 (bandwidth over sampling 0.75 to 0.9 in range, 0.64 to 0.81 in azimuth).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processor.sar.compiled import compiled, compiled_parallel, parallel_range
from processor.sar.coregistration import LINE_STEP, SAMPLE_STEP
from processor.sar.tops import TopsPhase, tops_phase

Samples = NDArray[np.complex64]
Floats = NDArray[np.float64]

_AZIMUTH_TAPS, _AZIMUTH_BETA = 8, 4.0
_RANGE_TAPS, _RANGE_BETA = 12, 2.75
_BEFORE, _AFTER = _RANGE_TAPS // 2 - 1, _RANGE_TAPS // 2
"""Samples that the kernel reaches in range."""
_FRACTIONS = 2048
"""Steps of a pixel at which the kernel is tabulated: the nearest is at most 0.00025 pixels off."""
_STRIP = 4 * SAMPLE_STEP
"""Samples that one processor resamples at a time, so that what lies between the two passes stays in its cache."""


@dataclass(frozen=True)
class ValidArea:
    """Lines and samples, both ends included, in which a burst has values."""

    first_line: int
    last_line: int
    first_sample: int
    last_sample: int


def resample(
    image: Samples, ramp: TopsPhase, valid: ValidArea, line_shift: Floats, sample_shift: Floats, shape: tuple[int, int]
) -> Samples:
    """`image` (lines, samples of the other burst) on the pixels of the reference burst, of `shape`, with its ramp where it is now.

    `line_shift`, `sample_shift`: position in `image` minus position in the reference at the nodes (`coregistration.nodes`). Pixels whose
    centre lies outside of `valid`, or too near the edge of the image for the kernel, are not a number.
    """
    area = (valid.first_line, valid.last_line, valid.first_sample, valid.last_sample)
    result = np.empty(shape, np.complex64)
    tables = (kernel_table(_AZIMUTH_TAPS, _AZIMUTH_BETA), kernel_table(_RANGE_TAPS, _RANGE_BETA))
    _resample(image, ramp.packed(), area, line_shift, sample_shift, tables, result)
    return result


@lru_cache(maxsize=2)
def kernel_table(taps: int, beta: float) -> NDArray[np.float32]:
    """The weights of the pixels around a position, for its fraction in steps, shape (steps + 1, taps).

    Their sum is not made 1: that would hold the gain at frequency 0, but raise the power of a whole spectrum by up to 2.5 %.
    """
    fraction = np.arange(_FRACTIONS + 1)[:, None] / _FRACTIONS
    distance = np.arange(1 - taps // 2, taps // 2 + 1)[None, :] - fraction
    window = np.i0(beta * np.sqrt(np.clip(1 - (distance / (taps / 2)) ** 2, 0, None))) / np.i0(beta)
    return np.ascontiguousarray(np.sinc(distance) * window, np.float32)


_NOTHING = np.complex64(complex(np.nan, np.nan))
_Ramp = tuple[Floats, float, float, float, float]
_Table = NDArray[np.float32]


@compiled_parallel
def _resample(
    image: Samples,
    ramp: _Ramp,
    area: tuple[int, int, int, int],
    line_shift: Floats,
    sample_shift: Floats,
    tables: tuple[_Table, _Table],
    result: Samples,
) -> None:
    strips = (result.shape[1] + _STRIP - 1) // _STRIP
    for strip in parallel_range(strips):
        start = strip * _STRIP
        between = np.zeros((image.shape[0], _STRIP), np.complex64)
        _across(image, ramp, line_shift, sample_shift, tables[1], start, between)
        _along(between, ramp, area, line_shift, sample_shift, tables[0], start, result)


@compiled
def _across(image: Samples, ramp: _Ramp, line_shift: Floats, sample_shift: Floats, table: _Table, start: int, between: Samples) -> None:
    """In range: `between` has the lines of the image and the samples of the reference from `start` on, without the ramp."""
    columns, steps = image.shape[1], table.shape[0] - 1
    middle = min((start + _STRIP // 2) // SAMPLE_STEP, line_shift.shape[1] - 1)
    for row in range(image.shape[0]):
        nearest = min(row // LINE_STEP, line_shift.shape[0] - 1)
        line = row - line_shift[nearest, middle]
        for block in range(0, _STRIP, SAMPLE_STEP):
            left, right = _ends(sample_shift, line, start + block)
            slope = (right - left) / SAMPLE_STEP
            factor, rotation = _turning(ramp, row, row, start + block + left, start + block + SAMPLE_STEP + right, -1.0)
            for sample in range(SAMPLE_STEP):
                position = start + block + sample + left + slope * sample
                first = int(np.floor(position))
                if first >= _BEFORE and first + _AFTER < columns:
                    weights = table[int((position - first) * steps + 0.5)]
                    real, imaginary = np.float32(0), np.float32(0)
                    for tap in range(_RANGE_TAPS):
                        value = image[row, first - _BEFORE + tap]
                        real += weights[tap] * value.real
                        imaginary += weights[tap] * value.imag
                    between[row, block + sample] = factor * np.complex64(complex(real, imaginary))
                factor *= rotation


@compiled
def _along(
    between: Samples,
    ramp: _Ramp,
    area: tuple[int, int, int, int],
    line_shift: Floats,
    sample_shift: Floats,
    table: _Table,
    start: int,
    result: Samples,
) -> None:
    """In azimuth, eight lines at a time; then the ramp is put on as it is at the position in the image."""
    first_line, last_line, first_sample, last_sample = area
    rows, steps = between.shape[0], table.shape[0] - 1
    total = np.empty(SAMPLE_STEP, np.complex64)
    for line in range(result.shape[0]):
        for block in range(start, min(start + _STRIP, result.shape[1]), SAMPLE_STEP):
            count = min(SAMPLE_STEP, result.shape[1] - block)
            up, up_after = _ends(line_shift, line, block)
            position = line + (up + up_after) / 2
            first = int(np.floor(position))
            if first < 3 or first + 4 >= rows or position < first_line or position > last_line:
                result[line, block : block + count] = _NOTHING
                continue
            weights = table[int((position - first) * steps + 0.5)]
            total[:] = 0
            for tap in range(_AZIMUTH_TAPS):
                for sample in range(SAMPLE_STEP):
                    total[sample] += weights[tap] * between[first - 3 + tap, block - start + sample]
            left, right = _ends(sample_shift, line, block)
            slope = (right - left) / SAMPLE_STEP
            factor, rotation = _turning(ramp, line + up, line + up_after, block + left, block + SAMPLE_STEP + right, 1.0)
            for sample in range(count):
                across = block + sample + left + slope * sample
                inside = across >= first_sample and across <= last_sample
                result[line, block + sample] = factor * total[sample] if inside else _NOTHING
                factor *= rotation


@compiled
def _ends(shift: Floats, line: float, sample: int) -> tuple[float, float]:
    """Of values at nodes: those at `line` and the nodes before and after the `sample`s that begin here."""
    row = min(max(int(line / LINE_STEP), 0), max(shift.shape[0] - 2, 0))
    below, part = min(row + 1, shift.shape[0] - 1), min(max(line / LINE_STEP - row, 0.0), 1.0)
    column = min(sample // SAMPLE_STEP, shift.shape[1] - 1)
    after = min(column + 1, shift.shape[1] - 1)
    left = shift[row, column] * (1 - part) + shift[below, column] * part
    return left, shift[row, after] * (1 - part) + shift[below, after] * part


@compiled
def _turning(ramp: _Ramp, line: float, line_after: float, sample: float, sample_after: float, sign: float) -> tuple[Any, Any]:
    """exp(j sign phase) at a node, and the factor from one sample to the next on the way to the node after it."""
    phase = sign * tops_phase(ramp, line, sample)
    turn = (sign * tops_phase(ramp, line_after, sample_after) - phase) / SAMPLE_STEP
    return np.complex64(complex(np.cos(phase), np.sin(phase))), np.complex64(complex(np.cos(turn), np.sin(turn)))
