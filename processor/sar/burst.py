"""A burst opened for processing: where and when its pixels were taken, its ramp, its calibration, its samples on another burst's pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError
from common.radar_settings import RadarSources
from processor.sar.annotation import Annotation, read_annotation
from processor.sar.burst_product import BurstProduct
from processor.sar.calibration import Quantity, read_calibration
from processor.sar.coregistration import BurstGeometry, fit_shifts, nodes
from processor.sar.noise import read_noise
from processor.sar.orbit import Orbit
from processor.sar.radar_grid import RadarGrid
from processor.sar.resampling import ValidArea, resample
from processor.sar.sources import orbit_of
from processor.sar.terrain import BurstTerrain
from processor.sar.tops import TopsPhase

Samples = NDArray[np.complex64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Burst:
    """A burst product with what its annotation says of one polarisation; everything is read when it is first asked for."""

    product: BurstProduct
    polarisation: str
    sources: RadarSources = field(default_factory=RadarSources)
    """Where orbit files may be found."""

    @cached_property
    def annotation(self) -> Annotation:
        channel = self.product.channels.get(self.polarisation)
        if channel is None:
            raise FatalError(
                f"burst {self.product.identity.tile} of {self.product.identity.product} has no polarisation {self.polarisation}"
            )
        return read_annotation(channel.annotation)

    @cached_property
    def grid(self) -> RadarGrid:
        return self.annotation.burst_grid(self.product.index)

    @cached_property
    def orbit(self) -> Orbit:
        """That of the orbit file that was kept with the burst, else the best there is (`sources.orbit_of`)."""
        return orbit_of(self.annotation, self.sources, self.grid.first_line_time, self.grid.last_line_time, self.product.orbit_file)

    @cached_property
    def geometry(self) -> BurstGeometry:
        return BurstGeometry(self.grid, self.orbit.polynomial(self.grid.first_line_time, self.grid.last_line_time))

    @cached_property
    def valid(self) -> ValidArea:
        """The lines with values, and the samples that all of these have. Raises FatalError where there are none."""
        burst = self.annotation.bursts[self.product.index]
        lines = np.flatnonzero(burst.first_valid_sample >= 0)
        if not lines.size:
            raise FatalError(f"burst {self.product.identity.tile} of {self.product.identity.product} has no valid line")
        first, last = burst.first_valid_sample[lines].max(), burst.last_valid_sample[lines].min()
        return ValidArea(int(lines[0]), int(lines[-1]), int(first), int(last))

    def samples(self) -> Samples:
        """As they are; outside of the valid area not a number."""
        image, valid = self.product.read(self.polarisation), self.valid
        image[: valid.first_line] = np.nan
        image[valid.last_line + 1 :] = np.nan
        image[:, : valid.first_sample] = np.nan
        image[:, valid.last_sample + 1 :] = np.nan
        return image

    def radiometry(self, line: Floats, sample: Floats, *, denoise: bool) -> tuple[Floats, Floats]:
        """1 / A^2 of beta0, and the power of the noise (0 without `denoise`), at positions in this burst (same shape).

        Raises FatalError where the product came without calibration, or without noise where that is to be taken away.
        """
        files, name = self.product.channels[self.polarisation], f"{self.product.identity.product} ({self.polarisation})"
        if files.calibration is None:
            raise FatalError(f"the burst of {name} came without its calibration annotation")
        table = read_calibration(files.calibration, self.annotation.samples_per_burst).table(Quantity.BETA0)
        first = self.product.first_line
        # The last nodes may lie past the end of the image.
        sample = np.clip(sample, 0, self.grid.samples - 1)
        gain = 1.0 / np.square(_at(table.at, first + line, sample))
        if not denoise:
            return gain, np.zeros_like(gain)
        if files.noise is None:
            raise FatalError(f"the burst of {name} came without its noise annotation: set noise_removal to false")
        noise = read_noise(files.noise, self.annotation.samples_per_burst)
        return gain, _at(lambda lines, samples: noise.at(lines, slice(0, self.grid.samples))[:, samples], first + line, sample)


@dataclass(frozen=True, eq=False)
class Coregistered:
    """A burst on the pixels of the reference burst."""

    burst: Burst
    samples: Samples
    """Shape (lines, samples) of the reference; not a number where the burst has no value."""
    line_shift: Floats
    sample_shift: Floats
    """Position in the burst minus position in the reference, at the nodes of the reference (`coregistration.nodes`)."""
    residual: tuple[float, float]
    """The largest error of the shifts, in lines and samples."""


def coregister(reference: Burst, burst: Burst, terrain: BurstTerrain) -> Coregistered:
    """Of one and the same product the samples are as they are."""
    if burst.product.identity == reference.product.identity:
        nothing = np.zeros(terrain.at_nodes.shape)
        return Coregistered(burst, burst.samples(), nothing, nothing, (0.0, 0.0))
    model = fit_shifts(reference.geometry, burst.geometry, terrain.lowest_m, terrain.highest_m)
    line_shift, sample_shift = map(np.ascontiguousarray, model.shifts(*nodes(reference.grid), terrain.at_nodes))
    ramp = TopsPhase.of_burst(burst.annotation.steering, burst.grid, burst.orbit)
    shape = (reference.grid.lines, reference.grid.samples)
    samples = resample(burst.product.read(burst.polarisation), ramp, burst.valid, line_shift, sample_shift, shape)
    return Coregistered(burst, samples, line_shift, sample_shift, (model.line_residual, model.sample_residual))


def _at(table: Callable[[Floats, NDArray[np.intp]], NDArray[np.float32]], line: Floats, sample: Floats) -> Floats:
    """Values of a table at nodes whose lines hardly vary along a row, nor their samples along a column: it is smooth over far more."""
    columns = np.rint(sample.mean(axis=0)).astype(np.intp)
    return np.asarray(table(line.mean(axis=1), columns), float)
