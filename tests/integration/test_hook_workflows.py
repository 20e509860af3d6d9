"""Workflows on products, with real workers: a hook of one's own, leaf area index of a simulated product, coherence of a simulated pair."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from order_source import Listed, OrderSource, packing, safe_files
from order_stack import order_settings, order_stack
from simulated_sentinel2 import write_angles, write_safe

from catalogue.hook.workflows import Workflows
from common.config import Settings
from common.errors import ConfigurationError
from common.radar_settings import DemSettings
from common.step_settings import GraphSettings
from thresher.demo.sentinel1.documents import corners
from thresher.demo.sentinel1.passes import product_documents
from thresher.demo.sentinel1.product import Simulation, write_series
from thresher.demo.sentinel1.terrain import Terrain

pytestmark = pytest.mark.timeout(300)

REPOSITORY = Path(__file__).resolve().parents[2]
ANY = "S2A_MSIL1C_20230910T050701_N0509_R019_T47VLH_20230910T074321"
L2A = "S2A_MSIL2A_20190307T105021_N0211_R051_T31UFS_20190307T135402"
DEM_BOUNDS = (11.85, 51.30, 12.45, 52.00)


@pytest.fixture
async def source() -> AsyncIterator[OrderSource]:
    async with OrderSource({name: Listed(name) for name in (ANY, L2A)}) as running:
        yield running


def hook_of_the_documentation(folder: Path) -> None:
    """The files that `docs/custom-hooks.md` walks through."""
    text = (REPOSITORY / "docs" / "custom-hooks.md").read_text()
    script, workflow = (
        re.search(rf"```{language}\n(.*?)   ```", text, re.DOTALL).group(1)
        for language in ("python", "yaml")  # type: ignore[union-attr]
    )
    (folder / "hello").mkdir(parents=True)
    for path, content in ((folder / "hello" / "processor.py", script), (folder / "hello.workflow.yaml", workflow)):
        path.write_text("".join(line.removeprefix("   ") for line in content.splitlines(keepends=True)))


async def test_the_hook_of_the_documentation(catalogue_settings: Settings, source: OrderSource, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    settings = order_settings(catalogue_settings, source.url).model_copy(update={"graphs": GraphSettings(folders=[hooks])})
    async with order_stack(settings) as stack:
        status, _ = await stack.ask("GET", "Workflows?$filter=Name eq hello")
        assert status == 200
        hook_of_the_documentation(hooks)
        status, answer = await stack.ask("GET", "Workflows?$expand=WorkflowOptions&$filter=Name eq hello")
        [workflow] = answer["value"]
        assert {"greeting", "output_storage"} <= {option["Name"] for option in workflow["WorkflowOptions"]}
        result = await stack.result(await stack.order("hello", [f"{ANY}.SAFE"], greeting="ahoy", **source.options))
        wrong = {"Name": "x", "WorkflowName": "hello", "WorkflowOptions": [{"Name": "greeting", "Value": "Moin"}]}
        status, answer = await stack.ask("POST", "BatchOrder/OData.CSC.Order", wrong)
        assert (status, answer["detail"][0]["type"]) == (422, "literal_error")
    about = safe_files(ANY)["annotation/about.xml"].decode().upper()
    assert result == {f"{ANY}/about.txt": f"Ahoy, about.xml: {about}".encode()}


def test_a_workflow_file_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "mine.workflow.yaml"
    for text, words in (
        ("- a list", "mapping"),
        ("name: [", "mine.workflow.yaml"),
        ("name: mine\nrun: {engine: python}", "run.command"),
        ("name: mine\nnosuch: 1", "nosuch"),
        ("name: mine\noptions: [{name: a}, {name: a}]", "twice"),
        ("name: mine\naliases: [lai]", "lai"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=words):
            Workflows([tmp_path])
    file.write_text("name: mine")
    workflows = Workflows([tmp_path])
    assert workflows.current().get("mine") is not None
    file.write_text("name: [")
    assert workflows.current().get("mine") is not None  # as it was
    file.unlink()
    assert workflows.current().get("mine") is None


BANDS = {"B03": 0.06, "B04": 0.03, "B05": 0.09, "B06": 0.25, "B07": 0.32, "B8A": 0.36, "B11": 0.18, "B12": 0.09}


async def test_leaf_area_index_of_a_simulated_product(catalogue_settings: Settings, source: OrderSource, tmp_path: Path) -> None:
    bands: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
    for band, reflectance in BANDS.items():
        resolution = 10 if band in ("B03", "B04") else 20
        bands[band, resolution] = np.full((1000 // resolution,) * 2, round(reflectance * 10_000) + 1000, "uint16")
    granule = write_safe(tmp_path / "products", L2A, bands)
    grid = np.ones((3, 3))
    write_angles(granule, 500, [grid * 35.0, grid * 160.0], [[grid * 5.0, grid * 100.0]])
    source.pack = packing(tmp_path / "products")
    async with order_stack(order_settings(catalogue_settings, source.url)) as stack:
        result = await stack.result(await stack.order("lai", [L2A], **source.options))
        assert await stack.catalogue.count("dataset") == await stack.catalogue.count("aoi") == 0
    [(name, content)] = result.items()
    assert name == f"{L2A}/20190307_{L2A}_lai.tif"
    with rasterio.MemoryFile(content) as file, file.open() as layer:
        lai, flags = layer.read(1), layer.read(2)
    assert 1.0 < float(lai[10, 10]) < 6.0
    assert np.ptp(lai) < 1e-3
    assert not flags.any()


async def test_coherence_of_a_simulated_pair(catalogue_settings: Settings, tmp_path: Path) -> None:
    terrain = Terrain(12.1, 51.62)
    documents = [product_documents(date, bursts=1) for date in (0, 1)]
    write_series(tmp_path / "products", documents, Simulation(terrain, 5, bursts={"IW1": (0,)}), threads=2)
    terrain.write_dem(tmp_path / "dem.tif", *DEM_BOUNDS)
    first, second, third, last = (np.array(corner) for corner in corners(documents[0].images[0].swath, 0, terrain.base_m))
    # A strip at the near edge of IW1, so that the bursts of the other sub-swaths, which are empty, are too far away.
    outline = shapely.Polygon([first, first + 0.1 * (second - first), last + 0.1 * (third - last), last])
    listed = {each.name: Listed(each.name, outline, 88) for each in documents}
    async with OrderSource(listed, pack=packing(tmp_path / "products"), in_ranges=True) as source:
        # No annotations are configured: where the bursts lie is read in the archives of the order's own source.
        more = {"dems": {"ground": DemSettings(path=str(tmp_path / "dem.tif"), geoid="ellipsoid")}}
        settings = order_settings(catalogue_settings, source.url).model_copy(update=more)
        async with order_stack(settings) as stack:
            order = await stack.order("card_cohinf", [documents[1].name], card_producttype="CARD_INF", timespan="24", **source.options)
            result = await stack.result(order)
    names = {name.removesuffix(".tif").rpartition("/")[2] for name in result}
    made = {"_".join(name.split("_")[-2:]) for name in names}
    assert made == {f"{kind}_{polarisation}" for kind in ("coh", "phase", "sigma0") for polarisation in ("VV", "VH")}
    with rasterio.MemoryFile(next(result[name] for name in result if name.endswith("coh_VV.tif"))) as file, file.open() as layer:
        coherence = layer.read(1)
    assert 0.3 < float(np.median(coherence[coherence > 0])) <= 1.0
