"""Resampling against exact shifts by Fourier transforms, with the ramp of a real burst; the ramp against the formula written out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentinel1_data
from numpy.typing import NDArray

from common.errors import FatalError
from processor.sar.annotation import TopsSteering, parse_annotation
from processor.sar.coregistration import nodes
from processor.sar.radar_grid import RadarGrid
from processor.sar.resampling import ValidArea, resample
from processor.sar.tops import TopsPhase

LINES, SAMPLES = 400, 700
WHOLE = ValidArea(0, LINES - 1, 0, SAMPLES - 1)
INNER = (slice(24, -24), slice(24, -24))

Complexes = NDArray[np.complex128]


@pytest.fixture(scope="module")
def ramp(shared_data: Path) -> TopsPhase:
    """Of the last part of a real burst, where its frequency is furthest from 0."""
    [file] = sentinel1_data.annotations(shared_data, sentinel1_data.ROME)
    annotation = parse_annotation(file.content, file.name)
    whole = TopsPhase.of_burst(annotation.steering, annotation.burst_grid(3), annotation.orbit)
    return replace(whole, middle_line=whole.middle_line - (1501 - LINES), middle_sample=whole.middle_sample - 5000)


def spectrum(shares: tuple[float, float]) -> Complexes:
    """Of speckle as Sentinel-1 has it: bands that fill `shares` of the sampling, Hamming-weighted."""
    rng = np.random.default_rng(11)
    found = np.fft.fft2(rng.standard_normal((LINES, SAMPLES, 2)).view(complex)[..., 0])
    for axis, share in enumerate(shares):
        frequency = np.fft.fftfreq(found.shape[axis])
        weight = np.where(np.abs(frequency) <= share / 2, 0.75 + 0.25 * np.cos(2 * np.pi * frequency / share), 0.0)
        found *= np.expand_dims(weight, 1 - axis)
    return np.asarray(found)


def moved(of: Complexes, lines: float, samples: float) -> Complexes:
    turn = np.fft.fftfreq(LINES)[:, None] * lines + np.fft.fftfreq(SAMPLES)[None, :] * samples
    return np.asarray(np.fft.ifft2(of * np.exp(2j * np.pi * turn)))


def constant_shift(value: float) -> NDArray[np.float64]:
    grid = RadarGrid(None, 1.0, 0.0, 1.0, LINES, SAMPLES, 1.0)  # type: ignore[arg-type]
    line, sample = nodes(grid)
    return np.full((line.size, sample.size), value)


@pytest.mark.parametrize(("name", "shares"), [("IW1", (0.672, 0.878)), ("IW2", (0.643, 0.750)), ("IW3", (0.645, 0.665))])
@pytest.mark.parametrize(("lines", "samples"), [(0.0, 0.0), (0.5, 0.5), (-1.37, 2.61)])
def test_a_shift_with_the_ramp(ramp: TopsPhase, name: str, shares: tuple[float, float], lines: float, samples: float) -> None:
    """Coherence with the exact image 0.9998, no phase, and the same power."""
    field = spectrum(shares)
    line, sample = np.arange(LINES)[:, None], np.arange(SAMPLES)[None, :]
    # The other image shows at (line, sample) what the reference shows `lines` and `samples` before.
    other = moved(field, -lines, -samples) * np.exp(1j * ramp.phase(line, sample))
    found = resample(other.astype(np.complex64), ramp, WHOLE, constant_shift(lines), constant_shift(samples), (LINES, SAMPLES))[INNER]
    exact = (moved(field, 0, 0) * np.exp(1j * ramp.phase(line + lines, sample + samples)))[INNER]
    power = np.vdot(exact, exact).real
    assert np.isfinite(found).all()
    assert abs(np.vdot(exact, found)) / np.sqrt(power * np.vdot(found, found).real) > 0.9998, name
    assert abs(np.angle(np.vdot(exact, found))) < 1e-3
    assert np.vdot(found, found).real / power == pytest.approx(1, abs=3e-3)


def test_without_a_shift_nothing_changes(ramp: TopsPhase) -> None:
    image = moved(spectrum((0.672, 0.878)), 0, 0).astype(np.complex64)
    found = resample(image, ramp, WHOLE, constant_shift(0), constant_shift(0), (LINES, SAMPLES))
    assert np.abs(found[INNER] - image[INNER]).max() < 1e-4 * np.abs(image).max()


def test_what_is_not_valid_is_not_a_number(ramp: TopsPhase) -> None:
    image = np.ones((LINES, SAMPLES), np.complex64)
    area = ValidArea(20, 380, 30, 600)
    found = resample(image, ramp, area, constant_shift(2.0), constant_shift(-3.0), (LINES, SAMPLES))
    rows, columns = np.nonzero(np.isfinite(found))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (18, 378, 33, 603)
    assert np.isfinite(found[18:379, 33:604]).all()


def test_the_ramp_is_that_of_the_formula(shared_data: Path) -> None:
    """Equations 1 to 14 of the technical note, step by step for single pixels."""
    [file] = sentinel1_data.annotations(shared_data, sentinel1_data.ROME)
    annotation = parse_annotation(file.content, file.name)
    grid, steering = annotation.burst_grid(3), annotation.steering
    phase = TopsPhase.of_burst(steering, grid, annotation.orbit)
    middle = (grid.lines - 1) / 2
    moment = grid.first_line_time.timestamp() + middle * grid.line_interval_s
    rate = min(steering.fm_rates, key=lambda each: abs(each.time.timestamp() - moment))
    doppler = min(steering.doppler_centroids, key=lambda each: abs(each.time.timestamp() - moment))
    arc = annotation.orbit.polynomial(grid.first_line_time, grid.last_line_time)
    speed = np.linalg.norm(arc.velocity(arc.seconds(grid.first_line_time) + middle * grid.line_interval_s))
    k_s = 2 * speed / 299792458.0 * grid.radar_frequency_hz * steering.rate_rad_s

    def terms(sample: float) -> tuple[float, float, float]:
        tau = grid.first_range_time_s + sample / grid.range_sampling_rate_hz
        k_a = sum(c * (tau - rate.t0_s) ** power for power, c in enumerate(rate.coefficients))
        f_c = sum(c * (tau - doppler.t0_s) ** power for power, c in enumerate(doppler.coefficients))
        return k_a * k_s / (k_a - k_s), -f_c / k_a, f_c

    for line, sample in ((0, 0), (100, 22000), (1500, 11000), (750, 5)):
        k_t, centre, f_c = terms(sample)
        eta = (line - middle) * grid.line_interval_s - (centre - terms(0)[1])
        assert phase.phase(line, sample) == pytest.approx(np.pi * k_t * eta**2 + 2 * np.pi * f_c * eta, abs=1e-3)
    # The sweep of some 5 kHz over a burst is what makes it necessary.
    assert abs(phase.phase(0.0, 9000.0) - phase.phase(750.0, 9000.0)) > 5000
    with pytest.raises(FatalError, match="no azimuth FM rate"):
        TopsPhase.of_burst(TopsSteering(0.02, steering.doppler_centroids, ()), grid, annotation.orbit)
