"""Tile jobs on real products: fetched from storage, run through the shipped graphs, stored, reported; every pixel compared."""

from __future__ import annotations

import json
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
import shapely
from rio_cogeo import cog_validate

from common.config import GraphSettings, Settings
from common.errors import ErrorKind, MissingFileError, UserError
from common.layers import open_layer_store
from common.messages import DatasetReport, SceneRef, TileJob, TileRef
from common.product import ProductAsset, ProductManifest
from common.work import JobContext, WorkReport
from processor.rasters import describe_raster
from processor.work import process_tile

# rasterio's own arithmetic with affine 3
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

S2 = "S2B_MSIL2A_20190307T105021_N0211_R051_T31UFS_20190307T130000"
L1C = "S2A_MSIL1C_20180101T105441_N0206_R051_T31TDH_20180101T124911"
LANDSAT = "LC08_L2SP_005009_20150710_20200908_02_T2"


class Bench:
    """A storage, and jobs against it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.graphs = folder / "graphs"
        self.graphs.mkdir()
        self.settings = Settings(storage=str(folder / "storage"), graphs=GraphSettings(folders=[self.graphs]))
        self.store = open_layer_store("", self.settings)

    def tile(self, scene: str, number: int = 1) -> TileRef:
        reference = SceneRef(id=number, source_id=scene, aoi="test", date=datetime(2019, 3, 7, 10, 50, tzinfo=UTC))
        return TileRef(id=10 + number, source_id=scene, scene=reference)

    def workdir(self) -> Path:
        path = self.folder / f"work {uuid.uuid4().hex[:8]}"
        path.mkdir()
        return path

    def graph(self, name: str, **document: Any) -> None:
        (self.graphs / f"{name}.json").write_text(json.dumps(document))

    def script(self, text: str) -> list[dict[str, str]]:
        (self.graphs / "step.py").write_text(text)
        return [{"engine": "python", "command": "step.py"}]

    async def process(self, graph: str, tile: TileRef, *layers: str, **more: Any) -> WorkReport:
        job = TileJob(
            job=uuid.uuid4(),
            send=1,
            graph_name=graph,
            tile=tile,
            layers=list(layers),
            instances={layer: f"instance-{layer}" for layer in layers},
            **more,
        )
        self.run = uuid.uuid4()
        return await process_tile(job, JobContext(self.settings, self.workdir(), self.run, lambda *_: None))

    def stored(self) -> set[str]:
        """The names of all files but the logs of steps."""
        return {path.name for path in (self.folder / "storage").rglob("*") if path.is_file() and path.parent.name != "logs"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def content(path: Path | str) -> bytes:
    return Path(path).read_bytes()


class Header(NamedTuple):
    crs: Any
    bounds: Any
    transform: Any
    nodata: float | None
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    descriptions: tuple[str | None, ...]


def read(dataset: DatasetReport) -> tuple[np.ndarray[Any, Any], Header]:
    """The pixels and the header of a stored layer, which must be a valid Cloud-Optimised GeoTIFF."""
    path = Path(dataset.file.uri)
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    assert path.stat().st_size == dataset.file.size
    with rasterio.open(path) as cog:
        return cog.read(1), Header(cog.crs, cog.bounds, cog.transform, cog.nodata, cog.scales, cog.offsets, cog.descriptions)


async def openeo(bench: Bench, shared_data: Path, *layers: str, **scaling: float) -> TileRef:
    """The real bands, as the downloader stores a product fetched asset by asset."""
    folder = bench.workdir()
    assets = {}
    for layer in layers:
        file = f"ref_input_S2_{layer}.tif"
        shutil.copy(shared_data / "s2_imagery" / "openeo_31U" / file, folder)
        assets[layer] = ProductAsset(file=file, href=f"https://example.com/{file}", **scaling)
    ProductManifest(source_id=S2, assets=assets).write(folder)
    tile = bench.tile(S2)
    await bench.store.save(tile, "__product__", "*", folder)
    return tile


async def test_assets_of_a_sentinel2_product(bench: Bench, shared_data: Path) -> None:
    tile = await openeo(bench, shared_data, "B02", "B04", "B8A", "B11", scale=0.0001, offset=-0.1)
    report = await bench.process("ExtractS2Assets", tile, "B02", "B8A", "B11")
    assert report.error is None
    assert [dataset.layer for dataset in report.datasets] == ["B02", "B8A", "B11"]
    assert report.files == [dataset.file for dataset in report.datasets]
    assert report.deletions == [bench.store.uri(tile, "__product__", "*")]
    assert f"{S2}.zip" in bench.stored(), "workers never delete"
    for dataset in report.datasets:
        source_path = shared_data / "s2_imagery" / "openeo_31U" / f"ref_input_S2_{dataset.layer}.tif"
        pixels, cog = read(dataset)
        with rasterio.open(source_path) as source:
            np.testing.assert_array_equal(pixels, source.read(1))
            assert (cog.crs, cog.bounds, cog.transform, cog.nodata) == (source.crs, source.bounds, source.transform, source.nodata)
        assert (cog.scales, cog.offsets, cog.descriptions) == ((0.0001,), (-0.1,), (dataset.layer,))
        assert dataset.file.uri.endswith(f"/{bench.run}/20190307_{S2}_{dataset.layer}.tif")
        assert (dataset.instance_id, dataset.tile_id, dataset.bands) == (f"instance-{dataset.layer}", 11, 1)
        assert (dataset.epsg, dataset.shape) == (32631, (1024, 512))
        assert dataset.transform == (10, 0, 655360, 0, -10, 5686280)
        assert (dataset.format.dtype, dataset.format.min_value, dataset.format.max_value) == ("uint16", 0, 10000)
        assert dataset.format.nodata == 65535, "that of the file, where the graph contradicts it"
        assert (dataset.real_min, dataset.real_max) == (pytest.approx(-0.1), pytest.approx(0.9))
        assert dataset.footprint_wkt is not None
        assert shapely.from_wkt(dataset.footprint_wkt).bounds == pytest.approx((5.218, 51.208, 5.295, 51.302), abs=0.01)


async def test_only_what_is_asked_for_is_stored(bench: Bench, shared_data: Path) -> None:
    tile = await openeo(bench, shared_data, "B02", "B04")
    report = await bench.process("ExtractS2Assets", tile, "B04")
    assert bench.stored() == {f"{S2}.zip", f"20190307_{S2}_B04.tif"}
    assert (report.datasets[0].real_min, report.datasets[0].real_max) == (0, 1)


async def test_harmonised_pixels_and_tags_mean_the_same(bench: Bench, shared_data: Path) -> None:
    tile = await openeo(bench, shared_data, "B04", scale=0.0001, offset=-0.1)
    plain = await bench.process("ExtractS2Assets", tile, "B04")
    shifted = await bench.process("ExtractS2Assets", tile, "B04", graph_config={"harmonize": "true"})
    before, _ = read(plain.datasets[0])
    after, cog = read(shifted.datasets[0])
    valid = before != 65535
    np.testing.assert_array_equal(after[valid], np.maximum(before[valid].astype(int) - 1000, 1))
    assert (after[~valid] == 65535).all()
    assert (cog.scales, cog.offsets) == ((0.0001,), (0,))
    assert (shifted.datasets[0].real_min, shifted.datasets[0].real_max) == (0, 1)


async def test_cut_to_the_area(bench: Bench, shared_data: Path) -> None:
    tile = await openeo(bench, shared_data, "B02")
    area = "POLYGON ((5.23 51.25, 5.26 51.25, 5.26 51.28, 5.23 51.25))"
    report = await bench.process("ExtractS2Assets", tile, "B02", clip_wkt=area)
    pixels, cog = read(report.datasets[0])
    with rasterio.open(shared_data / "s2_imagery" / "openeo_31U" / "ref_input_S2_B02.tif") as source:
        window = source.window(*cog.bounds)
        whole = source.read(1, window=window)
        assert (window.col_off % 1, window.row_off % 1) == (0, 0)
    assert whole.shape == pixels.shape
    assert report.datasets[0].shape == pixels.shape
    assert pixels.size < 1024 * 512 / 4
    assert 0.4 < (pixels != 65535).mean() < 0.6
    np.testing.assert_array_equal(pixels[pixels != 65535], whole[pixels != 65535])


async def test_a_payload_cannot_name_files_of_the_worker(bench: Bench, shared_data: Path) -> None:
    tile = await openeo(bench, shared_data, "B02")
    report = await bench.process("ExtractS2Assets", tile, "B02", graph_config={"clip": "/etc/passwd", "layers": "B99", "workdir": "/"})
    assert report.error is None


async def test_a_missing_band_is_fatal_and_says_what_there_is(bench: Bench, shared_data: Path) -> None:
    tile = await openeo(bench, shared_data, "B02", "B04")
    report = await bench.process("ExtractS2Assets", tile, "B02", "B10", is_retriable=True)
    assert report.error is not None
    assert report.error.kind is ErrorKind.FATAL
    assert f"{S2} has no band B10; it has B02, B04" in str(report.error)
    assert report.datasets == []
    assert report.deletions == [bench.store.uri(tile, "__product__", "*")], "the graph says so: error_condition on_fatal_failure"


async def test_data_type_and_format_must_agree(bench: Bench, shared_data: Path) -> None:
    tile = await openeo(bench, shared_data, "B02")
    report = await bench.process("ExtractS2Assets", tile, "B02", graph_config={"dformat_out": "int16,0,0,10000"})
    assert report.error is not None
    assert report.error.kind is ErrorKind.FATAL
    assert "layer B02 is uint16, but the graph says int16" in str(report.error)
    assert (report.datasets, report.deletions) == ([], [])
    report = await bench.process("ExtractS2Assets", tile, "B02", graph_config={"dformat_out": "uint16,0"})
    assert "'uint16,0' is not a format" in str(report.error)


async def test_an_escaping_manifest_is_refused(bench: Bench) -> None:
    folder = bench.workdir()
    ProductManifest(source_id=S2, assets={"B02": ProductAsset(file="../../etc/passwd", href="x")}).write(folder)
    await bench.store.save(bench.tile(S2), "__product__", "*", folder)
    report = await bench.process("ExtractS2Assets", bench.tile(S2), "B02")
    assert report.error is not None
    assert report.error.kind is ErrorKind.FATAL
    assert "outside of the product for B02" in str(report.error)


async def test_level1c_safe(bench: Bench, shared_data: Path) -> None:
    folder = bench.workdir()
    source = shared_data / "s2_imagery" / "eodag_L1C_T31TDH" / L1C
    shutil.copytree(source, folder / f"{L1C}.SAFE")
    tile = bench.tile(L1C)
    await bench.store.save(tile, "__product__", "*", folder)
    report = await bench.process("library/graph/ExtractS2Bands.json", tile, "B01")
    assert report.error is None
    pixels, cog = read(report.datasets[0])
    with rasterio.open(next(source.rglob("*_B01.jp2"))) as jp2:
        np.testing.assert_array_equal(pixels, jp2.read(1))
        assert (cog.crs, cog.bounds) == (jp2.crs, jp2.bounds)
    assert (cog.nodata, cog.scales, cog.offsets) == (0, (0.0001,), (0,))
    assert (report.datasets[0].real_min, report.datasets[0].real_max) == (0, 1)


MTD_L2A = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
 <n1:General_Info><Product_Image_Characteristics>
  <QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>
  <BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>
 </Product_Image_Characteristics></n1:General_Info>
</n1:Level-2A_User_Product>
"""


