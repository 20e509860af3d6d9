"""Where points on the ground lie in a GRD image: its lines are in azimuth time, its samples in ground range.

Slant and ground range are converted by polynomials of the annotation (`coordinateConversion`), of which the record nearest in time holds:
that is how the image was made. Interpolating between records is 0.5 to 1.5 samples off, the record before 6 to 17. Source:
Sentinel-1 Product Specification (S1-RS-MDA-52-7441), "Coordinate Conversion"; compared with the geolocation grid in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError
from processor.sar import ellipsoid
from processor.sar.annotation import Annotation, GeolocationGrid
from processor.sar.compiled import compiled
from processor.sar.geometry import RadarCoordinates, ground_points, zero_doppler
from processor.sar.orbit import Orbit, OrbitPolynomial
from processor.sar.radar_grid import SPEED_OF_LIGHT_M_S, RadarGrid

Floats = NDArray[np.float64]

_OUTLINE_POINTS = 41
_BEYOND_M = 3000.0
"""How far in slant range outside of the image the polynomials are still used."""


@dataclass(frozen=True, eq=False)
class Conversions:
    """The records of the annotation in order of time; polynomials with ascending powers, metres."""

    times: Floats
    """Seconds after the epoch of the orbit, shape (n,)."""
    origins: Floats
    """Slant range that the powers of `to_ground` are of the distance from, shape (n,)."""
    to_ground: Floats
    """Shape (n, powers)."""
    to_slant: Floats


@dataclass(frozen=True, eq=False)
class GrdGeometry:
    """A GRD image, as far as positions go."""

    grid: RadarGrid
    """Its lines; samples of this grid are in slant range and not those of the image."""
    orbit: OrbitPolynomial
    conversions: Conversions
    sample_spacing_m: float
    """On the ground."""
    nearest_m: float
    farthest_m: float
    """Slant ranges of the first and the last sample, over all lines."""

    @property
    def first_line_s(self) -> float:
        """The time of line 0, in seconds after the epoch of the orbit."""
        return self.orbit.seconds(self.grid.first_line_time)

    def image_coordinates(self, points: Floats) -> RadarCoordinates:
        """Line and sample (from 0) of Earth-centred `points`, shape (..., 3); not a number far outside of the image."""
        time, range_time = zero_doppler(self.orbit, points)
        line = self.grid.line(time - self.first_line_s, range_time)
        sample = np.empty(line.shape)
        slant = range_time * (SPEED_OF_LIGHT_M_S / 2)
        arrays = self.conversions.times, self.conversions.origins, self.conversions.to_ground
        _ground_samples(time.ravel(), slant.ravel(), *arrays, self.sample_spacing_m, sample.reshape(-1))
        inside = (slant > self.nearest_m - _BEYOND_M) & (slant < self.farthest_m + _BEYOND_M)
        return RadarCoordinates(line, np.where(inside, sample, np.nan))

    def slant_range(self, lines: Floats, samples: Floats) -> Floats:
        """Metres, of pixels (broadcast)."""
        lines, samples = np.broadcast_arrays(np.asarray(lines, float), np.asarray(samples, float))
        time = self.first_line_s + lines * self.grid.line_interval_s
        nearest = np.abs(time[..., None] - self.conversions.times).argmin(axis=-1)
        ground, result = samples * self.sample_spacing_m, np.zeros(samples.shape)
        for power in range(self.conversions.to_slant.shape[1] - 1, -1, -1):
            result = result * ground + self.conversions.to_slant[nearest, power]
        return result

    def ground_points(self, lines: Floats, samples: Floats, heights: Floats | float) -> Floats:
        """Earth-centred points, shape (..., 3), seen at pixels and at metres above the ellipsoid (broadcast)."""
        range_time = self.slant_range(lines, samples) * (2 / SPEED_OF_LIGHT_M_S)
        return ground_points(self.orbit, self.grid, lines, self.grid.sample(range_time), heights)

    def outline(self, heights: tuple[float, ...]) -> tuple[Floats, Floats]:
        """Longitude and latitude of points around the image, shape (len(heights), n): one ring for each height."""
        along = np.linspace(0, 1, _OUTLINE_POINTS)
        zero, one = np.zeros_like(along), np.ones_like(along)
        line = np.concatenate([zero, along, one, along[::-1]]) * (self.grid.lines - 1)
        sample = np.concatenate([along, one, along[::-1], zero]) * (self.grid.samples - 1)
        longitude, latitude, _ = ellipsoid.geodetic(self.ground_points(line, sample, np.array(heights, float)[:, None]))
        return longitude, latitude


def grd_geometry(annotation: Annotation, orbit: Orbit | None = None) -> GrdGeometry:
    """The geometry of an image, with its own orbit or another; raises FatalError where it is none in ground range."""
    if not annotation.conversions:
        raise FatalError(f"the {annotation.product_type} annotation has no coordinate conversion: it is not one of a GRD image")
    grid = replace(annotation.grid, bulk_bistatic_s=_bulk_bistatic(annotation.grid, annotation.geolocation))
    margin = timedelta(seconds=1)
    arc = (orbit or annotation.orbit).polynomial(grid.first_line_time - margin, grid.last_line_time + margin)
    records = sorted(annotation.conversions, key=lambda record: record.time)
    conversions = Conversions(
        times=np.array([arc.seconds(record.time) for record in records]),
        origins=np.array([record.sr0 for record in records]),
        to_ground=_padded([record.ground_from_slant for record in records]),
        to_slant=_padded([record.slant_from_ground for record in records]),
    )
    if any(record.gr0 != 0 for record in records):
        raise FatalError("the coordinate conversion of the annotation does not begin with the first sample")
    ends = np.array([0.0, (grid.samples - 1) * annotation.range_spacing_m])
    slant = np.array([np.polynomial.polynomial.polyval(ends, record) for record in conversions.to_slant])
    return GrdGeometry(grid, arc, conversions, annotation.range_spacing_m, float(slant[:, 0].min()), float(slant[:, 1].max()))


@compiled
def nearest_record(times: Floats, time: float) -> int:
    """The index of the record nearest in time; they are nearly evenly spaced."""
    last = times.size - 1
    if last == 0:
        return 0
    index = min(max(int((time - times[0]) / (times[last] - times[0]) * last + 0.5), 0), last)
    while index < last and abs(times[index + 1] - time) < abs(times[index] - time):
        index += 1
    while index > 0 and abs(times[index - 1] - time) < abs(times[index] - time):
        index -= 1
    return index


@compiled
def polynomial(coefficients: Floats, record: int, x: float) -> float:
    """Of one record, by Horner's rule."""
    result = 0.0
    for power in range(coefficients.shape[1] - 1, -1, -1):
        result = result * x + coefficients[record, power]
    return result


@compiled
def _ground_samples(
    times: Floats, slant: Floats, record_times: Floats, origins: Floats, to_ground: Floats, spacing: float, samples: Floats
) -> None:
    for index in range(times.size):
        record = nearest_record(record_times, times[index])
        samples[index] = polynomial(to_ground, record, slant[index] - origins[record]) / spacing


def _padded(polynomials: list[tuple[float, ...]]) -> Floats:
    powers = max(len(each) for each in polynomials)
    return np.array([[*each, *([0.0] * (powers - len(each)))] for each in polynomials])


def _bulk_bistatic(grid: RadarGrid, points: GeolocationGrid) -> float | None:
    """See `processor.sar.radar_grid`: the median over the points of the geolocation grid."""
    if not points.line.size:
        return None
    line_time = _seconds(grid.first_line_time, points.epoch) + points.line * grid.line_interval_s
    return float(np.median(points.slant_range_time - 2 * (points.azimuth_time - line_time)))


def _seconds(moment: datetime, epoch: datetime) -> float:
    return (moment - epoch).total_seconds()
