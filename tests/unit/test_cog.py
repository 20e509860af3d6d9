"""Cloud-Optimised GeoTIFFs: valid, exact, cut and shifted as asked, whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.features import geometry_mask
from rio_cogeo import cog_validate

from common.errors import FatalError
from processor.cog import LayerTags, Shift, shifted, write_cog

# rasterio's own arithmetic with affine 3
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

TRANSFORM = Affine(10, 0, 600_000, 0, -10, 6_000_000)
CRS = "EPSG:32632"


def raster(path: Path, pixels: np.ndarray[Any, Any], **profile: Any) -> Path:
    bands = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    count, height, width = bands.shape
    settings = {"driver": "GTiff", "dtype": pixels.dtype, "crs": CRS, "transform": TRANSFORM, **profile}
    with rasterio.open(path, "w", count=count, height=height, width=width, **settings) as dataset:
        dataset.write(bands)
    return path


def noise(dtype: str, shape: tuple[int, ...] = (700, 1100)) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(7)
    if dtype.startswith("complex"):
        return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(dtype)
    return generator.normal(size=shape).astype(dtype) if dtype.startswith("float") else generator.integers(0, 120, shape).astype(dtype)


def strictly_valid(path: Path) -> bool:
    valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    assert (errors, warnings) == ([], [])
    return bool(valid)


@pytest.mark.parametrize(
    ("dtype", "predictor"),
    [("uint8", "2"), ("uint16", "2"), ("int16", "2"), ("uint32", "2"), ("float32", "3"), ("float64", "3"), ("complex64", None)],
)
def test_pixels_are_exact(tmp_path: Path, dtype: str, predictor: str | None) -> None:
    pixels = noise(dtype)
    target = tmp_path / "b.tif"
    write_cog(raster(tmp_path / "a.tif", pixels, nodata=0), target, LayerTags("B02", scale=0.0001, offset=-0.1))
    assert strictly_valid(target)
    with rasterio.open(target) as cog:
        np.testing.assert_array_equal(cog.read(1), pixels)
        assert (cog.crs, cog.transform, cog.nodata, cog.dtypes[0]) == (CRS, TRANSFORM, 0, dtype)
        assert (cog.scales, cog.offsets, cog.descriptions) == ((0.0001,), (-0.1,), ("B02",))
        assert cog.block_shapes == [(512, 512)]
        assert cog.overviews(1) == [2, 4]
        assert cog.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "ZSTD"
        assert cog.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR") == predictor
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.tif", "b.tif"]


@pytest.mark.parametrize(
    "shape", [(1024, 512), (2100, 1023), (4000, 512), (512, 4000), (300, 512), (5000, 256), (2048, 2048), (600, 40), (1, 1)]
)
def test_any_size_is_valid(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = noise("uint16", shape)
    write_cog(raster(tmp_path / "a.tif", pixels), tmp_path / "b.tif", LayerTags("B02"))
    assert strictly_valid(tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as cog:
        np.testing.assert_array_equal(cog.read(1), pixels)


def test_means_and_modes_in_the_overviews(tmp_path: Path) -> None:
    pixels = np.tile(np.array([[1, 1], [1, 5]], dtype="uint8"), (400, 400))
    source = raster(tmp_path / "a.tif", pixels)
    for categorical, expected in ((False, 2), (True, 1)):
        write_cog(source, tmp_path / "b.tif", LayerTags("SCL", nodata=0, categorical=categorical))
        with rasterio.open(tmp_path / "b.tif", overview_level=0) as overview:
            assert set(np.unique(overview.read(1))) == {expected}


def test_no_data_has_no_part_in_means_and_comes_from_the_source_first(tmp_path: Path) -> None:
    pixels = np.tile(np.array([[9, 9], [9, 100]], dtype="uint16"), (400, 400))
    pixels[:100] = 100
    write_cog(raster(tmp_path / "a.tif", pixels, nodata=100), tmp_path / "b.tif", LayerTags("B02", nodata=0))
    with rasterio.open(tmp_path / "b.tif", overview_level=0) as overview:
        assert overview.nodata == 100
        assert set(np.unique(overview.read(1))) == {9, 100}


def test_existing_overviews_are_not_taken_over(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", np.tile(np.array([[1, 1], [1, 5]], dtype="uint8"), (400, 400)))
    with rasterio.open(source, "r+") as dataset:
        dataset.build_overviews([2], rasterio.enums.Resampling.nearest)
    write_cog(source, tmp_path / "b.tif", LayerTags("B02"))
    with rasterio.open(tmp_path / "b.tif", overview_level=0) as overview:
        assert set(np.unique(overview.read(1))) == {2}


def test_several_bands(tmp_path: Path) -> None:
    pixels = noise("uint16", (3, 600, 600))
    write_cog(raster(tmp_path / "a.tif", pixels), tmp_path / "b.tif", LayerTags("RGB"))
    assert strictly_valid(tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as cog:
        np.testing.assert_array_equal(cog.read(), pixels)
        assert cog.descriptions == ("RGB_1", "RGB_2", "RGB_3")
        assert cog.scales == (1, 1, 1)


def test_cut_keeps_the_grid_and_masks_what_lies_outside(tmp_path: Path) -> None:
    pixels = noise("uint16", (3000, 3000)) + 1
    triangle = shapely.Polygon([(605_003, 5_975_004), (628_507, 5_975_004), (605_003, 5_998_501)])
    back = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    dense = shapely.segmentize(triangle, 50)
    area = shapely.transform(dense, lambda points: np.column_stack(back.transform(*points.T)))
    write_cog(raster(tmp_path / "a.tif", pixels), tmp_path / "b.tif", LayerTags("B02", nodata=0), area=area)
    assert strictly_valid(tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as cog:
        assert tuple(cog.bounds) == (605_000, 5_975_000, 628_510, 5_998_510)
        cut = cog.read(1)
        inside = ~geometry_mask([triangle], cut.shape, cog.transform, all_touched=True)
        expected = np.where(inside, pixels[149:2500, 500:2851], 0)
        # The outline went to degrees and back: a pixel it only just touches may fall on either side.
        assert np.count_nonzero(cut != expected) <= 20
        assert 0.45 < np.count_nonzero(cut) / cut.size < 0.55


@pytest.mark.parametrize("area", [shapely.box(0, 0, 1, 1), shapely.box(10.55, 54.2, 10.551, 54.201), shapely.box(-170, -60, -160, -50)])
def test_an_area_elsewhere_is_told(tmp_path: Path, area: shapely.Polygon) -> None:
    source = raster(tmp_path / "a.tif", noise("uint8", (10, 10)))
    with pytest.raises(FatalError, match="does not meet the product"):
        write_cog(source, tmp_path / "b.tif", LayerTags("B02", nodata=0), area=area)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_cutting_needs_no_data(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", noise("uint8", (10, 10)))
    with pytest.raises(FatalError, match="no no-data value"):
        write_cog(source, tmp_path / "b.tif", LayerTags("B02"), area=shapely.box(0, 40, 20, 60))


def test_cut_across_the_antimeridian(tmp_path: Path) -> None:
    # Zone 60 reaches beyond 180°: the area comes split, as RFC 7946 has it.
    transform = Affine(100, 0, 640_000, 0, -100, 7_000_000)
    source = raster(tmp_path / "a.tif", np.ones((400, 400), "uint8"), crs="EPSG:32660", transform=transform)
    area = shapely.MultiPolygon([shapely.box(179.5, 62.85, 180, 62.95), shapely.box(-180, 62.85, -179.9, 62.95)])
    write_cog(source, tmp_path / "b.tif", LayerTags("B02", nodata=0), area=area)
    with rasterio.open(tmp_path / "b.tif") as cog:
        east = Transformer.from_crs("EPSG:4326", "EPSG:32660", always_xy=True).transform(-179.9, 62.9)[0]
        assert abs(cog.bounds.right - east) < 1000
        assert cog.read(1).mean() > 0.8


@pytest.mark.parametrize(
    ("value", "nodata", "before", "after"),
    [
        (-1000, 0, [0, 1, 1000, 1001, 5000, 65535], [0, 1, 1, 1, 4000, 64535]),
        (1000, 0, [0, 1, 65000], [0, 1001, 65535]),
        (-1000, 65535, [0, 2000, 65535], [1, 1000, 65535]),
        (-1000, None, [0, 2000], [1, 1000]),
    ],
)
def test_shift(value: int, nodata: float | None, before: list[int], after: list[int]) -> None:
    moved = shifted(np.array(before, dtype="uint16"), Shift(value, minimum=1), nodata)
    assert moved.dtype == "uint16"
    assert moved.tolist() == after


def test_a_broken_source_leaves_nothing(tmp_path: Path) -> None:
    source = raster(tmp_path / "a.tif", noise("uint16"), compress="deflate")
    source.write_bytes(source.read_bytes()[:50_000])
    with pytest.raises(rasterio.errors.RasterioError):
        write_cog(source, tmp_path / "b.tif", LayerTags("B02"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
