"""Speckle: complex noise with the spectrum of a focused radar image, and its value between the pixels."""

from __future__ import annotations

import itertools
import math

import numba
import numpy as np
from numpy.typing import NDArray

Complexes = NDArray[np.complex64]

_TAPS = 24
"""Of the interpolation in each direction: the images of a band of 88 % of the sampling rate stay 50 dB below it."""
_STEPS = 4096
_BETA = 6.0


def spectrum_window(lines: int, samples: int, shares: tuple[float, float], hamming: float) -> NDArray[np.float32]:
    """The weights of the frequencies of a focused image: a band in azimuth and range, `shares` of the sampling rates, Hamming-weighted."""
    azimuth, across = (_band(length, share, hamming) for length, share in zip((lines, samples), shares, strict=True))
    return np.asarray(azimuth[:, None] * across[None, :], dtype=np.float32)


def white_speckle(rng: np.random.Generator, window: NDArray[np.float32]) -> Complexes:
    """Circular Gaussian noise of mean power 1 with the spectrum `window`**2, of the same shape; it wraps around at the edges."""
    white = rng.standard_normal((*window.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    white *= window
    noise = np.fft.ifft2(white).astype(np.complex64)
    scale = math.sqrt(window.size**2 / (2 * float(np.sum(window.astype(np.float64) ** 2))))
    noise *= np.float32(scale)
    return noise


def quick_length(least: int) -> int:
    """The first length from `least` on whose only prime factors are 2, 3 and 5: Fourier transforms of it are quick."""

    def rest(length: int) -> int:
        for factor in (2, 3, 5):
            while length % factor == 0:
                length //= factor
        return length

    return next(length for length in itertools.count(least) if rest(length) == 1)


def point_response(offsets: NDArray[np.float64], share: float, hamming: float) -> NDArray[np.float64]:
    """The response to a point in one direction at `offsets` pixels from it, 1 at the point: the transform of the Hamming-weighted band."""
    x = share * offsets
    middle = hamming * np.sinc(x)
    sides = (1 - hamming) / 2 * (np.sinc(x - 1) + np.sinc(x + 1))
    return np.asarray((middle + sides) / hamming, dtype=np.float64)


def interpolated(field: Complexes, lines: NDArray[np.float64], samples: NDArray[np.float64]) -> Complexes:
    """`field` at fractional places, arrays of one shape that lie within it by 12 pixels; both vary slowly.

    Two passes, down the columns and along the rows: exact as far as the lines vary little over the taps of a row.
    """
    first = max(int(np.floor(samples.min())) - _TAPS, 0)
    last = min(int(np.ceil(samples.max())) + _TAPS, field.shape[1])
    moved = _down(field[:, first:last], lines, samples - first, _KERNEL)
    return np.asarray(_along(moved, samples - first, _KERNEL), dtype=np.complex64)


def _band(length: int, share: float, hamming: float) -> NDArray[np.float64]:
    frequency = np.fft.fftfreq(length) / share
    return np.where(np.abs(frequency) <= 0.5, hamming + (1 - hamming) * np.cos(2 * np.pi * frequency), 0.0)


def _kernel() -> NDArray[np.float32]:
    """Weights of the taps for each fraction of a pixel: the cardinal sine under a Kaiser window, of sum 1."""
    fractions = np.arange(_STEPS + 1) / _STEPS
    offsets = np.arange(_TAPS) - (_TAPS // 2 - 1) - fractions[:, None]
    weights = np.sinc(offsets) * np.i0(_BETA * np.sqrt(np.clip(1 - (offsets / (_TAPS / 2)) ** 2, 0, 1)))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


_KERNEL = _kernel()


@numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def _down(field: Complexes, lines: NDArray[np.float64], samples: NDArray[np.float64], kernel: NDArray[np.float32]) -> Complexes:
    """Each output row holds the field at its lines, at all columns of the field; a column takes the line of the output pixel nearest it."""
    taps, steps = kernel.shape[1], kernel.shape[0] - 1
    rows, columns = lines.shape
    out = np.zeros((rows, field.shape[1]), dtype=np.complex64)
    for row in range(rows):
        shift = samples[row, 0]
        for column in range(field.shape[1]):
            place = lines[row, min(max(int(column - shift), 0), columns - 1)]
            whole = int(np.floor(place))
            weights = kernel[int((place - whole) * steps + 0.5)]
            total = np.complex64(0)
            for tap in range(taps):
                total += weights[tap] * field[min(max(whole - taps // 2 + 1 + tap, 0), field.shape[0] - 1), column]
            out[row, column] = total
    return out


@numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def _along(field: Complexes, samples: NDArray[np.float64], kernel: NDArray[np.float32]) -> Complexes:
    taps, steps = kernel.shape[1], kernel.shape[0] - 1
    rows, columns = samples.shape
    out = np.zeros((rows, columns), dtype=np.complex64)
    for row in range(rows):
        for column in range(columns):
            place = samples[row, column]
            whole = int(np.floor(place))
            weights = kernel[int((place - whole) * steps + 0.5)]
            total = np.complex64(0)
            for tap in range(taps):
                total += weights[tap] * field[row, min(max(whole - taps // 2 + 1 + tap, 0), field.shape[1] - 1)]
            out[row, column] = total
    return out
