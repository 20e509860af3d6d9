"""The sampling of a radar image: between line and sample, and azimuth time and slant range time.

The azimuth time of a pixel is that at which its target stood at zero Doppler. The processor of Sentinel-1 accounts for the travel of the
pulse with one range time for all, mid-swath of the whole image; what is left of the pixel's own, (range time - that one) / 2, up to
0.13 line, is in the azimuth times of the geolocation grid of every annotation, and here (`bulk_bistatic_s`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

SPEED_OF_LIGHT_M_S = 299792458.0

Number = TypeVar("Number", float, NDArray[np.float64])


@dataclass(frozen=True)
class RadarGrid:
    """When and where the lines and samples of an image (a burst, or a whole one in slant range) were taken. Lines and samples from 0."""

    first_line_time: datetime
    """UTC, of line 0."""
    line_interval_s: float
    first_range_time_s: float
    """Two-way slant range time of sample 0."""
    range_sampling_rate_hz: float
    lines: int
    samples: int
    radar_frequency_hz: float
    bulk_bistatic_s: float | None = None
    """The two-way range time the azimuth times were corrected with; None: each pixel with its own."""

    @property
    def wavelength_m(self) -> float:
        return SPEED_OF_LIGHT_M_S / self.radar_frequency_hz

    @property
    def last_line_time(self) -> datetime:
        return self.first_line_time + timedelta(seconds=(self.lines - 1) * self.line_interval_s)

    @property
    def range_spacing_m(self) -> float:
        """Slant range between samples."""
        return SPEED_OF_LIGHT_M_S / (2 * self.range_sampling_rate_hz)

    @property
    def first_range_m(self) -> float:
        return self.first_range_time_s * SPEED_OF_LIGHT_M_S / 2

    def range_time(self, sample: Number) -> Number:
        """Two-way slant range time in seconds."""
        return self.first_range_time_s + sample / self.range_sampling_rate_hz

    def sample(self, range_time: Number) -> Number:
        return (range_time - self.first_range_time_s) * self.range_sampling_rate_hz

    def azimuth_time(self, line: Number, sample: Number) -> Number:
        """Zero-Doppler time in seconds after that of `first_line_time`."""
        return line * self.line_interval_s + self._residual(self.range_time(sample))

    def line(self, azimuth_time: Number, range_time: Number) -> Number:
        """Of a zero-Doppler time in seconds after `first_line_time`."""
        return (azimuth_time - self._residual(range_time)) / self.line_interval_s

    def multilooked(self, azimuth: int, range_: int) -> RadarGrid:
        """The grid of means over so many lines and samples; what is left over at the end is not in it."""
        return replace(
            self,
            first_line_time=self.first_line_time + timedelta(seconds=(azimuth - 1) / 2 * self.line_interval_s),
            line_interval_s=self.line_interval_s * azimuth,
            first_range_time_s=self.first_range_time_s + (range_ - 1) / 2 / self.range_sampling_rate_hz,
            range_sampling_rate_hz=self.range_sampling_rate_hz / range_,
            lines=self.lines // azimuth,
            samples=self.samples // range_,
        )

    def _residual(self, range_time: Number) -> Number:
        bulk = self.bulk_bistatic_s
        return (range_time - bulk) / 2 if bulk is not None else range_time * 0.0
