"""Statistics of bands: as NumPy counts them, kept in the files that are written, never stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from common.errors import FatalError
from processor.cog import LayerTags, write_cog
from processor.statistics import BandStatistics, raster_statistics, write_statistics

# rasterio's own arithmetic with affine 3
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


def raster(path: Path, *bands: np.ndarray[Any, Any], nodata: float | None) -> Path:
    profile = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 6_000_000), "nodata": nodata}
    height, width = bands[0].shape
    with rasterio.open(path, "w", driver="GTiff", count=len(bands), height=height, width=width, dtype=bands[0].dtype, **profile) as file:
        file.write(np.stack(bands))
    return path


def pixels(dtype: str, nodata: float | None) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(3).integers(1, 200, (600, 700)).astype(dtype)
    if nodata is not None:
        values[:60] = nodata
    return values


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("uint16", 0), ("int16", -32768), ("float32", np.nan), ("float32", None)])
def test_of_a_cog_as_numpy_counts_them(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    first = pixels(dtype, nodata)
    second = np.where(first == first, first[::-1], first)
    source, target = raster(tmp_path / "source.tif", first, second, nodata=nodata), tmp_path / "cog.tif"
    write_cog(source, target, LayerTags("B04"))
    with rasterio.open(target) as cog:
        assert {f"STATISTICS_{name}" for name in ("MINIMUM", "MAXIMUM", "MEAN", "STDDEV", "VALID_PERCENT")} <= set(cog.tags(2))
    for path in (source, target):
        for band, statistics in zip((first, second), raster_statistics(path), strict=True):
            valid = band[~np.isnan(band)] if nodata is None or np.isnan(nodata) else band[band != nodata]
            assert (statistics.minimum, statistics.maximum) == (valid.min(), valid.max())
            assert statistics.mean == pytest.approx(valid.mean(dtype=np.float64), rel=1e-9)
            assert statistics.stddev == pytest.approx(valid.std(dtype=np.float64), rel=1e-9)
            assert statistics.valid_percent == pytest.approx(100 * valid.size / band.size, abs=0.01)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cog.tif", "source.tif"]


def test_without_valid_pixels_and_of_complex_ones(tmp_path: Path) -> None:
    empty = raster(tmp_path / "empty.tif", np.zeros((20, 30), np.uint16), nodata=0)
    write_cog(empty, tmp_path / "cog.tif", LayerTags("B04"))
    for path in (empty, tmp_path / "cog.tif"):
        assert raster_statistics(path) == (BandStatistics(None, None, None, None, 0.0),)
    complex_pixels = raster(tmp_path / "complex.tif", np.full((20, 30), 3 + 4j, np.complex64), nodata=None)
    assert raster_statistics(complex_pixels) == (BandStatistics(None, None, None, None, 100.0),)


def test_changed_pixels_are_counted_anew(tmp_path: Path) -> None:
    path = raster(tmp_path / "file.tif", np.full((20, 30), 5, np.uint16), nodata=0)
    for value in (5, 9):
        with rasterio.open(path, "r+") as file:
            file.write(np.full((1, 20, 30), value, np.uint16))
            write_statistics(file)
        assert raster_statistics(path) == (BandStatistics(value, value, value, 0.0, 100.0),)


def test_no_raster_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(FatalError, match=r"text\.tif is not a raster"):
        raster_statistics(tmp_path / "text.tif")
