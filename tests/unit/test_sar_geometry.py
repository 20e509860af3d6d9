"""The range-Doppler geometry against the geolocation grids of real annotations, against itself, and against PROJ."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sentinel1_data
from pyproj import Transformer

from common.errors import FatalError
from processor.sar import ellipsoid
from processor.sar.annotation import Annotation, parse_annotation
from processor.sar.geometry import ground_points, incidence_angles, radar_coordinates, zero_doppler
from processor.sar.orbit import Orbit

MODERN = (*sentinel1_data.PAIR, sentinel1_data.SERIES[3], sentinel1_data.ROME)
"""Processor 3.4 and later, precise or restituted orbits; the grids of older ones are less exact themselves."""


def read(data: Path, scene: str, polarisation: str = "vv") -> list[Annotation]:
    files = [file for file in sentinel1_data.annotations(data, scene) if f"-{polarisation}-" in file.name]
    return [parse_annotation(file.content, file.name) for file in files]


@pytest.mark.parametrize("scene", MODERN)
def test_every_point_of_the_geolocation_grid(shared_data: Path, scene: str) -> None:
    """Within 0.002 lines and 0.001 samples, and the incidence angle within 0.05 degrees."""
    for annotation in read(shared_data, scene):
        grid = annotation.geolocation
        orbit = annotation.orbit.polynomial(grid.epoch, grid.epoch + timedelta(seconds=float(grid.azimuth_time.max())))
        points = ellipsoid.ecef(grid.longitude, grid.latitude, grid.height)
        azimuth_time, range_time = zero_doppler(orbit, points)
        late = azimuth_time - orbit.seconds(grid.epoch) - grid.azimuth_time
        assert grid.line.size >= 210
        assert np.abs(late / annotation.grid.line_interval_s).max() < 0.002
        assert np.abs((range_time - grid.slant_range_time) * annotation.grid.range_sampling_rate_hz).max() < 0.001
        assert np.abs(np.degrees(incidence_angles(orbit, points)) - grid.incidence_angle).max() < 0.05


@pytest.mark.parametrize("scene", MODERN)
def test_lines_and_samples_of_the_geolocation_grid(shared_data: Path, scene: str) -> None:
    """The same by line and pixel, with what is left of the travel of the pulse; times in the grids of processor 3.9 vary by 0.006 lines."""
    for annotation in read(shared_data, scene):
        grid, first, last = annotation.geolocation, 0, len(annotation.bursts) - 1
        for number in range(first, last):
            mine = grid.line // annotation.lines_per_burst == number
            burst = annotation.burst_grid(number)
            orbit = annotation.orbit.polynomial(burst.first_line_time, burst.last_line_time)
            found = radar_coordinates(orbit, burst, ellipsoid.ecef(grid.longitude[mine], grid.latitude[mine], grid.height[mine]))
            assert np.abs(found.line + number * annotation.lines_per_burst - grid.line[mine]).max() < 0.01
            assert np.abs(found.sample - grid.pixel[mine]).max() < 0.003


def test_there_and_back(shared_data: Path) -> None:
    annotation = read(shared_data, sentinel1_data.ROME)[0]
    burst = annotation.burst_grid(3)
    orbit = annotation.orbit.polynomial(burst.first_line_time, burst.last_line_time)
    line, sample, height = np.meshgrid(np.linspace(-10, 1510, 7), np.linspace(0, burst.samples, 9), [-100.0, 0.0, 2500.0, 8800.0])
    points = ground_points(orbit, burst, line, sample, height)
    found = radar_coordinates(orbit, burst, points)
    longitude, latitude, above = ellipsoid.geodetic(points)
    assert np.abs(found.line - line).max() < 1e-6
    assert np.abs(found.sample - sample).max() < 1e-6
    assert np.abs(above - height).max() < 1e-5
    assert np.all((longitude > 10) & (longitude < 14) & (latitude > 40) & (latitude < 44))
    assert np.isnan(ground_points(orbit, burst, 0.0, 0.0, -2_000_000.0)).all()


def test_the_ellipsoid_is_that_of_proj() -> None:
    rng = np.random.default_rng(1)
    longitude, latitude, height = rng.uniform(-180, 180, 500), rng.uniform(-90, 90, 500), rng.uniform(-500, 9000, 500)
    x, y, z = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True).transform(longitude, latitude, height)
    points = ellipsoid.ecef(longitude, latitude, height)
    assert np.abs(points - np.stack([x, y, z], axis=-1)).max() < 1e-6
    back = ellipsoid.geodetic(points)
    assert max(np.abs(back[0] - longitude).max(), np.abs(back[1] - latitude).max()) < 1e-10
    assert np.abs(back[2] - height).max() < 1e-5
    lifted = ellipsoid.ecef(longitude, latitude) + height[:, None] * ellipsoid.up(longitude, latitude)
    assert np.abs(lifted - points).max() < 1e-6


def test_an_orbit_between_its_state_vectors(shared_data: Path) -> None:
    """Each state vector left out is found again within a millimetre; and what is not covered is refused."""
    orbit = read(shared_data, sentinel1_data.ROME)[0].orbit
    for left_out in (4, 7, 10):
        kept = np.arange(orbit.times.size) != left_out
        fewer = Orbit(orbit.epoch, orbit.times[kept], orbit.positions[kept], orbit.velocities[kept], "test")
        moment = orbit.epoch + timedelta(seconds=float(orbit.times[left_out]))
        arc = fewer.polynomial(moment, moment)
        assert np.abs(arc.position(arc.seconds(moment)) - orbit.positions[left_out]).max() < 1e-3
        assert np.abs(arc.velocity(arc.seconds(moment)) - orbit.velocities[left_out]).max() < 1e-4
    late = orbit.epoch + timedelta(seconds=float(orbit.times[-1]) + 10)
    with pytest.raises(FatalError, match=r"the orbit \(annotation\) does not cover 2022-01-04T17:04:56 to 2022-01-04T17:07:36"):
        orbit.polynomial(orbit.epoch, late)
    with pytest.raises(FatalError, match="2 state vectors"):
        Orbit.from_vectors([orbit.epoch] * 2, orbit.positions[:2], orbit.velocities[:2], "short.EOF")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"<product>", b'<!DOCTYPE p [<!ENTITY a "b">]><product>', "document type"),
        (b"</product>", b"", "not well formed"),
        (b"<rangeSamplingRate>6", b"<rangeSamplingRate>x6", "'x6.434523812571428e\\+07' as rangeSamplingRate"),
        (b"<radarFrequency>", b"<radarFrequency>nan ", "as radarFrequency"),
        (b"<azimuthTimeInterval>", b"<azimuthTimeIntervals>", "not well formed"),
        (b"<productFirstLineUtcTime>2022-01", b"<productFirstLineUtcTime>2022-13", "that is no time"),
    ],
    ids=["entity", "cut", "text", "nan", "element", "month"],
)
def test_annotations_that_are_wrong(shared_data: Path, old: bytes, new: bytes, message: str) -> None:
    [file] = sentinel1_data.annotations(shared_data, sentinel1_data.ROME)
    assert old in file.content
    with pytest.raises(FatalError, match=message):
        parse_annotation(file.content.replace(old, new), "a.xml")


def test_what_an_annotation_says(shared_data: Path) -> None:
    annotation = read(shared_data, sentinel1_data.PAIR[0])[1]
    assert (annotation.mission, annotation.swath, annotation.polarisation, annotation.direction) == ("S1A", "IW2", "VV", "Ascending")
    assert (len(annotation.bursts), annotation.lines_per_burst) == (9, 1513)
    assert annotation.bursts[0].burst_id == 230132
    assert annotation.bursts[0].first_valid_sample.size == annotation.lines_per_burst
    assert len(annotation.steering.doppler_centroids) >= 9
    assert len(annotation.steering.fm_rates[0].coefficients) == 3
    assert 0.01 < annotation.steering.rate_rad_s < 0.03
    assert annotation.grid.bulk_bistatic_s == pytest.approx(5.853e-3, abs=5e-6)
