"""The geoid against values that its makers and others publish."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from common.errors import ConfigurationError, FatalError
from processor.sar.geoid import open_geoid

EGM96_TEST_POINTS = [
    # NGA's own test of EGM96, by spherical harmonics: latitude, longitude, undulation (INPUT.DAT, OUTF477.DAT).
    (38.6281550, 269.7791550, -31.628),
    (-14.6212170, 305.0211140, -2.969),
    (46.8743190, 102.4487290, -43.575),
    (-23.6174460, 133.8747120, 15.871),
    (38.6254730, 359.9995000, 50.066),
    (-0.4667440, 0.0023000, 17.329),
]
EGM2008_TEST_POINTS = [
    # NGA's test of the harmonic synthesis program of EGM2008 (OUTPUT.DAT).
    (37.0, 241.0, -26.151),
    (37.0, -119.0, -26.151),
    (36.0, 242.983333, -29.171),
    (90.0, 0.0, 14.899),
    (-90.0, 359.983333, -30.150),
    (-90.0, 0.0, -30.150),
]


@pytest.mark.parametrize(
    ("name", "points", "tolerance"), [("egm96", EGM96_TEST_POINTS, 0.015), ("egm2008", EGM2008_TEST_POINTS, 0.06)], ids=["egm96", "egm2008"]
)
def test_values_its_makers_publish(name: str, points: list[tuple[float, float, float]], tolerance: float) -> None:
    latitude, longitude, published = np.array(points).T
    np.testing.assert_allclose(open_geoid(name).undulation(longitude, latitude), published, atol=tolerance)


@pytest.mark.parametrize("name", ["egm96", "egm2008"])
def test_it_is_added_in_rome_and_paris(name: str) -> None:
    rome, paris = open_geoid(name).undulation(np.array([12.4964, 2.3522]), np.array([41.9028, 48.8566]))
    assert 48.4 < rome < 49.0
    assert 44.5 < paris < 45.0


@pytest.mark.parametrize("name", ["egm96", "egm2008"])
def test_it_closes_around_the_earth(name: str) -> None:
    geoid = open_geoid(name)
    latitude = np.linspace(-90, 90, 7)
    for longitude in (-180.0, 0.0, 179.999999):
        here = geoid.undulation(np.full(7, longitude), latitude)
        np.testing.assert_allclose(geoid.undulation(np.full(7, longitude + 360), latitude), here, atol=1e-6)
        np.testing.assert_allclose(geoid.undulation(np.full(7, longitude - 1e-7), latitude), here, atol=1e-4)
    poles = geoid.undulation(np.linspace(-180, 180, 50), np.full(50, 90.0))
    np.testing.assert_allclose(poles, poles[0], atol=1e-6)


def test_the_two_models_are_not_the_same_and_not_far_apart() -> None:
    longitude, latitude = np.meshgrid(np.arange(0, 360, 10.0), np.arange(-60, 61, 5.0))
    difference = open_geoid("egm96").undulation(longitude, latitude) - open_geoid("egm2008").undulation(longitude, latitude)
    assert 0.3 < difference.std() < 0.8


def test_heights_above_the_ellipsoid_stay() -> None:
    assert open_geoid("ellipsoid").undulation(np.array([12.5]), np.array([41.9])).tolist() == [0.0]


def test_a_grid_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "local.tif"
    rows, columns = np.mgrid[0:21, 0:31]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=31,
        height=21,
        count=1,
        dtype="float32",
        transform=from_origin(9.95, 48.05, 0.1, 0.1),
        crs="EPSG:4326",
    ) as raster:
        raster.write((40 + 0.1 * rows + 0.2 * columns).astype("float32"), 1)
    geoid = open_geoid(str(path))
    assert geoid.undulation(np.array([11.03]), np.array([47.47])) == pytest.approx(40 + 0.53 + 2 * 1.03, abs=1e-4)
    with pytest.raises(FatalError, match=r"no value at longitude 13\.1000, latitude 47\.5000"):
        geoid.undulation(np.array([11.0, 13.1]), np.array([47.5, 47.5]))


def test_what_is_no_geoid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="neither egm96, egm2008, ellipsoid nor a file"):
        open_geoid("egm84")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(ConfigurationError, match=r"text\.tif cannot be read"):
        open_geoid(str(tmp_path / "text.tif"))
    heights = tmp_path / "dem.tif"
    with rasterio.open(
        heights,
        "w",
        driver="GTiff",
        width=20,
        height=20,
        count=1,
        dtype="float32",
        transform=from_origin(10, 48, 0.1, 0.1),
        crs="EPSG:4326",
    ) as raster:
        raster.write(np.full((20, 20), 1500, "float32"), 1)
    with pytest.raises(FatalError, match="no value"):
        open_geoid(str(heights)).undulation(np.array([11.0]), np.array([47.0]))
