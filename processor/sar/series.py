"""The layers of one date of a burst series, on the map: backscatter, and coherence and phase with the date before.

All dates are brought onto the pixels of the series' reference burst, and that onto one grid of the map: the layers of a series lie on
one another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from processor.sar.backscatter import multilooked_intensity
from processor.sar.burst import Burst, Coregistered, coregister
from processor.sar.coherence import Interferogram, Window, flat_earth_phase, interferogram
from processor.sar.coregistration import nodes
from processor.sar.dem import Dem
from processor.sar.geocoding import LookUp, Resampling, eroded, look_up, outline, warp
from processor.sar.map_grid import MapGrid, grid_around
from processor.sar.radar_grid import RadarGrid
from processor.sar.terrain import BurstTerrain, burst_terrain

Pixels = NDArray[np.float32]
Floats = NDArray[np.float64]

_LEAST = 1e-6
"""Of a value that is there: cubic interpolation next to a bright point may fall below 0, which means that there is none."""


@dataclass(frozen=True)
class SeriesOptions:
    """How the layers are made; the same for all dates of a series."""

    window: Window = field(default_factory=Window)
    """Also its looks are those of the backscatter."""
    crs: str = "EPSG:4326"
    """Of the map; `UTM` for the zone of the burst."""
    resolution_m: float = 20.0
    resampling: Resampling = Resampling.BICUBIC
    backscatter_erosion: int = 10
    """Pixels of the map taken away along the edges."""
    coherence_erosion: int = 10
    denoise: bool = False


@dataclass(frozen=True)
class Series:
    """A series, as its reference burst and the DEM make it.

    Both polarisations of a burst have the same lines and samples: it does not matter which one the reference is.
    """

    reference: Burst
    dem: Dem
    options: SeriesOptions

    @cached_property
    def terrain(self) -> BurstTerrain:
        return burst_terrain(self.reference.geometry, self.dem)

    @cached_property
    def map_grid(self) -> MapGrid:
        """Whole pixels around all that the reference burst shows."""
        heights = (self.terrain.lowest_m, self.terrain.highest_m)
        return grid_around(*outline(self.reference.geometry, self.reference.valid, heights), self.options.crs, self.options.resolution_m)

    @cached_property
    def places(self) -> LookUp:
        """Where the pixels of the map lie in the reference burst. Raises MissingDemError where a height is needed that is not there."""
        grid = self.map_grid
        heights = self.dem.on_grid(grid, np.zeros(grid.shape, np.bool_))
        missing = ~np.isfinite(heights)
        if missing.any():
            middle = np.float32((self.terrain.lowest_m + self.terrain.highest_m) / 2)
            seen = self._is_inside(look_up(self.reference.geometry, grid, np.where(missing, middle, heights)))
            if (missing & seen).any():
                self.dem.on_grid(grid, missing & seen)
        return look_up(self.reference.geometry, grid, heights)

    def coregistered(self, burst: Burst) -> Coregistered:
        """A burst of the series, of any polarisation, on the pixels of the reference burst."""
        return coregister(self.reference, burst, self.terrain)

    def backscatter(self, found: Coregistered) -> Pixels:
        """sigma0 on the map, shape `map_grid.shape`; not a number where there is none."""
        line, sample = nodes(self.reference.grid)
        gain, noise = found.burst.radiometry(line + found.line_shift, sample + found.sample_shift, denoise=self.options.denoise)
        window = self.options.window
        looks = window.azimuth_looks, window.range_looks
        intensity, grid = multilooked_intensity(found.samples, gain, noise, self.reference.grid, *looks)
        return self._cleared(self._on_map(intensity, grid) * self.places.sine, self.options.backscatter_erosion, None)

    def interferogram(self, first: Coregistered, second: Coregistered) -> Interferogram:
        """Of two bursts of the series, in the geometry of the reference burst."""
        flat = flat_earth_phase(self.reference.geometry, first.burst.geometry, second.burst.geometry)
        return interferogram(first.samples, second.samples, flat, self.reference.grid, self.options.window)

    def coherence(self, found: Interferogram) -> Pixels:
        """Coherence on the map, 0 to 1; not a number where there is none."""
        return self._cleared(self._on_map(found.coherence, found.grid), self.options.coherence_erosion, 1.0)

    def phase(self, found: Interferogram) -> Pixels:
        """The wrapped phase of the interferogram on the map, -pi to pi; not a number where there is none."""
        real = self._on_map(np.ascontiguousarray(found.phasor.real), found.grid)
        imaginary = self._on_map(np.ascontiguousarray(found.phasor.imag), found.grid)
        angle = np.arctan2(imaginary, real)
        return np.where(eroded(np.isfinite(angle), self.options.coherence_erosion), angle, np.float32(np.nan))

    def _on_map(self, image: Pixels, grid: RadarGrid) -> Pixels:
        return warp(image, *self._places_in(grid), self.options.resampling)

    def _places_in(self, grid: RadarGrid) -> tuple[Floats, Floats]:
        late = (grid.first_line_time - self.reference.grid.first_line_time).total_seconds()
        return self.places.positions(grid, late)

    def _is_inside(self, places: LookUp) -> NDArray[np.bool_]:
        valid, grid = self.reference.valid, self.reference.grid
        line, sample = places.positions(grid)
        return (line >= valid.first_line) & (line <= valid.last_line) & (sample >= valid.first_sample) & (sample <= valid.last_sample)

    def _cleared(self, values: Pixels, erosion: int, most: float | None) -> Pixels:
        inside = eroded(np.isfinite(values), erosion)
        return np.where(inside, np.clip(values, np.float32(_LEAST), most), np.float32(np.nan))