def jp2(path: Path, pixels: np.ndarray[Any, Any], resolution: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = rasterio.Affine(resolution, 0, 600_000, 0, -resolution, 5_700_000)
    settings = {"driver": "JP2OpenJPEG", "dtype": pixels.dtype, "crs": "EPSG:32631", "transform": transform, "count": 1}
    with rasterio.open(path, "w", height=pixels.shape[0], width=pixels.shape[1], QUALITY=100, REVERSIBLE="YES", **settings) as dataset:
        dataset.write(pixels, 1)


def level2a(folder: Path, metadata: str) -> dict[str, np.ndarray[Any, Any]]:
    """A small product in the layout of baseline 04.00 and later: a scene classification, and bands at several resolutions."""
    generator = np.random.default_rng(3)
    safe = folder / f"{S2}.SAFE"
    images = safe / "GRANULE" / "L2A_T31UFS_A000_20190307T105021" / "IMG_DATA"
    layers = {"SCL": generator.integers(0, 12, (600, 600)).astype("uint8")}
    for layer, resolutions in {"B02": (10, 20, 60), "B8A": (20, 60), "B01": (20, 60)}.items():
        for resolution in resolutions:
            size = 12_000 // resolution
            pixels = generator.integers(0, 9000, (size, size)).astype("uint16")
            layers.setdefault(layer, pixels)
            jp2(images / f"R{resolution}m" / f"T31UFS_20190307T105021_{layer}_{resolution}m.jp2", pixels, resolution)
    jp2(images / "R20m" / "T31UFS_20190307T105021_SCL_20m.jp2", layers["SCL"], 20)
    (safe / "MTD_MSIL2A.xml").write_text(metadata)
    return layers


async def test_level2a_safe_at_its_finest_with_its_offset(bench: Bench) -> None:
    folder = bench.workdir()
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{index}">-1000</BOA_ADD_OFFSET>' for index in range(13))
    layers = level2a(folder, MTD_L2A.format(offsets=offsets))
    tile = bench.tile(S2)
    await bench.store.save(tile, "__product__", "SAFE", folder)
    report = await bench.process("ExtractS2Bands", tile, "B01", "B02", "B8A", "SCL")
    assert report.error is None
    found = {dataset.layer: dataset for dataset in report.datasets}
    assert {layer: dataset.transform and dataset.transform[0] for layer, dataset in found.items()} == {
        "B01": 20,
        "B02": 10,
        "B8A": 20,
        "SCL": 20,
    }
    for layer, dataset in found.items():
        pixels, cog = read(dataset)
        np.testing.assert_array_equal(pixels, layers[layer])
        assert cog.nodata == 0
        assert (cog.scales, cog.offsets) == (((1,), (0,)) if layer == "SCL" else ((0.0001,), (-0.1,)))
    assert (found["B02"].real_min, found["B02"].real_max) == (pytest.approx(-0.1), pytest.approx(0.9))
    classes = found["SCL"]
    assert (classes.format.dtype, classes.format.max_value, classes.real_min, classes.real_max) == ("uint8", 11, 0, 11)
    with rasterio.open(classes.file.uri, overview_level=0) as overview:
        assert overview.read(1).max() <= 11


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("<a/>", "have no QUANTIFICATION_VALUE"),
        ("<a>", "MTD_MSIL2A.xml is not XML"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "declares entities"),
        (MTD_L2A.format(offsets='<BOA_ADD_OFFSET band_id="99">-1000</BOA_ADD_OFFSET>'), "band_id '99'"),
        (MTD_L2A.format(offsets='<BOA_ADD_OFFSET band_id="1">many</BOA_ADD_OFFSET>'), "'many', not a number"),
    ],
    ids=["empty", "cut off", "entities", "band id", "number"],
)
async def test_broken_metadata_are_fatal(bench: Bench, metadata: str, message: str) -> None:
    folder = bench.workdir()
    (folder / f"{S2}.SAFE").mkdir()
    (folder / f"{S2}.SAFE" / "MTD_MSIL2A.xml").write_text(metadata)
    await bench.store.save(bench.tile(S2), "__product__", "SAFE", folder)
    report = await bench.process("ExtractS2Bands", bench.tile(S2), "B02")
    assert report.error is not None
    assert report.error.kind is ErrorKind.FATAL
    assert message in str(report.error)


