"""Shifts between bursts of real annotations, held to points that took no part in their fit."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sentinel1_data

from common.errors import FatalError
from processor.sar.annotation import Annotation, parse_annotation
from processor.sar.coregistration import BurstGeometry, fit_shifts
from processor.sar.geometry import ground_points, radar_coordinates


def read(data: Path, scene: str, swath: str) -> Annotation:
    [file] = [file for file in sentinel1_data.annotations(data, scene) if f"{swath}-slc-vv" in file.name]
    return parse_annotation(file.content, file.name)


def geometry(annotation: Annotation, number: int) -> BurstGeometry:
    grid = annotation.burst_grid(number)
    return BurstGeometry(grid, annotation.orbit.polynomial(grid.first_line_time, grid.last_line_time))


@pytest.mark.parametrize("swath", ["iw1", "iw2", "iw3"])
def test_shifts_hold_over_3000_m_of_relief(shared_data: Path, swath: str) -> None:
    """Of the first, a middle and the last burst, within 0.001 pixels at random places and heights."""
    first, second = (read(shared_data, scene, swath) for scene in sentinel1_data.PAIR)
    rng = np.random.default_rng(3)
    for number in (0, 4, 8):
        reference, other = geometry(first, number), geometry(second, number)
        model = fit_shifts(reference, other, 0.0, 3000.0)
        line, sample = rng.uniform(0, reference.grid.lines - 1, 3000), rng.uniform(0, reference.grid.samples - 1, 3000)
        height = rng.uniform(0, 3000, 3000)
        found = radar_coordinates(other.orbit, other.grid, ground_points(reference.orbit, reference.grid, line, sample, height))
        by_line, by_sample = model.shifts(line, sample, height)
        assert np.abs(line + by_line - found.line).max() < 0.001
        assert np.abs(sample + by_sample - found.sample).max() < 0.001
        assert max(model.line_residual, model.sample_residual) < 0.001
        # There is something to model: terrain alone moves samples by more than the limit.
        level, high = (model.shifts(line[:1], sample[:1], np.array([metres]))[1] for metres in (0.0, 3000.0))
        assert abs(float(high[0] - level[0])) > 0.01


def test_bursts_of_different_places_are_refused(shared_data: Path) -> None:
    first, second = read(shared_data, sentinel1_data.PAIR[0], "iw1"), read(shared_data, sentinel1_data.ROME, "iw1")
    with pytest.raises(FatalError, match=r"cannot be coregistered|does not cover"):
        fit_shifts(geometry(first, 2), geometry(second, 2), 0.0, 3000.0)


def test_a_burst_is_where_it_is(shared_data: Path) -> None:
    """The same burst with a later first line: all shifts are those lines."""
    mine = geometry(read(shared_data, sentinel1_data.ROME, "iw1"), 3)
    late = mine.grid.first_line_time + timedelta(seconds=3 * mine.grid.line_interval_s)
    other = BurstGeometry(type(mine.grid)(**{**vars(mine.grid), "first_line_time": late}), mine.orbit)
    by_line, by_sample = fit_shifts(mine, other, 0.0, 500.0).shifts(np.array([10.0]), np.array([9000.0]), np.array([100.0]))
    assert by_line == pytest.approx(-3, abs=3e-4)
    assert by_sample == pytest.approx(0, abs=1e-6)
