"""Backscatter of a burst: calibrated intensity, averaged over looks.

beta0 = |DN|^2 / A^2 (`processor.sar.calibration`). Geocoding multiplies it with the sine of the projected local incidence angle, which
makes it sigma0 with the normalisation of Kellndorfer et al., "Toward consistent regional-to-global-scale vegetation characterization using
orbital SAR systems", IEEE Trans. Geosci. Remote Sens. 36, 1998.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processor.sar.compiled import compiled_parallel, parallel_range
from processor.sar.coregistration import LINE_STEP, SAMPLE_STEP
from processor.sar.radar_grid import RadarGrid

Samples = NDArray[np.complex64]
Floats = NDArray[np.float64]
Intensity = NDArray[np.float32]


def multilooked_intensity(
    image: Samples, gain: Floats, noise: Floats, grid: RadarGrid, azimuth_looks: int, range_looks: int
) -> tuple[Intensity, RadarGrid]:
    """Mean of gain * (|image|^2 - noise) over the looks, and where the means lie; pixels that are not a number take no part.

    `gain` and `noise` are given at the nodes of `grid` (`coregistration.nodes`); noise is in the unit of |image|^2.
    """
    result = np.empty((grid.lines // azimuth_looks, grid.samples // range_looks), np.float32)
    _mean_intensity(image, gain, noise, azimuth_looks, range_looks, result)
    return result, grid.multilooked(azimuth_looks, range_looks)


@compiled_parallel
def _mean_intensity(image: Samples, gain: Floats, noise: Floats, azimuth_looks: int, range_looks: int, result: Intensity) -> None:
    for row in parallel_range(result.shape[0]):
        line = row * azimuth_looks
        node = min(line // LINE_STEP, max(gain.shape[0] - 2, 0))
        below, part = min(node + 1, gain.shape[0] - 1), line / LINE_STEP - node
        for column in range(result.shape[1]):
            sample = column * range_looks
            before = min(sample // SAMPLE_STEP, max(gain.shape[1] - 2, 0))
            after, share = min(before + 1, gain.shape[1] - 1), sample / SAMPLE_STEP - before
            total, count = 0.0, 0
            for each_line in range(line, line + azimuth_looks):
                for each_sample in range(sample, sample + range_looks):
                    value = image[each_line, each_sample]
                    power = value.real * value.real + value.imag * value.imag
                    if power >= 0:
                        total += power
                        count += 1
            if count == 0:
                result[row, column] = np.nan
                continue
            gains = (gain[node, before] * (1 - share) + gain[node, after] * share) * (1 - part) + (
                gain[below, before] * (1 - share) + gain[below, after] * share
            ) * part
            noises = (noise[node, before] * (1 - share) + noise[node, after] * share) * (1 - part) + (
                noise[below, before] * (1 - share) + noise[below, after] * share
            ) * part
            result[row, column] = gains * (total / count - noises)