async def test_the_jpeg2000_files_as_they_are(bench: Bench, shared_data: Path) -> None:
    """The graph of the reference itself, which takes the product's own files."""
    arguments = {"workdir": {"type": "config", "value": "workdir"}, "pattern-out": {"type": "out", "layer": "*", "extension": "jp2"}}
    bench.graph(
        "Reference",
        config={"dformat_out": "uint16,NaN,0,32767"},
        processing_steps=[{"engine": "python", "command": "python/extract_s2.py", "args": arguments, "condition": "pass"}],
        in_files=[[{"layer": "__product__", "extension": "SAFE"}], [], []],
        out_files=[
            [
                {
                    "layer": "B01",
                    "extension": "jp2",
                    "dformat_out": {"type": "config", "value": "dformat_out"},
                    "ext_min_value": 0,
                    "ext_max_value": 1,
                    "action": "to_index",
                }
            ]
        ],
    )
    folder = bench.workdir()
    source = shared_data / "s2_imagery" / "eodag_L1C_T31TDH" / L1C
    shutil.copytree(source, folder / f"{L1C}.SAFE")
    await bench.store.save(bench.tile(L1C), "__product__", "SAFE", folder)
    report = await bench.process("Reference", bench.tile(L1C), "B01")
    assert report.error is None
    assert content(report.datasets[0].file.uri) == content(next(source.rglob("*_B01.jp2")))
    assert np.isnan(report.datasets[0].format.nodata)


