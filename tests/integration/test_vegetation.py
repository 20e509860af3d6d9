"""Leaf area index, fAPAR and FCOVER: the reference cases of their authors, as a function and through graphs on a simulated product."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from simulated_sentinel2 import write_angles, write_safe
from tile_bench import TileBench, read_layer

from common.errors import ErrorKind, FatalError
from common.product import ProductAsset
from processor.optical.biophysical import BANDS, Angles, Flag, Variable, estimate, network, satellite_of
from processor.optical.opening import open_optical
from processor.optical.vegetation import VegetationLayer, write_vegetation

# rasterio's own arithmetic with affine 3
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

S2 = "S2A_MSIL2A_20190307T105021_N0211_R051_T31UFS_20190307T130000"
TOLERANCE = 5e-4
CELL = 50
"""Pixels of 20 m of a case: 1 km. Its angles are constant between its first two nodes, 500 m apart."""


@pytest.fixture
def bench(tmp_path: Path) -> TileBench:
    return TileBench(tmp_path)


@pytest.fixture
def cases(shared_data: Path) -> np.ndarray[Any, Any]:
    """100 x 12: the reflectances of `BANDS`, three cosines, LAI."""
    with (shared_data / "lai" / "test_cases_2_1.csv").open() as file:
        rows = np.array([[float(value) for value in row.values()] for row in csv.DictReader(file)])
    assert rows.shape == (100, 12)
    return rows


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reference_cases_as_a_function(cases: np.ndarray[Any, Any], dtype: str) -> None:
    columns = cases.astype(dtype).T
    lai, flags = estimate(columns[:8], Angles(*columns[8:11]), network(Variable.LAI, "S2A", "2_1"))
    assert np.abs(lai - cases[:, 11]).max() < TOLERANCE
    assert not flags.any()
    shaped, _ = estimate(columns[:8].reshape(8, 10, 10), Angles(*columns[8:11].reshape(3, 10, 10)), network(Variable.LAI, "S2A", "2_1"))
    np.testing.assert_allclose(shaped.ravel(), lai, rtol=1e-5)


def test_reference_cases_of_every_variable_and_network() -> None:
    """Cases of their authors: eight of each network, from the lowest value to the highest (for FCOVER of 2_1 there are none)."""
    with (Path(__file__).resolve().parents[1] / "vegetation_cases.csv").open() as file:
        rows = [list(row.values()) for row in csv.DictReader(file)]
    assert {(row[0], row[1]) for row in rows} == {(v, n) for v in ("FAPAR", "FCOVER") for n in ("2_1", "3_0_S2A", "3_0_S2B")} - {
        ("FCOVER", "2_1")
    }
    for variable, name, *numbers in rows:
        inputs = np.array(numbers[:11], float)[:, np.newaxis]
        value, _ = estimate(inputs[:8], Angles(*inputs[8:]), network(Variable(variable), "", name))
        assert value[0] == pytest.approx(float(numbers[11]), abs=TOLERANCE), (variable, name)


def test_other_satellites_have_other_networks(cases: np.ndarray[Any, Any]) -> None:
    names = {
        name: network(Variable.LAI, satellite_of(name)).name
        for name in (S2, S2.replace("S2A", "S2B"), "S2C_31UFS_20250101_0_L2A", "unknown")
    }
    assert list(names.values()) == ["3_0_S2A", "3_0_S2B", "3_0_S2A", "3_0_S2A"]
    columns = cases.T
    values = [estimate(columns[:8], Angles(*columns[8:11]), network(Variable.LAI, "", name))[0] for name in ("2_1", "3_0_S2A", "3_0_S2B")]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.corrcoef(values[first], values[second])[0, 1] > 0.95
        assert np.abs(values[first] - values[second]).max() > 0.1
    with pytest.raises(FatalError, match=r"no network '9' for LAI; known are 2_1, 3_0_S2A, 3_0_S2B"):
        network(Variable.LAI, "S2A", "9")


def test_flags() -> None:
    usual = np.array([0.06, 0.05, 0.1, 0.25, 0.3, 0.32, 0.2, 0.12])[:, np.newaxis]
    angles = Angles(np.array([0.99]), np.array([0.7]), np.array([0.5]))
    chosen = network(Variable.LAI, "S2A", "2_1")
    lai, flags = estimate(usual, angles, chosen)
    assert 0.5 < lai < 4
    assert flags == 0
    for band in range(8):
        outside = usual.copy()
        outside[band] = chosen.domain_max[band] + 0.01
        assert estimate(outside, angles, chosen)[1] & Flag.INPUT_OUT_OF_RANGE
    for value, expected, flag in ((-0.1, 0.0, Flag.THRESHOLDED_TO_MINIMUM), (8.1, 8.0, Flag.THRESHOLDED_TO_MAXIMUM)):
        assert ends(value) == (pytest.approx(expected), flag)
    assert ends(-1.0) == (pytest.approx(-1.0), Flag.OUTPUT_TOO_LOW)
    assert ends(9.0) == (pytest.approx(9.0), Flag.OUTPUT_TOO_HIGH)
    nothing, flags = estimate(np.full((8, 1), np.nan), angles, chosen)
    assert np.isnan(nothing)
    assert flags == 0


def ends(value: float) -> tuple[float, int]:
    """LAI and flag of a network that always answers `value`."""
    chosen = network(Variable.LAI, "S2A", "2_1")
    answer = 2 * (value - chosen.output_min) / (chosen.output_max - chosen.output_min) - 1
    constant = replace(chosen, w2=np.zeros(5), b2=answer)
    lai, flags = estimate(np.full((8, 1), 0.1), Angles(np.ones(1), np.full(1, 0.7), np.zeros(1)), constant)
    return float(lai[0]), int(flags[0])


def laid_out(cases: np.ndarray[Any, Any], folder: Path, name: str = S2) -> None:
    """The cases as a product of 10 x 10 cells of a square kilometre: B03 and B04 at 10 m, the others at 20 m, angles every 500 m.

    Half of the tile is seen by one detector, half by another. One cell has a corner without data, one an impossible reflectance.
    """
    quantification, offset = 80_000, -800
    bands: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
    for index, band in enumerate(BANDS):
        resolution = 10 if band in ("B03", "B04") else 20
        size = CELL * 20 // resolution
        numbers = np.rint(cases[:, index].reshape(10, 10) * quantification - offset).astype("uint16")
        pixels = np.kron(numbers, np.ones((size, size), "uint16"))
        corner = size // 5
        pixels[-corner:, -corner:] = 0
        if band == "B03":
            pixels[-corner:, :corner] = 0.5 * quantification
        bands[band, resolution] = pixels
    granule = write_safe(folder, name, bands, quantification, offset)
    view_zenith, sun_zenith, relative = (
        np.kron(np.degrees(np.arccos(cases[:, column])).reshape(10, 10), np.ones((2, 2))) for column in (8, 9, 10)
    )
    sun_azimuth = np.full_like(relative, 350.0)
    azimuth = (sun_azimuth - relative) % 360
    left = np.broadcast_to(np.arange(20) < 9, azimuth.shape)
    views = [[np.where(seen, view_zenith, np.nan), np.where(seen, azimuth, np.nan)] for seen in (left, ~left)]
    write_angles(granule, 500, [sun_zenith, sun_azimuth], views)


async def test_reference_cases_through_the_graph(bench: TileBench, cases: np.ndarray[Any, Any]) -> None:
    folder = bench.workdir()
    laid_out(cases, folder)
    tile = await bench.put(bench.tile(S2), folder, "SAFE")
    report = await bench.process("LAI", tile, "lai", graph_config={"network": "2_1"})
    assert report.error is None
    dataset = report.datasets[0]
    assert (dataset.bands, dataset.format.dtype, dataset.shape, dataset.epsg) == (2, "float32", (500, 500), 32631)
    assert dataset.transform == (20, 0, 600_000, 0, -20, 5_700_000)
    lai, flags = read_layer(dataset), read_layer(dataset, 2)
    half = CELL // 2
    for number, expected in enumerate(cases[:, 11]):
        row, column = divmod(number, 10)
        # One pixel away from the middle, behind which the angles go over into those of the neighbour.
        block = np.s_[row * CELL : row * CELL + half - 1, column * CELL : column * CELL + half - 1]
        assert np.abs(lai[block] - expected).max() < TOLERANCE
        assert not flags[block].any()
    corner = CELL // 5
    assert np.isnan(lai[-corner:, -corner:]).all()
    assert np.isnan(flags[-corner:, -corner:]).all()
    assert np.isfinite(lai).sum() == np.isfinite(flags).sum() == lai.size - corner**2
    assert (flags[-corner:, :corner].astype(int) & Flag.INPUT_OUT_OF_RANGE).all()
    with rasterio.open(dataset.file.uri) as cog:
        assert cog.descriptions == ("LAI", "flags")
        assert cog.tags()["LAI_NETWORK"] == "2_1"


@pytest.mark.parametrize("variable", ["FAPAR", "FCOVER"])
async def test_the_other_graphs(bench: TileBench, cases: np.ndarray[Any, Any], variable: str) -> None:
    folder = bench.workdir()
    laid_out(cases, folder)
    tile = await bench.put(bench.tile(S2), folder, "SAFE")
    report = await bench.process(variable, tile, variable.lower())
    assert report.error is None
    found = read_layer(report.datasets[0])
    columns = cases.T
    expected, _ = estimate(columns[:8], Angles(*columns[8:11]), network(Variable(variable), "S2A"))
    middle = slice(CELL // 4, None, CELL)
    assert np.abs(found[middle, middle].ravel() - expected).max() < TOLERANCE
    with rasterio.open(report.datasets[0].file.uri) as cog:
        assert cog.descriptions == (variable, "flags")
        assert cog.tags()[f"{variable}_NETWORK"] == "3_0_S2A"


def test_at_10_m_and_with_the_satellites_own_network(tmp_path: Path, cases: np.ndarray[Any, Any]) -> None:
    name = S2.replace("S2A", "S2B")
    laid_out(cases, tmp_path, name)
    found = {}
    for resolution in (20, 10):
        target = tmp_path / f"lai{resolution}.tif"
        write_vegetation(open_optical(tmp_path, name), VegetationLayer(resolution=resolution), tmp_path, target)
        with rasterio.open(target) as cog:
            assert cog.tags()["LAI_NETWORK"] == "3_0_S2B"
            found[resolution] = cog.read(1)
    assert (found[20].shape, found[10].shape) == ((500, 500), (1000, 1000))
    cell = np.s_[: CELL // 2 - 1, : CELL // 2 - 1]
    np.testing.assert_allclose(found[10][::2, ::2][cell], found[20][cell], atol=1e-4)
    columns = cases[0].astype("float32")
    expected, _ = estimate(columns[:8, np.newaxis], Angles(*columns[8:11, np.newaxis]), network(Variable.LAI, "S2B"))
    assert found[20][3, 3] == pytest.approx(expected[0], abs=2e-3)


async def test_missing_bands_are_named(bench: TileBench, shared_data: Path) -> None:
    """The real crop has no red edge and no B12."""
    folder = bench.workdir()
    assets = {}
    for layer in ("B02", "B03", "B04", "B08", "B8A", "B09", "B11"):
        file = f"ref_input_S2_{layer}.tif"
        shutil.copy(shared_data / "s2_imagery" / "openeo_31U" / file, folder)
        assets[layer] = ProductAsset(file=file, href=f"https://example.com/{file}")
    tile = await bench.put_assets(bench.tile(S2), assets, folder)
    report = await bench.process("LAI", tile, "lai", is_retriable=True)
    assert report.error is not None
    assert report.error.kind is ErrorKind.FATAL
    assert f"{S2} lacks bands B05, B06, B07, B12; it has B02, B03, B04, B08, B09, B11, B8A" in str(report.error)


def test_what_cannot_give_lai_is_refused(tmp_path: Path, cases: np.ndarray[Any, Any]) -> None:
    name = S2.replace("MSIL2A", "MSIL1C")
    laid_out(cases, tmp_path, name)
    with pytest.raises(FatalError, match="needs reflectance at the surface"):
        write_vegetation(open_optical(tmp_path, name), VegetationLayer(), tmp_path, tmp_path / "lai.tif")
    for path in (*tmp_path.rglob("MTD_MSIL1C.xml"), *tmp_path.glob("*.SAFE")):
        path.rename(path.with_name(path.name.replace("L1C", "L2A")))
    next(tmp_path.rglob("MTD_TL.xml")).unlink()
    with pytest.raises(FatalError, match=r"has no MTD_TL\.xml"):
        write_vegetation(open_optical(tmp_path, S2), VegetationLayer(), tmp_path, tmp_path / "lai.tif")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tif"] == []
