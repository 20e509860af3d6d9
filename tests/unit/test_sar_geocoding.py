"""Maps and radar images: places and angles against single points solved on their own, interpolation of known surfaces, edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sentinel1_data
from pyproj import Transformer

from common.errors import FatalError
from processor.sar import ellipsoid
from processor.sar.annotation import parse_annotation
from processor.sar.coregistration import BurstGeometry
from processor.sar.geocoding import Resampling, eroded, look_up, outline, parse_resampling, warp
from processor.sar.geometry import incidence_angles, radar_coordinates
from processor.sar.map_grid import MapGrid, grid_around
from processor.sar.resampling import ValidArea


@pytest.fixture(scope="module")
def geometry(shared_data: Path) -> BurstGeometry:
    [file] = sentinel1_data.annotations(shared_data, sentinel1_data.ROME)
    annotation = parse_annotation(file.content, file.name)
    grid = annotation.burst_grid(3)
    return BurstGeometry(grid, annotation.orbit.polynomial(grid.first_line_time, grid.last_line_time))


def part_of(geometry: BurstGeometry, crs: str) -> MapGrid:
    """A piece in the middle of the burst."""
    whole = grid_around(*outline(geometry, ValidArea(0, geometry.grid.lines - 1, 0, geometry.grid.samples - 1), (0.0, 500.0)), crs, 20.0)
    return whole.part(whole.height // 2, whole.width // 2, 90, 110)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3035"])
def test_each_pixel_of_a_map(geometry: BurstGeometry, crs: str) -> None:
    """Position to a hundredth of a pixel (the ellipsoid is linear between points of 400 m), angles to a ten-thousandth, on level ground."""
    grid = part_of(geometry, crs)
    heights = np.full(grid.shape, 312.0, np.float32)
    found = look_up(geometry, grid, heights)
    line, sample = found.positions(geometry.grid)
    row, column = np.meshgrid(np.arange(0, 90, 17), np.arange(0, 110, 13), indexing="ij")
    x, y = grid.west + (column + 0.5) * grid.pixel, grid.north - (row + 0.5) * grid.pixel
    longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    points = ellipsoid.ecef(longitude, latitude, 312.0)
    expected = radar_coordinates(geometry.orbit, geometry.grid, points)
    assert np.abs(line[row, column] - expected.line).max() < 0.01
    assert np.abs(sample[row, column] - expected.sample).max() < 0.01
    assert np.abs(found.sine[row, column] - np.sin(incidence_angles(geometry.orbit, points))).max() < 1e-4
    later, _ = found.positions(geometry.grid, late_s=2 * geometry.grid.line_interval_s)
    assert np.allclose(line - later, 2, atol=1e-9)


def test_slopes(geometry: BurstGeometry) -> None:
    """A slope along the line of sight adds to the incidence angle, one across it does nothing: the angle is projected."""
    grid = part_of(geometry, "EPSG:32633")
    level = look_up(geometry, grid, np.full(grid.shape, 300.0, np.float32))
    _, sample = level.positions(geometry.grid)
    # On the map: the direction in which samples grow, and that in which lines do.
    away = np.array([sample[40, 41] - sample[40, 40], -(sample[41, 40] - sample[40, 40])])
    away /= np.hypot(*away)
    east, north = np.meshgrid((np.arange(110) - 40) * 20.0, (40 - np.arange(90)) * 20.0)
    slope = np.radians(10)
    incidence = np.arcsin(level.sine[40, 40])
    for rise, expected in (
        ((away[0], away[1]), incidence - slope),
        ((-away[0], -away[1]), incidence + slope),
        ((-away[1], away[0]), incidence),
    ):
        heights = (300 + np.tan(slope) * (rise[0] * east + rise[1] * north)).astype(np.float32)
        sine = look_up(geometry, grid, heights).sine[40, 40]
        assert np.degrees(np.arcsin(sine)) == pytest.approx(np.degrees(expected), abs=0.3)


def test_places_without_a_height_are_none(geometry: BurstGeometry) -> None:
    grid = part_of(geometry, "EPSG:32633")
    heights = np.full(grid.shape, 100.0, np.float32)
    heights[20:30, 50:60] = np.nan
    found = look_up(geometry, grid, heights)
    hole = np.isnan(heights)
    assert np.array_equal(np.isnan(found.sine), hole)
    assert np.array_equal(np.isnan(found.range_time), hole)
    assert np.ptp(found.sine[~hole]) < 0.01


def test_surfaces_are_interpolated_exactly() -> None:
    """A quadratic by cubic convolution, a plane by bilinear interpolation; nothing outside, nor around what is missing."""
    y, x = np.mgrid[0:30, 0:40].astype(np.float32)
    rng = np.random.default_rng(2)
    row, column = rng.uniform(2, 27, (50, 60)), rng.uniform(2, 37, (50, 60))
    curved = 0.3 * y * y - 0.2 * x * y + 0.1 * x * x + y - 3
    expected = 0.3 * row**2 - 0.2 * row * column + 0.1 * column**2 + row - 3
    assert np.abs(warp(curved, row, column, Resampling.BICUBIC) - expected).max() < 1e-3
    assert np.abs(warp(2 * y - x, row, column, Resampling.BILINEAR) - (2 * row - column)).max() < 1e-4
    assert np.array_equal(warp(2 * y - x, row, column, Resampling.NEAREST), (2 * np.rint(row) - np.rint(column)).astype(np.float32))
    curved[10, 20] = np.nan
    for method in Resampling:
        assert np.isnan(warp(curved, np.array([[-1.0, 10.2, 31.0]]), np.array([[5.0, 20.3, 5.0]]), method)).all()
        assert np.isfinite(warp(curved, np.array([[5.5]]), np.array([[5.5]]), method)).all()


def test_edges_are_taken_away() -> None:
    inside = np.zeros((60, 70), np.bool_)
    inside[5:50, 8:65] = True
    left = eroded(inside, 10)
    rows, columns = np.nonzero(left)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (15, 39, 18, 54)
    assert left.sum() == 25 * 37
    assert np.array_equal(eroded(inside, 0), inside)
    assert eroded(np.ones((30, 30), np.bool_), 10).sum() == 100


def test_names_of_interpolations() -> None:
    assert parse_resampling("BICUBIC_INTERPOLATION") is parse_resampling("bicubic") is Resampling.BICUBIC
    assert parse_resampling("NEAREST_NEIGHBOUR") is Resampling.NEAREST
    with pytest.raises(FatalError, match="img_resampling: 'BISINC' is none of nearest, bilinear, bicubic, NEAREST_NEIGHBOUR"):
        parse_resampling("BISINC")