@pytest.mark.parametrize("metadata", ["MTL.json", "MTL.xml", None])
async def test_landsat_folder(bench: Bench, shared_data: Path, metadata: str | None) -> None:
    folder = bench.workdir()
    source = shared_data / "landsat" / LANDSAT.rsplit("_", 3)[0]
    for path in source.glob("*.TIF"):
        shutil.copy(path, folder)
    if metadata:
        shutil.copy(source / f"{LANDSAT}_{metadata}", folder)
    tile = bench.tile(LANDSAT)
    await bench.store.save(tile, "__product__", "*", folder)
    report = await bench.process("library/graph/ExtractLandsatBands.json", tile, "B02", "B05", "QA_PIXEL")
    assert report.error is None
    for dataset, name in zip(report.datasets, ("SR_B2", "SR_B5", "QA_PIXEL"), strict=True):
        pixels, cog = read(dataset)
        with rasterio.open(source / f"{LANDSAT}_{name}.TIF") as original:
            np.testing.assert_array_equal(pixels, original.read(1))
            assert (cog.crs, cog.bounds) == (original.crs, original.bounds)
    blue, _, quality = report.datasets
    assert (blue.format.nodata, blue.real_min, blue.real_max) == (
        0,
        pytest.approx(1 * 2.75e-05 - 0.2),
        pytest.approx(65455 * 2.75e-05 - 0.2),
    )
    assert (quality.format.nodata, quality.real_min, quality.real_max) == (1, 0, 65535)
    report = await bench.process("ExtractLandsatBands", tile, "B08")
    assert "has no band B08; it has B02, B03, B04, B05, QA_PIXEL" in str(report.error)


