"""Layers of simulated GRD products: radiometry, border, places, angles, flattening, layover and shadow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from grd_simulator import NEW, OLD, Simulation, simulate_grd
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import from_origin
from shapely.geometry import box

from common.errors import FatalError, ThresherError
from common.messages import RasterFormat
from common.radar_settings import RadarSources
from processor.sar import ellipsoid
from processor.sar.annotation import read_annotation
from processor.sar.burst_layers import LayerFiles
from processor.sar.dem import Dem, MissingDemError
from processor.sar.dem_files import DemFiles
from processor.sar.geocoding import Resampling
from processor.sar.geoid import open_geoid
from processor.sar.grd import GrdJob, GrdOptions, make_grd_layers
from processor.sar.grd_geometry import GrdGeometry, grd_geometry
from processor.sar.grd_image import ImageStore, plausible
from processor.sar.grd_product import open_grd
from processor.sar.lut import LineTable
from processor.sar.noise import Noise

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

Array = NDArray[Any]
FLOAT = RasterFormat(dtype="float32", nodata=0, min_value=0, max_value=1)


def even(line: Array, sample: Array) -> Array:
    return np.full(np.broadcast_shapes(line.shape, sample.shape), 0.1)


@pytest.fixture(scope="module")
def product(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_grd(tmp_path_factory.mktemp("grd"), shared_data / "s1_grd" / NEW, Simulation(even))


def geometry_of(safe: Path) -> GrdGeometry:
    return grd_geometry(read_annotation(next((safe / "annotation").glob("s1*.xml"))))


def write_dem(path: Path, safe: Path, height: Any, step: float = 1 / 3600, margin: float = 0.06) -> Dem:
    """A DEM in degrees around the image, of `height(x, y)`, kilometres east and north of the middle."""
    longitude, latitude = geometry_of(safe).outline((0.0,))
    west, north = longitude.min() - margin, latitude.max() + margin
    columns, rows = int((longitude.max() + margin - west) / step), int((north - latitude.min() + margin) / step)
    x = (west + np.arange(columns) * step - longitude.mean()) * 111.3 * np.cos(np.radians(latitude.mean()))
    y = (north - np.arange(rows) * step - latitude.mean()) * 111.3
    transform = from_origin(west - step / 2, north + step / 2, step, step)
    profile = {"driver": "GTiff", "width": columns, "height": rows, "count": 1, "dtype": "float32", "crs": "EPSG:4326"}
    with rasterio.open(path, "w", transform=transform, **profile) as raster:
        raster.write(np.broadcast_to(height(*np.meshgrid(x, y)), (rows, columns)).astype("float32"), 1)
    return Dem(DemFiles(str(path)), open_geoid("ellipsoid"))


def flat(x: Array, y: Array) -> Array:
    return np.full(x.shape, 150.0)


def hill(x: Array, y: Array) -> Array:
    return 150 + 900 * np.exp(-(x**2 + y**2) / 2 / 1.1**2)


def wall(x: Array, y: Array) -> Array:
    return np.where(np.abs(x) < 0.1, 950.0, 150.0)


def layers(folder: Path, safe: Path, dem: Dem, *names: str, options: GrdOptions | None = None, **files: Any) -> dict[str, Any]:
    """The layers as arrays (not a number where there is none), and under `raster` the header of the last."""
    job = GrdJob(safe.stem, open_grd(safe), dem, RadarSources(), options or GrdOptions(), names)
    made = list(make_grd_layers(job, LayerFiles(folder, "out_*.tif", **{"format": FLOAT, **files})))
    found: dict[str, Any] = {}
    for name in (each.removeprefix("layer ") for each in made if each.startswith("layer ")):
        with rasterio.open(folder / f"out_{name}.tif") as raster:
            values = raster.read(1).astype(float)
            found[name] = np.where((values == raster.nodata) | np.isnan(values), np.nan, values)
            found["raster"], found["tags"] = (raster.crs.to_string(), raster.transform), raster.tags()
    return found


def test_backscatter_is_what_was_put_in(product: Path, tmp_path: Path) -> None:
    found = layers(tmp_path, product, write_dem(tmp_path / "dem.tif", product, flat), "sigma0_VV", "gamma0_VV", "beta0_VV", "incidence")
    angle = np.radians(found["incidence"])
    assert np.nanmean(found["sigma0_VV"]) == pytest.approx(0.1, rel=3e-3), "thermal noise of 4 % of it is taken away"
    # The tables of the product are for the ellipsoid and heights of their own.
    np.testing.assert_allclose(np.nanmean(found["gamma0_VV"] * np.cos(angle)), 0.1, rtol=0.01)
    np.testing.assert_allclose(np.nanmean(found["beta0_VV"] * np.sin(angle)), 0.1, rtol=0.012)
    crs, transform = found["raster"]
    assert crs == "EPSG:32633"
    assert (transform.a, transform.e) == (20, -20)
    assert transform.c % 20 == 0
    assert transform.f % 20 == 0
    assert found["tags"]["ORBIT"] == "annotation"


def test_noise_may_stay(product: Path, tmp_path: Path) -> None:
    dem = write_dem(tmp_path / "dem.tif", product, flat)
    found = layers(tmp_path, product, dem, "sigma0_VV", options=GrdOptions(denoise=False))
    assert 1.02 < np.nanmean(found["sigma0_VV"]) / 0.1 < 1.08
    assert found["tags"]["THERMAL_NOISE_REMOVED"] == "false"


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3035", "EPSG:4326"])
def test_bright_points_are_where_they_stand(shared_data: Path, tmp_path: Path, crs: str) -> None:
    """Of a hill: their height matters."""
    archive = shared_data / "s1_grd" / NEW
    blank = Simulation(lambda line, sample: even(line, sample) * 1e-3, lines=300, samples=800, speckle=False)
    geometry = geometry_of(simulate_grd(tmp_path / "first", archive, blank))
    dem = write_dem(tmp_path / "dem.tif", tmp_path / "first" / NEW.removesuffix(".zip"), hill)
    longitude, latitude, _ = ellipsoid.geodetic(geometry.ground_points(np.array([80.0, 150, 220]), np.array([150.0, 400, 640]), 400.0))
    places = geometry.image_coordinates(ellipsoid.ecef(longitude, latitude, dem.at(longitude, latitude)))
    targets = list(zip(places.line, places.sample, strict=True))
    safe = simulate_grd(tmp_path / "second", archive, replace(blank, targets=targets))
    options = GrdOptions(crs=crs, resolution_m=5.0, resampling=Resampling.BICUBIC)
    found = layers(tmp_path, safe, dem, "sigma0_VV", options=options)
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    transform = found["raster"][1]
    for column, row in zip((x - transform.c) / transform.a - 0.5, (y - transform.f) / transform.e - 0.5, strict=True):
        window = np.s_[round(row) - 8 : round(row) + 9, round(column) - 8 : round(column) + 9]
        power = np.nan_to_num(found["sigma0_VV"][window])
        power = np.where(power > 0.1 * power.max(), power, 0)
        rows, columns = np.mgrid[window]
        assert (power * rows).sum() / power.sum() == pytest.approx(row, abs=0.2), "a tenth of a pixel of the image"
        assert (power * columns).sum() / power.sum() == pytest.approx(column, abs=0.2)


def test_border_noise_is_masked(shared_data: Path, tmp_path: Path) -> None:
    simulation = Simulation(lambda line, sample: even(line, sample) * 1e-3, lines=400, samples=1200, border=150)
    safe = simulate_grd(tmp_path, shared_data / "s1_grd" / OLD, simulation)
    dem = write_dem(tmp_path / "dem.tif", safe, flat)
    found = layers(tmp_path, safe, dem, "sigma0_VV", "sigma0_VH", options=GrdOptions(denoise=False))
    geometry = geometry_of(safe)
    crs, transform = found["raster"]
    rows, columns = np.nonzero(np.isfinite(found["sigma0_VV"]))
    x, y = transform.c + (columns + 0.5) * 20, transform.f - (rows + 0.5) * 20
    longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    seen = geometry.image_coordinates(ellipsoid.ecef(longitude, latitude, 150.0))
    assert seen.sample.min() >= 150
    assert seen.line.min() >= 75
    assert seen.sample.min() < 150 + 50, "dark water next to it stays"
    assert seen.line.min() < 75 + 50
    assert np.isfinite(found["sigma0_VH"]).sum() == pytest.approx(rows.size, rel=0.01)


def test_flattening_flat_terrain_changes_nothing(product: Path, tmp_path: Path) -> None:
    dem = write_dem(tmp_path / "dem.tif", product, flat)
    plain = layers(tmp_path, product, dem, "beta0_VV", "incidence")
    flattened = layers(tmp_path, product, dem, "gamma0_VV", "sigma0_VV", options=GrdOptions(flatten=True))
    angle = np.radians(plain["incidence"])
    both = np.isfinite(flattened["gamma0_VV"]) & np.isfinite(plain["beta0_VV"])
    assert both.mean() > 0.5
    for name, factor in (("gamma0_VV", np.tan(angle)), ("sigma0_VV", np.sin(angle))):
        ratio = flattened[name][both] / (plain["beta0_VV"] * factor)[both]
        assert np.abs(ratio - 1).max() < 2e-3


def test_flattening_takes_the_hill_away(shared_data: Path, tmp_path: Path) -> None:
    """Ground that scatters evenly (gamma0 = 0.1): an image of it, made facet by facet, comes out even."""
    archive = shared_data / "s1_grd" / NEW
    blank = simulate_grd(tmp_path / "first", archive, Simulation(even, lines=400, samples=1000))
    dem = write_dem(tmp_path / "dem.tif", blank, hill)
    area = facets_by_hand(geometry_of(blank), dem)

    def shining(line: Array, sample: Array) -> Array:
        # beta0 = gamma0 x area; the simulator wants sigma0.
        return 0.1 * area[line, sample] * np.sin(near_angle)

    near_angle = np.radians(30.6)
    safe = simulate_grd(tmp_path / "second", archive, Simulation(shining, lines=400, samples=1000, speckle=False))
    found = layers(tmp_path, safe, dem, "gamma0_VV", "mask", "local_incidence", options=GrdOptions(flatten=True))
    plain = layers(tmp_path, safe, dem, "gamma0_VV", "mask")
    clear = (found["mask"] == 0) & np.isfinite(found["gamma0_VV"])
    slope = clear & (np.abs(found["local_incidence"] - np.nanmedian(found["local_incidence"])) > 8)
    assert slope.sum() > 1000

    def spread(values: Array) -> float:
        return float(np.std(10 * np.log10(values)))

    assert spread(plain["gamma0_VV"][slope]) > 1.5, "in decibels: the hill is bright on one side"
    assert spread(found["gamma0_VV"][slope]) < 0.3
    assert np.mean(found["gamma0_VV"][slope]) == pytest.approx(np.mean(found["gamma0_VV"][clear & ~slope]), rel=0.03)


def facets_by_hand(geometry: GrdGeometry, dem: Dem) -> Array:
    """The area of terrain seen across the line of sight in each pixel over A_beta: every 5 m of a map, projected point by point."""
    longitude, latitude = geometry.outline((0.0,))
    step = 5 / 111_300
    x = np.arange(longitude.min() - 0.03, longitude.max() + 0.03, step / np.cos(np.radians(latitude.mean())))
    y = np.arange(latitude.max() + 0.03, latitude.min() - 0.03, -step)
    area = np.zeros((geometry.grid.lines, geometry.grid.samples))
    for first in range(0, y.size - 1, 200):
        grid = np.meshgrid(x, y[first : first + 201])
        points = ellipsoid.ecef(*grid, dem.at(*grid))
        normal = np.cross(points[1:, 1:] - points[:-1, :-1], points[:-1, 1:] - points[1:, :-1]) / 2
        centre = (points[1:, 1:] + points[:-1, :-1] + points[:-1, 1:] + points[1:, :-1]) / 4
        found = geometry.image_coordinates(centre)
        satellite = geometry.orbit.position(geometry.first_line_s + found.line * geometry.grid.line_interval_s)
        look = satellite - centre
        seen = np.abs(np.sum(normal * look, axis=-1)) / np.linalg.norm(look, axis=-1)
        facing = np.sum(normal * look, axis=-1) * np.sum(normal * centre, axis=-1) > 0
        line, sample = np.rint(found.line), np.rint(found.sample)
        inside = facing & (line >= 0) & (line < area.shape[0]) & (sample >= 0) & (sample < area.shape[1])
        np.add.at(area, (line[inside].astype(int), sample[inside].astype(int)), seen[inside])
    first, second = (geometry.ground_points(np.full(5, line), np.linspace(0, area.shape[1] - 1, 5), 0.0) for line in (0.0, 1.0))
    along = np.linalg.norm(second - first, axis=-1).mean()
    across = np.diff(geometry.slant_range(np.zeros(area.shape[1] + 1), np.arange(area.shape[1] + 1) - 0.5))
    # Three by three pixels: points at random places in their pixels make shot noise.
    padded = np.pad(area, 1, mode="edge")
    smooth = sum(padded[i : i + area.shape[0], j : j + area.shape[1]] for i in range(3) for j in range(3)) / 9
    return smooth / (across * along)


def test_layover_and_shadow(shared_data: Path, tmp_path: Path) -> None:
    """A wall of 800 m from north to south, seen from the east: what is hidden follows from the angle."""
    safe = simulate_grd(tmp_path, shared_data / "s1_grd" / NEW, Simulation(even, lines=300, samples=1200))
    dem = write_dem(tmp_path / "dem.tif", safe, wall, step=1 / 7200)
    found = layers(tmp_path, safe, dem, "mask", "incidence")
    angle = np.radians(np.nanmedian(found["incidence"]))
    row = found["mask"][found["mask"].shape[0] // 2]
    shadow, layover = (np.nansum(np.where(np.isnan(row), 0, row).astype(int) & bit > 0) * 0.02 for bit in (2, 1))
    # Descending, to the right: the satellite is in the east, 10 to 12 degrees off the row.
    assert shadow == pytest.approx(0.8 * np.tan(angle), rel=0.12)
    assert layover == pytest.approx(0.8 / np.tan(angle) + 0.2, rel=0.15)


def test_a_part_of_the_scene(product: Path, tmp_path: Path) -> None:
    dem = write_dem(tmp_path / "dem.tif", product, flat)
    whole = layers(tmp_path, product, dem, "gamma0_VV")
    longitude, latitude = geometry_of(product).outline((150.0,))
    middle = longitude.mean(), latitude.mean()
    cut = layers(tmp_path, product, dem, "gamma0_VV", area=box(middle[0] - 0.02, middle[1] - 0.01, middle[0] + 0.02, middle[1] + 0.01))
    shift = [round((a - b) / 20) for a, b in ((cut["raster"][1].c, whole["raster"][1].c), (whole["raster"][1].f, cut["raster"][1].f))]
    there = whole["gamma0_VV"][shift[1] : shift[1] + cut["gamma0_VV"].shape[0], shift[0] : shift[0] + cut["gamma0_VV"].shape[1]]
    inside = np.isfinite(cut["gamma0_VV"])
    assert 0.8 < inside.mean() < 1
    np.testing.assert_allclose(cut["gamma0_VV"][inside], there[inside], rtol=2e-3, err_msg="millimetres apart")


def test_whole_numbers(product: Path, tmp_path: Path) -> None:
    dem = write_dem(tmp_path / "dem.tif", product, flat)
    pixels = RasterFormat(dtype="uint16", nodata=0, min_value=0, max_value=10000)
    found = layers(tmp_path, product, dem, "sigma0_VV", format=pixels)
    assert np.nanmean(found["sigma0_VV"]) == pytest.approx(1000, rel=0.01)


def test_no_height_says_where(product: Path, tmp_path: Path) -> None:
    dem = write_dem(tmp_path / "dem.tif", product, flat, margin=-0.03)
    with pytest.raises(MissingDemError, match=r"no height at 4\d\.\d+ N, 1\d\.\d+ E: dem\.tif"):
        layers(tmp_path, product, dem, "gamma0_VV")
    assert not list(tmp_path.glob("out_*")), "nothing half-made stays"


def test_what_cannot_be_made_is_told_first(product: Path, tmp_path: Path) -> None:
    dem = write_dem(tmp_path / "dem.tif", product, flat)
    with pytest.raises(FatalError, match="has no polarisation HH: VV"):
        layers(tmp_path, product, dem, "gamma0_HH")
    with pytest.raises(FatalError, match="no layer 'elevation'"):
        layers(tmp_path, product, dem, "elevation")
    with pytest.raises(FatalError, match="projection: 'EPSG:99999'"):
        layers(tmp_path, product, dem, "gamma0_VV", options=GrdOptions(crs="EPSG:99999"))
    with pytest.raises(FatalError, match="no GRD product"):
        open_grd(tmp_path)


def test_a_broken_image_is_told(shared_data: Path, tmp_path: Path) -> None:
    safe = simulate_grd(tmp_path, shared_data / "s1_grd" / NEW, Simulation(even, lines=100, samples=300))
    dem = write_dem(tmp_path / "dem.tif", safe, flat)
    image = next((safe / "measurement").iterdir())
    image.write_bytes(image.read_bytes()[:20000])
    with pytest.raises(ThresherError, match="cannot be read"):
        layers(tmp_path, safe, dem, "gamma0_VV")
    image.unlink()
    with pytest.raises(ThresherError, match=r"measurement/s1b.*\.tiff is missing"):
        open_grd(safe)


def test_large_images_lie_in_files_without_names(tmp_path: Path) -> None:
    small, large = ImageStore(tmp_path, (10, 10), 2), ImageStore(tmp_path, (2**13, 2**13), 9)
    image = large.image()
    image[5000] = 3.0
    assert (image.shape, float(image[5000].sum()), float(image[5001].sum())) == ((2**13, 2**13), 3.0 * 2**13, 0.0)
    assert small.image().shape == (10, 10)
    assert list(tmp_path.iterdir()) == []


def test_noise_that_cannot_be_is_left() -> None:
    sigma0 = LineTable(np.array([0.0]), np.full((1, 50), 500, np.float32))
    for power, usable in ((900.0, True), (0.0, False), (1e6, False)):
        noise = Noise("VV", "", LineTable(np.array([0.0]), np.full((1, 50), power, np.float32)), ())
        assert (plausible(noise, sigma0) is noise) is usable
