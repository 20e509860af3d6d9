"""Workflows that need an elevation model, from order to result: backscatter of a simulated GRD product, the heights below a product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from grd_simulator import OLD, Simulation, simulate_grd
from numpy.typing import NDArray
from order_source import Listed, OrderSource, manifest_of, packing
from order_stack import OrderStack, order_settings, order_stack
from rasterio.windows import Window

from common.config import Settings
from common.radar_settings import DemSettings
from processor.sar.annotation import read_annotation
from processor.sar.grd_geometry import grd_geometry

pytestmark = pytest.mark.timeout(60)

SIGMA0 = 0.05
GRD = OLD.removesuffix(".zip")
ANY = "S2A_MSIL1C_20230910T101601_N0509_R065_T33UUQ_20230910T122321"
ARC_SECOND = 1 / 3600
CORNER = (10, 49)
"""East and north, where four tiles of the model meet."""
TILE = 3600
MADE = 120
"""Pixels from the corner that are made of each tile."""


async def defaults_of(stack: OrderStack, workflow: str) -> dict[str, str]:
    """The options that the list of workflows gives a default for."""
    status, answer = await stack.ask("GET", f"Workflows?$expand=WorkflowOptions&$filter=Name eq '{workflow}'")
    assert status == 200
    [listed] = answer["value"]
    return {option["Name"]: option["Default"] for option in listed["WorkflowOptions"] if option["Default"] is not None}


def pixels_of(content: bytes) -> tuple[NDArray[np.float64], rasterio.DatasetReader]:
    with rasterio.MemoryFile(content) as file, file.open() as layer:
        return layer.read(1, masked=True).astype(float).filled(np.nan), layer


async def ended_well(stack: OrderStack, order: int) -> dict[str, bytes]:
    """The files of its result; what clients are told of it is told."""
    result = await stack.result(order)
    _, answer = await stack.ask("GET", f"ProductionOrder({order})")
    assert (answer["value"]["Status"], answer["value"]["StatusMessage"]) == ("completed", "requested output product is available")
    # Nothing of it stays with the workers' results.
    assert await stack.catalogue.count("dataset") == await stack.catalogue.count("aoi") == 0
    return result


def simulated(folder: Path, shared_data: Path) -> shapely.Polygon:
    """A GRD product of the same backscatter everywhere in `folder`, whole with its manifest; its outline on the ellipsoid."""
    simulation = Simulation(lambda line, sample: SIGMA0 + 0 * (line + sample), lines=300, samples=600)
    safe = simulate_grd(folder, shared_data / "s1_grd" / OLD, simulation)
    files = {path.relative_to(safe).as_posix(): path for path in safe.rglob("*") if path.is_file() and path.name != "manifest.safe"}
    (safe / "manifest.safe").write_bytes(manifest_of({path: file.read_bytes() for path, file in files.items()}))
    longitude, latitude = grd_geometry(read_annotation(next((safe / "annotation").glob("s1*.xml")))).outline((0.0,))
    return shapely.Polygon(np.column_stack([longitude[0], latitude[0]]))


def sea_level(path: Path, outline: shapely.Polygon) -> None:
    west, south, east, north = outline.buffer(0.1).bounds
    size = {"width": int((east - west) * 100) + 1, "height": int((north - south) * 100) + 1, "count": 1, "dtype": "int16"}
    transform = rasterio.Affine(0.01, 0, west, 0, -0.01, north)
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:4326", transform=transform, **size) as raster:
        raster.write(np.zeros((size["height"], size["width"]), np.int16), 1)


async def test_backscatter_of_a_simulated_product(catalogue_settings: Settings, shared_data: Path, tmp_path: Path) -> None:
    outline = simulated(tmp_path / "products", shared_data)
    sea_level(tmp_path / "sea.tif", outline)
    async with OrderSource({GRD: Listed(GRD, outline, 7)}, pack=packing(tmp_path / "products")) as source:
        dems = {"default": DemSettings(path=str(tmp_path / "sea.tif"), geoid="egm2008")}
        settings = order_settings(catalogue_settings, source.url).model_copy(update={"dems": dems})
        async with order_stack(settings) as stack:
            options = {**await defaults_of(stack, "card_bs"), **source.options}
            result = await ended_well(stack, await stack.order("card_bs", [f"{GRD}.SAFE"], **options))
    layers = {f"{kind}_{polarisation}" for kind in ("gamma0", "sigma0") for polarisation in ("VV", "VH")} | {"incidence", "mask"}
    assert set(result) == {f"{GRD}/20150203_{GRD}_{layer}.tif" for layer in layers}
    found = {layer: pixels_of(result[f"{GRD}/20150203_{GRD}_{layer}.tif"]) for layer in layers}
    angle, _ = found["incidence"]
    assert 30 < np.nanmin(angle) < np.nanmax(angle) < 47, "the angles of the swath"
    for polarisation in ("VV", "VH"):
        sigma0, raster = found[f"sigma0_{polarisation}"]
        gamma0, _ = found[f"gamma0_{polarisation}"]
        assert (raster.crs.to_epsg(), raster.res, raster.dtypes[0]) == (
            32634 if outline.centroid.x < 24 else 32635,
            (20.0, 20.0),
            "float32",
        )
        assert np.isfinite(sigma0).sum() == pytest.approx(300 * 600 / 4, rel=0.05), "pixels of 20 m of an image of 10 m"
        assert np.nanmean(sigma0) == pytest.approx(SIGMA0, rel=0.01)
        assert np.nanmean(gamma0 * np.cos(np.radians(angle))) == pytest.approx(SIGMA0, rel=0.01)
    mask, _ = found["mask"]
    assert np.unique(mask[np.isfinite(mask)]).tolist() == [0]


def copernicus_tile(folder: Path, north: int, east: int) -> NDArray[np.float32]:
    """A made tile in the layout of Copernicus DEM (centres of pixels at whole seconds of arc), with heights where it touches the corner:
    these, as the pixels of the tile lie."""
    heights = np.random.default_rng(100 * north + east).integers(0, 3000, (MADE, MADE)).astype(np.float32) / 8
    transform = rasterio.Affine(ARC_SECOND, 0, east - ARC_SECOND / 2, 0, -ARC_SECOND, north + 1 + ARC_SECOND / 2)
    size = {"width": TILE, "height": TILE, "count": 1, "dtype": "float32", "tiled": True, "sparse_ok": True}
    name = f"Copernicus_DSM_COG_10_N{north}_00_E{east:03d}_00_DEM"
    (folder / name).mkdir(parents=True)
    row, column = (0 if north < CORNER[1] else TILE - MADE), (0 if east == CORNER[0] else TILE - MADE)
    with rasterio.open(folder / name / f"{name}.tif", "w", driver="GTiff", crs="EPSG:4326", transform=transform, **size) as raster:
        raster.write(heights, 1, window=Window(column, row, MADE, MADE))
    return heights


async def test_heights_below_a_product(catalogue_settings: Settings, tmp_path: Path) -> None:
    east, north = CORNER
    made = np.block([[copernicus_tile(tmp_path, row, column) for column in (east - 1, east)] for row in (north, north - 1)])
    area = shapely.box(east - 60.2 * ARC_SECOND, north - 40.2 * ARC_SECOND, east + 80.2 * ARC_SECOND, north + 50.2 * ARC_SECOND)
    name = "Copernicus_DSM_COG_10_{LAT}_00_{LON}_00_DEM"
    dems = {"default": DemSettings(path=f"{tmp_path}/{name}/{name}.tif", geoid="egm2008", missing="sea")}
    async with OrderSource({ANY: Listed(ANY, area)}) as source:
        settings = order_settings(catalogue_settings, source.url).model_copy(update={"dems": dems})
        async with order_stack(settings) as stack:
            options = {**await defaults_of(stack, "copdem"), **source.options}
            result = await ended_well(stack, await stack.order("copdem", [ANY], **options))
        assert not source.paths("$value"), "the product itself is not needed"
    [(file, content)] = result.items()
    assert file == f"{ANY}/20230910_{ANY}_height.tif"
    heights, raster = pixels_of(content)
    assert (raster.crs.to_epsg(), raster.dtypes, raster.nodata) == (4326, ("float32",), -32768)
    assert raster.res == pytest.approx((ARC_SECOND, ARC_SECOND))
    # The row of 49° N is the first of the southern tile, the column of 10° E the first of the eastern one.
    first = round((raster.bounds.left - east) / ARC_SECOND + 0.5), round((north - raster.bounds.top) / ARC_SECOND + 0.5)
    assert first == (-60, -50)
    expected = made[MADE - 50 : MADE + 41, MADE - 60 : MADE + 81]
    assert heights.shape == expected.shape
    np.testing.assert_allclose(heights, expected, atol=1e-3)
