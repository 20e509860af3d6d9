"""Reprojection of a real band, bit for bit against other programs: `rio warp`, and `gdalwarp` where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.crs import CRS
from rasterio.rio.main import main_group

from processor.cog import LayerTags
from processor.reprojection import RESAMPLINGS, reprojected_grid, write_reprojected

# rasterio's own arithmetic with affine 3
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

BAND = Path("s2_imagery/openeo_31U/ref_input_S2_B04.tif")
NODATA = 65535


def reprojected(source: Path, target: Path, crs: str, resolution: float, resampling: str) -> None:
    grid = reprojected_grid(source, CRS.from_string(crs), resolution)
    write_reprojected(source, target, grid, LayerTags("B04"), resampling=RESAMPLINGS[resampling])


def pixels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        pixels: np.ndarray = raster.read(1)
    return pixels


@pytest.mark.parametrize(
    ("crs", "resolution", "resampling"), [*(("EPSG:4326", 1e-4, name) for name in RESAMPLINGS), ("EPSG:3035", 10.0, "bilinear")]
)
def test_pixels_are_those_of_rio_warp(shared_data: Path, tmp_path: Path, crs: str, resolution: float, resampling: str) -> None:
    ours, theirs = tmp_path / "ours.tif", tmp_path / "theirs.tif"
    reprojected(shared_data / BAND, ours, crs, resolution, resampling)
    options = ["--like", str(ours), "--resampling", resampling, "--src-nodata", str(NODATA), "--dst-nodata", str(NODATA)]
    done = CliRunner().invoke(main_group, ["warp", *options, str(shared_data / BAND), str(theirs)])
    assert done.exit_code == 0, done.output
    pixels = pixels_of(ours)
    assert 0.3 < (pixels != NODATA).mean() < 1
    np.testing.assert_array_equal(pixels, pixels_of(theirs))


@pytest.mark.skipif(shutil.which("gdalwarp") is None, reason="no gdalwarp on the path")
@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "cubic_spline"])
def test_pixels_are_those_of_gdalwarp(shared_data: Path, tmp_path: Path, resampling: str) -> None:
    """Others depend on the version of GDAL: weights of lanczos, the border of averages and the like."""
    ours, theirs, crs = tmp_path / "ours.tif", tmp_path / "theirs.tif", "EPSG:32632"
    reprojected(shared_data / BAND, ours, crs, 20.0, resampling)
    with rasterio.open(ours) as raster:
        bounds, (height, width) = raster.bounds, raster.shape
    extent = [repr(edge) for edge in (bounds.left, bounds.bottom, bounds.right, bounds.top)]
    given = ["-t_srs", crs, "-te", *extent, "-ts", str(width), str(height), "-srcnodata", str(NODATA), "-dstnodata", str(NODATA)]
    command = ["gdalwarp", "-q", *given, "-r", resampling.replace("_", ""), str(shared_data / BAND), str(theirs)]
    subprocess.run(command, check=True)
    np.testing.assert_array_equal(pixels_of(ours), pixels_of(theirs))
