"""A tile job on a simulated GRD product: out of the storage, through the graph `S1GRDBackscatter`, as layers that are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from grd_simulator import OLD, Simulation, simulate_grd
from rasterio.transform import from_origin
from tile_bench import TileBench, read_layer

from common.errors import ErrorKind
from common.radar_settings import DemSettings, OrbitSettings
from processor.sar.annotation import read_annotation
from processor.sar.grd_geometry import grd_geometry

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.fixture(scope="module")
def product(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    simulation = Simulation(lambda line, sample: 0.05 + 0 * (line + sample), lines=300, samples=600)
    return simulate_grd(tmp_path_factory.mktemp("grd"), shared_data / "s1_grd" / OLD, simulation)


@pytest.fixture(scope="module")
def dem(product: Path) -> Path:
    """Sea level above the geoid, all around."""
    longitude, latitude = grd_geometry(read_annotation(next((product / "annotation").glob("s1*.xml")))).outline((0.0,))
    path = product.parent / "dem.tif"
    transform = from_origin(longitude.min() - 0.1, latitude.max() + 0.1, 0.01, 0.01)
    size: dict[str, Any] = {
        "width": int(np.ptp(longitude) * 100) + 20,
        "height": int(np.ptp(latitude) * 100) + 20,
        "count": 1,
        "dtype": "int16",
    }
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:4326", transform=transform, **size) as raster:
        raster.write(np.zeros((size["height"], size["width"]), np.int16), 1)
    return path


async def test_layers_of_a_grd_product(product: Path, dem: Path, shared_data: Path, tmp_path: Path) -> None:
    bench = TileBench(
        tmp_path,
        dems={"default": DemSettings(path="/nowhere/{LAT}{LON}.tif", geoid="egm96"), "zero": DemSettings(path=str(dem), geoid="egm2008")},
        orbits=OrbitSettings(folder=str(shared_data / "s1_orbits")),
    )
    tile = await bench.put(bench.tile(product.stem), product.parent, "SAFE")
    config = {"dem": "zero", "dformat_out": "uint16,0,0,10000", "projection": "EPSG:3035", "resolution": "30", "flatten": "true"}
    report = await bench.process("S1GRDBackscatter", tile, "gamma0_VV", "gamma0_VH", "local_incidence", "mask", graph_config=config)
    assert report.error is None
    found = {dataset.layer: dataset for dataset in report.datasets}
    assert list(found) == ["gamma0_VV", "gamma0_VH", "local_incidence", "mask"]
    for layer in ("gamma0_VV", "gamma0_VH"):
        pixels = read_layer(found[layer])
        assert pixels.dtype == np.uint16
        angle = np.radians(read_layer(found["local_incidence"]))
        assert np.mean(pixels[pixels > 0]) / 10000 == pytest.approx(0.05 / np.nanmean(np.cos(angle)), rel=0.02)
        assert (found[layer].epsg, found[layer].real_max) == (3035, 1)
    with rasterio.open(found["gamma0_VV"].file.uri) as cog:
        tags = cog.tags()
    assert tags["ORBIT"] == "annotation", "no orbit file in the folder serves this date"
    assert tags["DEM"] == "dem.tif, heights above egm2008"
    assert (tags["THERMAL_NOISE_REMOVED"], tags["TERRAIN_FLATTENED"]) == ("true", "true")
    mask = read_layer(found["mask"])
    assert set(np.unique(mask)) == {0, 255}
    assert report.deletions == [bench.store.uri(tile, "__product__", "SAFE")]


@pytest.mark.parametrize(
    ("dems", "config", "message"),
    [
        ({}, {}, "there is no DEM"),
        ({"one": {"path": "/nowhere/{LAT}{LON}.tif", "geoid": "egm96"}}, {}, r"the DEM has no height at .* does not exist"),
        ({"one": {"path": "{DEM}", "geoid": "egm96"}}, {"resolution": "0"}, "resolution: 0.0 is not a number of metres above 0"),
    ],
    ids=["no-dem", "no-height", "resolution"],
)
async def test_what_cannot_be_done_says_why(
    product: Path, dem: Path, tmp_path: Path, dems: dict[str, dict[str, str]], config: dict[str, str], message: str
) -> None:
    settings = {name: DemSettings(**{key: value.replace("{DEM}", str(dem)) for key, value in each.items()}) for name, each in dems.items()}
    bench = TileBench(tmp_path, dems=settings)
    tile = await bench.put(bench.tile(product.stem), product.parent, "SAFE")
    report = await bench.process("S1GRDBackscatter", tile, "gamma0_VV", graph_config=config)
    assert report.error is not None
    assert report.error.kind is ErrorKind.FATAL
    with pytest.raises(type(report.error), match=message):
        raise report.error
    assert not report.datasets
