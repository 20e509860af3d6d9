"""A series of simulated bursts, coherence, phase, backscatter and places against what went into the simulation, formulas written apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import Transformer
from simulated_bursts import SimulatedSeries, simulated_series

from processor.sar.coherence import Interferogram, Window
from processor.sar.geometry import ground_points, zero_doppler
from processor.sar.map_grid import MapGrid
from processor.sar.series import Series, SeriesOptions
from thresher.demo.sentinel1.bursts import ground, reflector_pixels
from thresher.demo.sentinel1.passes import product_documents
from thresher.demo.sentinel1.terrain import FIELD, Reflector, Terrain

Floats = NDArray[np.float64]

REFLECTORS = (
    Reflector(12.0850, 51.5300, 60.0),
    Reflector(12.1050, 51.5900, 60.0),
    Reflector(12.1250, 51.5500, 60.0),
    Reflector(12.0950, 51.5650, 60.0),
)
PLAIN = Terrain(12.1, 51.62, parcel_m=0.0, cover=FIELD)


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSeries:
    """Three dates of true coherence 1, with reflectors."""
    terrain = replace(PLAIN, coherences={"field": 1.0}, reflectors=REFLECTORS)
    return simulated_series(tmp_path_factory.mktemp("stable"), terrain, dates=(0, 1, 2))


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSeries:
    """Two dates of true coherence 0.6, of other speckle than `stable`."""
    return simulated_series(tmp_path_factory.mktemp("changing"), replace(PLAIN, coherences={"field": 0.6}), dates=(0, 2), seed=6)


def pair(series: Series, first: SimulatedSeries, a: int, second: SimulatedSeries, b: int) -> Interferogram:
    return series.interferogram(series.coregistered(first.bursts[a]), series.coregistered(second.bursts[b]))


def parts(values: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    """Each sixth of the lines, near and far range."""
    return [half for sixth in np.array_split(values, 6) for half in np.array_split(sixth, 2, axis=1)]


def test_true_coherence_1(stable: SimulatedSeries) -> None:
    """Both images are resampled onto the pixels of a third."""
    series = Series(stable.bursts[0], stable.dem, SeriesOptions())
    found = pair(series, stable, 2, stable, 1)
    assert min(float(np.nanmean(part)) for part in parts(found.coherence)) >= 0.999


def test_true_coherence_06(changing: SimulatedSeries) -> None:
    series = Series(changing.bursts[0], changing.dem, SeriesOptions())
    found = pair(series, changing, 1, changing, 0)
    for part in parts(found.coherence):
        assert np.nanmean(part) == pytest.approx(0.60, abs=0.01)


def test_true_coherence_0_leaves_the_bias_of_the_estimator(stable: SimulatedSeries, changing: SimulatedSeries) -> None:
    """Touzi et al. 1999, equation 8 at coherence 0: gamma(n) gamma(3/2) / gamma(n + 1/2), with n the independent looks of the window."""
    series = Series(stable.bursts[0], stable.dem, SeriesOptions())
    found = pair(series, stable, 1, changing, 1)
    swath = next(image.swath for image in product_documents(0, bursts=1).images if image.swath.name == "IW1")
    window = Window()
    looks = 1 / (spread(window.lines, swath.shares[0], swath.hamming) * spread(window.samples, swath.shares[1], swath.hamming))
    bias = math.exp(math.lgamma(looks) + math.lgamma(1.5) - math.lgamma(looks + 0.5))
    assert 20 < looks < 60
    for part in parts(found.coherence):
        assert np.nanmean(part) == pytest.approx(bias, abs=0.01)


def spread(size: int, share: float, hamming: float) -> float:
    """Variance of the mean of `size` pixels, relative to one, of a Hamming-weighted band: by its autocorrelation."""
    frequency = np.linspace(-share / 2, share / 2, 2001)
    power = (hamming + (1 - hamming) * np.cos(2 * np.pi * frequency / share)) ** 2

    def correlation(lag: int) -> float:
        return float((power * np.cos(2 * np.pi * frequency * lag)).sum() / power.sum())

    return sum((size - abs(lag)) * correlation(lag) ** 2 for lag in range(1 - size, size)) / size**2


def test_the_phase_is_that_of_the_ground_above_the_ellipsoid(stable: SimulatedSeries) -> None:
    """No ramp, no offset: in each part of the burst the mean difference from the simulated ground's phase is below 0.01 rad."""
    series = Series(stable.bursts[0], stable.dem, SeriesOptions())
    found = pair(series, stable, 2, stable, 1)
    expected = expected_phase(stable, series, found, 2, 1)
    row, column = np.meshgrid(np.arange(2, found.grid.lines, 8), np.arange(4, found.grid.samples, 8), indexing="ij")
    difference = found.phasor[row, column] * np.exp(-1j * expected(row, column))
    for part in parts(difference):
        assert abs(np.angle(np.nanmean(part))) < 0.01


