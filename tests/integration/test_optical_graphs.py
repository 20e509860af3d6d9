"""Optical graphs on real products: formulas, masks, composites, physical values, reprojection, heights, each checked independently."""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import spyndex
from pyproj import Transformer
from tile_bench import TileBench, read_layer

from common.errors import ErrorKind
from common.messages import TileRef
from common.product import ProductAsset
from common.radar_settings import DemSettings

# rasterio's own arithmetic with affine 3
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

S2 = "S2B_MSIL2A_20190307T105021_N0211_R051_T31UFS_20190307T130000"
LANDSAT = "LC08_L2SP_005009_20150710_20200908_02_T2"
NODATA = -32768


@pytest.fixture
def bench(tmp_path: Path) -> TileBench:
    return TileBench(tmp_path)


def real_band(shared_data: Path, layer: str) -> tuple[np.ndarray[Any, Any], Any]:
    with rasterio.open(shared_data / "s2_imagery" / "openeo_31U" / f"ref_input_S2_{layer}.tif") as raster:
        return raster.read(1), raster.profile


async def crop(
    bench: TileBench, shared_data: Path, tile: TileRef, *layers: str, more: Mapping[str, np.ndarray[Any, Any]] | None = None
) -> TileRef:
    """The real crop in files of its own, with further bands (pixels of its size) that are made up."""
    folder = bench.workdir()
    assets = {}
    for layer in layers:
        file = f"ref_input_S2_{layer}.tif"
        shutil.copy(shared_data / "s2_imagery" / "openeo_31U" / file, folder)
        assets[layer] = ProductAsset(file=file, href=f"https://example.com/{file}", scale=0.0001, offset=0.0)
    _, profile = real_band(shared_data, "B04")
    for layer, pixels in (more or {}).items():
        with rasterio.open(folder / f"{layer}.tif", "w", **{**profile, "dtype": pixels.dtype, "nodata": None}) as raster:
            raster.write(pixels, 1)
        assets[layer] = ProductAsset(file=f"{layer}.tif", href=f"https://example.com/{layer}.tif")
    return await bench.put_assets(tile, assets, folder)


