"""Heights from rasters and tiles, with the geoid added: against what the files hold, and what is said where they hold nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from range_server import RangeServer
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject

from common.errors import ConfigurationError, TemporaryError
from processor.sar.dem import Dem, MissingDemError
from processor.sar.dem_files import DemFiles
from processor.sar.geoid import open_geoid
from processor.sar.map_grid import MapGrid, grid_around

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

FLAT = open_geoid("ellipsoid")


def slope(longitude: Any, latitude: Any) -> Any:
    """A plane in longitude and latitude, which bilinear interpolation leaves exact."""
    return 100 + 3000 * (np.asarray(latitude) - 45) + 500 * (np.asarray(longitude) % 360)


def write_tile(
    path: Path, west: int, south: int, samples: int = 60, rows: int = 60, height: Callable[[Any, Any], Any] = slope, **more: Any
) -> None:
    """A tile as those of Copernicus DEM: pixel centres on the whole degrees in the north and west."""
    step_x, step_y = 1 / samples, 1 / rows
    longitude, latitude = np.meshgrid(west + np.arange(samples) * step_x, south + 1 - np.arange(rows) * step_y)
    transform = from_origin(west - step_x / 2, south + 1 + step_y / 2, step_x, step_y)
    profile = {"driver": "GTiff", "width": samples, "height": rows, "count": 1, "dtype": "float32", "crs": "EPSG:4326", **more}
    with rasterio.open(path, "w", transform=transform, **profile) as raster:
        raster.write(height(longitude, latitude).astype("float32"), 1)


@pytest.fixture
def tiles(tmp_path: Path) -> str:
    """Three by three degrees; north of 46 N they have fewer columns, as those of Copernicus DEM do further north."""
    for south in (44, 45, 46):
        for west in (9, 10, 11):
            write_tile(tmp_path / f"dem_N{south}_E{west:03d}.tif", west, south, samples=40 if south == 46 else 60)
    return str(tmp_path / "dem_{LAT}_{LON}.tif")


def test_tiles_are_one_surface(tiles: str) -> None:
    dem = Dem(DemFiles(tiles), FLAT)
    grid = grid_around(np.array([9.5, 11.5]), np.array([44.5, 46.5]), "EPSG:32632", 400)
    x, y = np.meshgrid(grid.west + (np.arange(grid.width) + 0.5) * grid.pixel, grid.north - (np.arange(grid.height) + 0.5) * grid.pixel)
    longitude, latitude = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
    error = dem.on_grid(grid) - slope(longitude, latitude)
    # In the one row of pixels where the spacing changes, the two are a quarter of a pixel apart.
    assert np.abs(error).max() < 0.02


def test_points_and_grids_agree_and_the_geoid_is_added(tiles: str) -> None:
    dem = Dem(DemFiles(tiles), open_geoid("egm2008"))
    longitude, latitude = np.array([[9.7, 10.0, 10.9999]]), np.array([[45.2, 45.0, 44.7]])
    expected = slope(longitude, latitude) + open_geoid("egm2008").undulation(longitude, latitude)
    assert expected.min() > slope(longitude, latitude).min() + 35, "Italy is not on the ellipsoid"
    np.testing.assert_allclose(dem.at(longitude, latitude), expected, atol=0.01)
    grid = MapGrid("EPSG:4326", 9.9, 45.2, 0.001, 300, 200)
    heights = dem.on_grid(grid)
    np.testing.assert_allclose(heights[120, 250], dem.at(np.array([9.9 + 0.2505]), np.array([45.2 - 0.1205]))[0], atol=0.02)


def test_real_heights_are_those_of_another_program(shared_data: Path) -> None:
    """GDAL warps the real SRTM tile to the same grid."""
    folder = shared_data / "dem"
    dem = Dem(DemFiles(str(folder / "{LAT}{LON}.SRTMGL1.hgt.zip")), FLAT)
    grid = MapGrid("EPSG:32631", 655000, 5700000, 10, 500, 400)
    warped = np.zeros(grid.shape, np.float32)
    with rasterio.open(folder / "N51E005.SRTMGL1.hgt.zip") as raster:
        reproject(
            rasterio.band(raster, 1), warped, dst_transform=grid.transform, dst_crs=grid.crs, resampling=Resampling.bilinear, tolerance=0
        )
    heights = dem.on_grid(grid)
    assert heights.std() > 3
    half_a_pixel_away = dem.on_grid(grid.part(0, 1, *grid.shape))
    assert np.abs(heights - warped).mean() < 0.1 * np.abs(heights - half_a_pixel_away).mean(), "GDAL's kernel is nearly bilinear"
    assert np.abs(heights - warped).max() < 0.2


def test_a_missing_height_says_where(tiles: str) -> None:
    dem = Dem(DemFiles(tiles), FLAT)
    with pytest.raises(MissingDemError, match=r"no height at 45\.500 N, 12\.500 E: .*dem_N45_E012\.tif does not exist"):
        dem.at(np.array([11.5, 12.5]), np.array([45.5, 45.5]))
    grid = MapGrid("EPSG:4326", 11.5, 45.5, 0.01, 100, 50)
    with pytest.raises(MissingDemError, match=r"no height at 45\.\d+ N, 12\.0\d\d E: .*dem_N45_E012"):
        dem.on_grid(grid)
    needed = np.zeros(grid.shape, bool)
    needed[:, :40] = True
    heights = dem.on_grid(grid, needed)
    assert np.isfinite(heights[:, :45]).all()
    assert np.isnan(heights[:, 60:]).all()


def test_nothing_at_all_says_where(tiles: str) -> None:
    with pytest.raises(MissingDemError, match=r"5\.500 S, 100\.500 W: .*dem_S06_W101\.tif does not exist"):
        Dem(DemFiles(tiles), FLAT).at(np.array([-100.5]), np.array([-5.5]))


def test_voids_are_missing(tmp_path: Path) -> None:
    def with_void(longitude: Any, latitude: Any) -> Any:
        return np.where((longitude > 10.4) & (longitude < 10.6), -9999, slope(longitude, latitude))

    write_tile(tmp_path / "one.tif", 10, 45, height=with_void, nodata=-9999)
    dem = Dem(DemFiles(str(tmp_path / "one.tif")), FLAT)
    with pytest.raises(MissingDemError, match=r"10\.500 E: one\.tif has none there"):
        dem.at(np.array([10.5]), np.array([45.5]))
    write_tile(tmp_path / "untold.tif", 10, 45, height=with_void)
    assert Dem(DemFiles(str(tmp_path / "untold.tif")), FLAT).at(np.array([10.5]), np.array([45.5]))[0] == -9999
    with pytest.raises(MissingDemError):
        Dem(DemFiles(str(tmp_path / "untold.tif"), nodata=-9999), FLAT).at(np.array([10.5]), np.array([45.5]))


def test_the_sea_may_have_no_tiles(tiles: str) -> None:
    dem = Dem(DemFiles(tiles), open_geoid("egm2008"), missing_is_sea=True)
    place = np.array([13.5]), np.array([43.5])
    np.testing.assert_allclose(dem.at(*place), open_geoid("egm2008").undulation(*place), atol=1e-6)


def test_across_the_antimeridian(tmp_path: Path) -> None:
    for west in (178, 179, -180, -179):
        write_tile(tmp_path / f"dem_S17_{'E' if west >= 0 else 'W'}{abs(west):03d}.tif", west, -17)
    dem = Dem(DemFiles(str(tmp_path / "dem_{LAT}_{LON}.tif")), FLAT)
    longitude, latitude = np.array([179.5, 179.995, -179.995, -179.2]), np.full(4, -16.5)
    grid = grid_around(longitude, latitude + np.array([-0.1, 0.1, 0, 0]), "EPSG:32701", 500)
    heights = dem.on_grid(grid)
    x, y = np.meshgrid(grid.west + (np.arange(grid.width) + 0.5) * grid.pixel, grid.north - (np.arange(grid.height) + 0.5) * grid.pixel)
    lon, lat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
    assert np.abs(heights - slope(lon, lat)).max() < 1


def test_a_raster_in_another_projection(tmp_path: Path) -> None:
    path = tmp_path / "utm.tif"
    columns, rows = np.meshgrid(np.arange(400), np.arange(300))
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=400,
        height=300,
        count=1,
        dtype="float32",
        crs="EPSG:32633",
        transform=from_origin(300000, 4700000, 30, 30),
    ) as raster:
        raster.write((columns * 2.0 + rows).astype("float32"), 1)
    dem = Dem(DemFiles(str(path)), FLAT)
    longitude, latitude = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(
        300000 + 30 * 200.5, 4700000 - 30 * 100.5
    )
    assert dem.at(np.array([longitude]), np.array([latitude])) == pytest.approx(500, abs=0.01)
    coarse = dem.on_grid(MapGrid("EPSG:32633", 302000, 4698000, 300, 10, 10))
    np.testing.assert_allclose(
        coarse[5, 5], (302000 + 300 * 5.5 - 300000) / 30 * 2 - 1 + (4700000 - 4698000 + 300 * 5.5) / 30 - 0.5, atol=0.2
    )


@pytest.mark.parametrize(
    ("crs", "above"), [("EPSG:4326+5773", "egm96"), ("EPSG:4326+3855", "egm2008"), ("EPSG:4979", "ellipsoid"), ("EPSG:4326", "")]
)
def test_what_a_raster_says_its_heights_are_above(tmp_path: Path, crs: str, above: str) -> None:
    write_tile(tmp_path / "one.tif", 10, 45, crs=crs)
    files = DemFiles(str(tmp_path / "one.tif"))
    assert files.vertical() == above
    assert Dem(files, FLAT).at(np.array([10.5]), np.array([45.5]))[0] == pytest.approx(slope(10.5, 45.5), abs=0.01), "GDAL shifts nothing"


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.tif does not exist"):
        Dem(DemFiles(str(tmp_path / "none.tif")), FLAT).at(np.array([10.5]), np.array([45.5]))
    (tmp_path / "text.tif").write_text("text")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Dem(DemFiles(str(tmp_path / "text.tif")), FLAT).at(np.array([10.5]), np.array([45.5]))
    write_tile(tmp_path / "navd.tif", 10, 45, crs="EPSG:4326+5703")
    with pytest.raises(ConfigurationError, match="NAVD88"):
        DemFiles(str(tmp_path / "navd.tif")).vertical()


async def test_tiles_on_a_server(tmp_path: Path) -> None:
    write_tile(tmp_path / "dem_N45_E010.tif", 10, 45, samples=200, rows=200)
    server = await RangeServer(tmp_path).start()
    try:
        good, busy = (DemFiles(str(server.make_url(f"/{kind}/")) + "dem_{LAT}_{LON}.tif") for kind in ("ranges", "forbidden"))
        read = await asyncio.to_thread(Dem(good, FLAT).at, np.array([10.5]), np.array([45.5]))
        assert read[0] == pytest.approx(slope(10.5, 45.5), abs=0.01)
        with pytest.raises(MissingDemError, match=r"dem_N47_E010\.tif does not exist"):
            await asyncio.to_thread(Dem(good, FLAT).at, np.array([10.5]), np.array([47.5]))
        with pytest.raises(TemporaryError, match="cannot be read"):
            await asyncio.to_thread(Dem(busy, FLAT).at, np.array([10.5]), np.array([45.5]))
    finally:
        await server.close()