def expected_phase(simulated: SimulatedSeries, series: Series, found: Interferogram, a: int, b: int) -> Callable[..., Floats]:
    """Of pixels of the interferogram: 4 pi / wavelength times (R_b - R_a), of the ground less of the ellipsoid."""
    swath = next(image.swath for image in product_documents(0, bursts=1).images if image.swath.name == "IW1")
    grid, reference = found.grid, series.reference
    late = (grid.first_line_time - reference.grid.first_line_time).total_seconds() / reference.grid.line_interval_s
    far = (grid.first_range_time_s - reference.grid.first_range_time_s) * reference.grid.range_sampling_rate_hz

    def difference(points: Floats) -> Floats:
        ranges = [zero_doppler(simulated.bursts[date].geometry.orbit, points)[1] for date in (a, b)]
        return 2 * np.pi * reference.grid.radar_frequency_hz * (ranges[1] - ranges[0])

    def phase(row: Floats, column: Floats) -> Floats:
        line, sample = late + row, far + 4.0 * column
        seen = ground(swath, swath.bursts[0], simulated.terrain, line, sample)
        flat = ground_points(reference.geometry.orbit, reference.grid, line, sample, 0.0)
        return difference(seen) - difference(flat)

    return phase


@pytest.mark.parametrize("date", [0, 1])
def test_backscatter_is_what_covers_the_ground(changing: SimulatedSeries, date: int) -> None:
    """On slopes of up to 5 degrees, to a third of a percent, resampled or not."""
    series = Series(changing.bursts[0], changing.dem, SeriesOptions(crs="UTM"))
    found = series.backscatter(series.coregistered(changing.bursts[date]))
    assert np.nanmean(found) == pytest.approx(FIELD.backscatter["VV"], rel=3e-3)
    for part in parts(found[200:-200]):
        assert np.nanmean(part) == pytest.approx(FIELD.backscatter["VV"], rel=0.02)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3035"])
def test_points_land_where_they_stand(stable: SimulatedSeries, crs: str) -> None:
    """Within a metre, a twentieth of a default pixel; on a map fine enough to show it, without looks in range, which would blur it."""
    series = Series(stable.bursts[0], stable.dem, SeriesOptions(window=Window(range_looks=1), crs=crs, resolution_m=5.0))
    image = series.backscatter(series.coregistered(stable.bursts[1]))
    for reflector in REFLECTORS:
        row, column = place(series.map_grid, reflector)
        found = centroid(image, round(row), round(column))
        assert np.hypot(found[0] - row, found[1] - column) * 5.0 < 1.0


def test_pixels_of_the_map_know_their_place_in_the_image(stable: SimulatedSeries) -> None:
    """At the reflectors, to a hundredth of a pixel, against the simulation's own geometry."""
    series = Series(stable.bursts[0], stable.dem, SeriesOptions(crs="EPSG:3035"))
    grid, places = series.reference.grid, series.places
    line, sample = grid.line(places.azimuth_time, places.range_time), grid.sample(places.range_time)
    swath = next(image.swath for image in product_documents(0, bursts=1).images if image.swath.name == "IW1")
    known = reflector_pixels(swath, swath.bursts[0], stable.terrain)
    for reflector, (at_line, at_sample, _) in zip(REFLECTORS, known, strict=True):
        row, column = place(series.map_grid, reflector)
        assert between(line, row, column) == pytest.approx(at_line, abs=0.01)
        assert between(sample, row, column) == pytest.approx(at_sample, abs=0.02)


def between(values: Floats, row: float, column: float) -> float:
    """Bilinear."""
    i, j = int(row), int(column)
    u, v = row - i, column - j
    return float((1 - u) * ((1 - v) * values[i, j] + v * values[i, j + 1]) + u * ((1 - v) * values[i + 1, j] + v * values[i + 1, j + 1]))


def place(grid: MapGrid, reflector: Reflector) -> tuple[float, float]:
    """Row and column (whole numbers are centres of pixels)."""
    x, y = Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform(reflector.longitude, reflector.latitude)
    return (grid.north - y) / grid.pixel - 0.5, (x - grid.west) / grid.pixel - 0.5


def centroid(image: NDArray[np.float32], row: int, column: int) -> tuple[float, float]:
    """Of what is brighter than the surroundings, weighted towards itself so that these matter little."""
    reach = 6
    part = np.asarray(image[row - reach : row + reach + 1, column - reach : column + reach + 1], float)
    part = part - np.median(image[row - 24 : row + 25, column - 24 : column + 25])
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    y = x = 0.0
    for _ in range(20):
        weight = part * np.exp(-((down - y) ** 2 + (across - x) ** 2) / 8)
        y, x = float((weight * down).sum() / weight.sum()), float((weight * across).sum() / weight.sum())
    return row + y, column + x