def classes(shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """A scene classification: vegetation, with a square of high cloud in it and no data at one edge."""
    scl = np.full(shape, 4, np.uint8)
    scl[100:200, 50:150] = 9
    scl[:, :20] = 0
    return scl


async def test_ndvi_is_that_of_spyndex(bench: TileBench, shared_data: Path) -> None:
    """A product that has not all bands for LAI: its NDVI works all the same."""
    red, near = (real_band(shared_data, layer)[0] for layer in ("B04", "B08"))
    scl = classes(red.shape)
    tile = await crop(bench, shared_data, bench.tile(S2), "B04", "B08", more={"SCL": scl})
    report = await bench.process("NDVI", tile, "ndvi", graph_config={"mask": "default", "grow": "3"})
    assert report.error is None
    dataset = report.datasets[0]
    pixels = read_layer(dataset)
    assert (dataset.format.dtype, dataset.format.nodata, dataset.real_min, dataset.real_max) == ("int16", NODATA, -1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = spyndex.computeIndex("NDVI", {"N": near * 1e-4, "R": red * 1e-4})
    masked = np.zeros(red.shape, bool)
    masked[97:203, 47:153] = True
    masked[:, :23] = True
    masked |= (red == 65535) | (near == 65535)
    np.testing.assert_array_equal(pixels == NODATA, masked | ~np.isfinite(expected))
    valid = pixels != NODATA
    assert np.abs(pixels * 1e-4 - np.clip(expected, -1, 1))[valid].max() < 0.51e-4


async def test_a_hostile_formula_is_refused(bench: TileBench, shared_data: Path) -> None:
    tile = await crop(bench, shared_data, bench.tile(S2), "B04")
    report = await bench.process("Expression", tile, "expression", graph_config={"expression": "__import__('os').system('true') + B04"})
    assert report.error is not None
    assert report.error.kind is ErrorKind.FATAL
    assert "a formula may not hold '__import__('os').system('true')'" in str(report.error)


async def test_masks_of_both_sensors(bench: TileBench, shared_data: Path) -> None:
    scl = classes((1024, 512))
    tile = await crop(bench, shared_data, bench.tile(S2), more={"SCL": scl})
    report = await bench.process("MaskSCL", tile, "mask", graph_config={"classes": "cloud_high"})
    assert report.error is None
    np.testing.assert_array_equal(read_layer(report.datasets[0]), np.select([scl == 0, scl == 9], [255, 1], 0))

    source = shared_data / "landsat" / "LC08_L2SP_005009_20150710"
    folder = bench.workdir()
    shutil.copytree(source, folder / LANDSAT)
    tile = await bench.put(bench.tile(LANDSAT, 2), folder)
    report = await bench.process("MaskLandsat", tile, "mask")
    assert report.error is None
    with rasterio.open(source / f"{LANDSAT}_QA_PIXEL.TIF") as raster:
        quality = raster.read(1)
    expected = [[255 if value & 1 else int(any(value >> bit & 1 for bit in (1, 2, 3, 4))) for value in row] for row in quality.tolist()]
    pixels = read_layer(report.datasets[0])
    np.testing.assert_array_equal(pixels, expected)
    assert len(np.unique(pixels)) > 1


async def test_landsat_values_are_those_of_its_metadata(bench: TileBench, shared_data: Path) -> None:
    source = shared_data / "landsat" / "LC08_L2SP_005009_20150710"
    folder = bench.workdir()
    shutil.copytree(source, folder / LANDSAT)
    tile = await bench.put(bench.tile(LANDSAT), folder)
    report = await bench.process("LandsatReflectance", tile, "B04", "B05")
    assert report.error is None
    metadata = json.loads((source / f"{LANDSAT}_MTL.json").read_text())["LANDSAT_METADATA_FILE"]
    factors = metadata["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]
    for dataset, number in zip(report.datasets, (4, 5), strict=True):
        with rasterio.open(source / f"{LANDSAT}_SR_B{number}.TIF") as raster:
            numbers = raster.read(1)
        pixels = read_layer(dataset)
        expected = numbers * float(factors[f"REFLECTANCE_MULT_BAND_{number}"]) + float(factors[f"REFLECTANCE_ADD_BAND_{number}"])
        np.testing.assert_array_equal(pixels == NODATA, numbers == 0)
        assert np.abs(pixels - expected * 1e4)[numbers != 0].max() < 0.51
        assert (dataset.real_min, dataset.real_max) == (pytest.approx(-0.2), pytest.approx(1.6))


async def test_median_of_the_last_dates(bench: TileBench, shared_data: Path) -> None:
    red, profile = real_band(shared_data, "B04")
    layers: list[np.ndarray[Any, Any]] = []
    previous = None
    for number in range(1, 5):
        scl = classes(red.shape) if number == 2 else np.full(red.shape, 4, np.uint8)
        numbers = np.where(red == 65535, 65535, np.clip(red.astype(int) + 700 * (number % 3), 0, 60_000)).astype("uint16")
        folder = bench.workdir()
        for layer, pixels in (("B04", numbers), ("SCL", scl)):
            settings = {**profile, "dtype": pixels.dtype, "nodata": 65535 if layer == "B04" else None}
            with rasterio.open(folder / f"{layer}.tif", "w", **settings) as raster:
                raster.write(pixels, 1)
        assets = {layer: ProductAsset(file=f"{layer}.tif", href=f"https://example.com/{layer}") for layer in ("B04", "SCL")}
        tile = bench.tile(S2.replace("20190307", f"2019030{number}"), number, datetime(2019, 3, number, tzinfo=UTC))
        await bench.put_assets(tile, assets, folder)
        values = np.rint(np.clip(numbers * 1e-4, -1, 2) * 1e4)
        layers.append(np.where((numbers == 65535) | (number == 2) & ((scl == 9) | (scl == 0)), np.nan, values))
        report = await bench.process("MedianComposite", tile, "B04", previous=previous, reference=previous, graph_config={"depth": "3"})
        assert report.error is None
        previous = tile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.nanmedian(np.stack(layers[-3:]), axis=0)
    pixels = read_layer(report.datasets[0])
    np.testing.assert_array_equal(pixels == NODATA, np.isnan(expected))
    valid = ~np.isnan(expected)
    assert np.abs(pixels[valid] - expected[valid]).max() <= 0.5
    with rasterio.open(report.datasets[0].file.uri) as cog:
        assert cog.tags()["DATES"] == "20190304,20190303,20190302"


async def test_reprojected_pixels_are_where_they_belong(bench: TileBench, shared_data: Path) -> None:
    """Nearest pixels of a grid in degrees, found again by PROJ alone."""
    red, profile = real_band(shared_data, "B04")
    tile = await crop(bench, shared_data, bench.tile(S2), "B04")
    settings = {"crs": "EPSG:4326", "resolution": "0.0001", "resampling": "nearest"}
    report = await bench.process("Reproject", tile, "B04", graph_config=settings)
    assert report.error is None
    dataset = report.datasets[0]
    pixels = read_layer(dataset)
    assert dataset.epsg == 4326
    a, _, west, _, e, north = dataset.transform
    assert (a, e) == (0.0001, -0.0001)
    assert [round(edge / 0.0001, 6) % 1 for edge in (west, north)] == [0, 0]
    longitude, latitude = np.meshgrid(west + (np.arange(pixels.shape[1]) + 0.5) * a, north + (np.arange(pixels.shape[0]) + 0.5) * e)
    x, y = Transformer.from_crs("EPSG:4326", profile["crs"], always_xy=True).transform(longitude, latitude)
    column, row = (x - profile["transform"].c) / 10, (profile["transform"].f - y) / 10
    inside = (column >= 0) & (column < red.shape[1]) & (row >= 0) & (row < red.shape[0])
    expected = np.where(inside, red[row.astype(int).clip(0, red.shape[0] - 1), column.astype(int).clip(0, red.shape[1] - 1)], 65535)
    # The warper interpolates positions to an eighth of a pixel: nearer than that to an edge it may take the neighbour.
    sure = np.minimum(np.abs(column - np.rint(column)), np.abs(row - np.rint(row))) > 0.13
    assert sure.mean() > 0.4
    np.testing.assert_array_equal(pixels[sure], expected[sure])
    assert (pixels == expected).mean() > 0.9


async def test_heights_are_those_of_the_model(tmp_path: Path, shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / "dem" / "N51E005.SRTMGL1.hgt.zip") as archive:
        archive.extractall(tmp_path / "dem")
    model = next((tmp_path / "dem").rglob("*.hgt"))
    bench = TileBench(tmp_path, dems={"default": DemSettings(path=str(model.parent / "{LAT}{LON}.hgt"), geoid="egm96")})
    tile = await crop(bench, shared_data, bench.tile(S2), "B04")
    report = await bench.process("CopDEM", tile, "height", graph_config={"resolution": "20"})
    assert report.error is None
    dataset = report.datasets[0]
    heights = read_layer(dataset)
    assert (dataset.epsg, dataset.shape, dataset.format.dtype) == (32631, (512, 256), "float32")
    a, _, west, _, e, north = dataset.transform
    x, y = np.meshgrid(west + (np.arange(256) + 0.5) * a, north + (np.arange(512) + 0.5) * e)
    longitude, latitude = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True).transform(x, y)
    with rasterio.open(model) as raster:
        samples, (left, top) = raster.read(1).astype(float), (raster.transform.c, raster.transform.f)
    column, row = (longitude - left) * 3600 - 0.5, (top - latitude) * 3600 - 0.5
    j, i = column.astype(int), row.astype(int)
    u, v = column - j, row - i
    upper, lower = ((1 - u) * samples[k, j] + u * samples[k, j + 1] for k in (i, i + 1))
    assert np.abs(heights - (1 - v) * upper - v * lower).max() < 0.01
    assert 0 < np.median(heights) < 100


async def test_heights_of_an_area_without_a_product(tmp_path: Path) -> None:
    for longitude in (5, 6):
        transform = rasterio.Affine(0.01, 0, longitude, 0, -0.01, 52)
        profile = {
            "driver": "GTiff",
            "width": 100,
            "height": 100,
            "count": 1,
            "dtype": "float32",
            "crs": "EPSG:4326",
            "transform": transform,
        }
        with rasterio.open(tmp_path / f"Copernicus_N51_00_E00{longitude}_00_DEM.tif", "w", **profile) as raster:
            column = longitude + 0.005 + np.arange(100) * 0.01
            raster.write(np.broadcast_to(column * 100, (100, 100)).astype("float32"), 1)
    path = str(tmp_path / "Copernicus_{LAT}_00_{LON}_00_DEM.tif")
    bench = TileBench(tmp_path, dems={"glo30": DemSettings(path=path, geoid="egm2008", missing="sea")})
    area = "POLYGON ((5.9 51.5, 6.1 51.5, 6.1 51.6, 5.9 51.6, 5.9 51.5))"
    report = await bench.process("CopernicusDEM", bench.tile(S2), "height", clip_wkt=area, graph_config={"resolution": "0.005"})
    assert report.error is None
    heights = read_layer(report.datasets[0])
    assert heights.shape == (20, 40)
    np.testing.assert_allclose(heights[10], (5.9 + 0.0025 + np.arange(40) * 0.005) * 100, atol=1e-3)