async def test_landsat_assets(bench: Bench, shared_data: Path) -> None:
    folder = bench.workdir()
    source = shared_data / "landsat" / LANDSAT.rsplit("_", 3)[0]
    assets = {}
    for layer, name, scale in (("B04", "SR_B4", None), ("B03", "SR_B3", 0.5), ("QA_PIXEL", "QA_PIXEL", None)):
        shutil.copy(source / f"{LANDSAT}_{name}.TIF", folder / f"{layer}.tif")
        assets[layer] = ProductAsset(file=f"{layer}.tif", href="x", scale=scale, offset=scale)
    ProductManifest(source_id=LANDSAT, assets=assets).write(folder)
    await bench.store.save(bench.tile(LANDSAT), "__product__", "*", folder)
    report = await bench.process("ExtractLandsatBands", bench.tile(LANDSAT), "B03", "B04", "QA_PIXEL")
    assert report.error is None
    tags = [(cog.scales[0], cog.offsets[0]) for _, cog in map(read, report.datasets)]
    assert tags == [(0.5, 0.5), (2.75e-05, -0.2), (1, 0)]


async def test_three_slots_each_fetched_once(bench: Bench) -> None:
    """In files of all three tiles, their conditions, and out files that belong to other tiles than the current one."""
    current, previous = bench.tile("A", 1), bench.tile("B", 2)
    for tile in (current, previous):
        folder = bench.workdir()
        (folder / f"20190307_{tile.source_id}_pre.txt").write_text(tile.source_id)
        await bench.store.save(tile, "pre", "txt", folder)
    pre = {"layer": "pre", "extension": "txt"}
    bench.graph(
        "Slots",
        processing_steps=bench.script(
            "from pathlib import Path\n"
            "names = sorted(p.name for p in Path('.').iterdir())\n"
            "Path('20190307_A_list.txt').write_text(' '.join(names)); Path('20190307_B_more.txt').write_text('more')"
        ),
        in_files=[
            [pre, pre, {"layer": "never", "extension": "txt", "condition": "equal_T0_T1"}],
            [{**pre, "condition": "different_T0_T1"}],
            [pre, {"layer": "never", "extension": "txt", "condition": "different_T0_T2"}],
        ],
        out_files=[
            [{"layer": "list", "extension": "txt", "action": "to_create"}, {**pre, "action": "to_ignore"}],
            [{"layer": "more", "extension": "txt", "action": "to_create"}, {**pre, "action": "to_delete", "condition": "different_T0_T1"}],
            [{**pre, "action": "to_delete", "condition": "different_T0_T2"}],
        ],
    )
    report = await bench.process("Slots", current, previous=previous)
    assert report.error is None
    assert (report.files, report.deletions) == ([], [bench.store.uri(previous, "pre", "txt")])
    assert content(bench.store.uri(current, "list", "txt")) == b"20190307_A_pre.txt 20190307_B_pre.txt"
    assert content(bench.store.uri(previous, "more", "txt")) == b"more"


async def test_what_is_missing(bench: Bench) -> None:
    with pytest.raises(MissingFileError, match=rf"{S2}\.zip"):
        await bench.process("ExtractS2Bands", bench.tile(S2), "B02")
    with pytest.raises(UserError, match="is not known"):
        await bench.process("Nothing", bench.tile(S2))
    dformat = {"type": "fixed", "value": "uint8,0,0,1"}
    bench.graph("Lazy", out_files=[[{"layer": "a", "extension": "tif", "action": "to_index", "dformat_out": dformat}]])
    report = await bench.process("Lazy", bench.tile(S2), "a")
    assert "layer a was not made" in str(report.error)


async def test_not_a_raster(bench: Bench) -> None:
    dformat = {"type": "fixed", "value": "uint8,0,0,1"}
    bench.graph(
        "Liar",
        processing_steps=bench.script(f"open('20190307_{S2}_a.tif', 'w').write('no raster')"),
        out_files=[[{"layer": "a", "extension": "tif", "action": "to_index", "dformat_out": dformat}]],
    )
    report = await bench.process("Liar", bench.tile(S2), "a")
    assert report.error is not None
    assert report.error.kind is ErrorKind.FATAL
    assert "is not a raster" in str(report.error)
    assert report.files == []


def test_a_raster_without_crs_has_no_footprint(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    settings = {"driver": "GTiff", "dtype": "uint8", "count": 2, "transform": rasterio.Affine(1, 0, 5, 0, -1, 5)}
    with rasterio.open(path, "w", width=3, height=2, **settings) as dataset:
        dataset.write(np.ones((2, 2, 3), "uint8"))
    described = describe_raster(path)
    assert (described.bands, described.shape, described.epsg, described.footprint_wkt) == (2, (2, 3), None, None)
