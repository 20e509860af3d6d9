"""Graphs as people have them from the reference, run as they are: a Sentinel-1 series through SNAP, for which a program stands in, and the
two graphs of Pléiades.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from common.config import GraphSettings, Settings
from common.graph import GraphTiles, StepPool, Surroundings, load_graph, run_graph
from common.graph.document import Action
from common.layers import LayerStore, open_layer_store
from common.messages import SceneRef, TileJob, TileRef
from common.work import JobContext, WorkReport
from processor.work import process_tile

GPT = """#!/usr/bin/env -S python3
import json, pathlib, sys
values = dict(a[2:].split("=", 1) for a in sys.argv if a.startswith("-P"))
for name in ("input", "master", "slave"):
    if name in values and not pathlib.Path(values[name]).with_suffix(".data").is_dir():
        sys.exit(f"Error: {values[name]} is not there")
for name, value in values.items():
    if name.startswith("output") and value.endswith(".tif"):
        pathlib.Path(value).write_bytes(pathlib.Path(sys.argv[0]).with_name("pixels.tif").read_bytes())
    elif name == "output":
        pathlib.Path(value).write_text(values.get("input") or values["slave"])
        pathlib.Path(value).with_suffix(".data").mkdir(exist_ok=True)
with pathlib.Path(sys.argv[0]).with_name("calls").open("a") as calls:
    calls.write(json.dumps([pathlib.Path(sys.argv[1]).name, values]) + "\\n")
"""


def arg(kind: str, *values: Any) -> dict[str, Any]:
    keys = {"in": ("tile_index", "layer", "extension"), "out": ("layer", "extension")}.get(kind, ("value",))
    return {"type": kind, **dict(zip(keys, values, strict=True))}


def snap(xml: str, condition: str = "pass", **args: dict[str, Any]) -> dict[str, Any]:
    return {"engine": "snap", "command": f"snap/{xml}.xml", "args": args, "condition": condition}


def script(engine: str, name: str, layer: str, condition: str = "pass", **args: dict[str, Any]) -> dict[str, Any]:
    files = {"file-in": arg("out", layer, "tif"), "file-out": arg("out", layer, "tif")}
    named = {key.replace("_", "-"): value for key, value in args.items()}
    return {"engine": engine, "command": f"python/{name}.py", "args": {**files, **named}, "condition": condition}


def finished(layer: str, condition: str) -> list[dict[str, Any]]:
    """The reference runs its own scripts by both engines."""
    return [
        script("python", "erodeMask", layer, condition, no_data=arg("fixed", "0"), iterations=arg("config", "erode_iterations")),
        script("cmd", "convert", layer, condition, range_in=arg("fixed", "0,1"), dformat_out=arg("config", "dformat_out")),
    ]


def indexed(layer: str, condition: str) -> dict[str, Any]:
    real = {"ext_min_value": 0, "ext_max_value": 1, "dformat_out": arg("config", "dformat_out")}
    return {"layer": layer, "extension": "tif", "action": "to_index", "condition": condition, **real}


AGAIN, LATER = "different_T0_T1", "different_T1_T2"
SERIES = {
    "config": {"snap_cpu_parallelism": "1", "erode_iterations": "2", "dformat_out": "float32,0,0,1", "dem_name": "SRTM 3Sec"},
    "processing_steps": [
        snap(
            "coregister",
            master=arg("in", 2, "preprocessed", "dim"),
            slave=arg("in", 0, "preprocessed", "dim"),
            output=arg("out", "coregistred", "dim"),
            dem_name=arg("config", "dem_name"),
        ),
        snap("extract", AGAIN, input=arg("in", 0, "coregistred", "dim"), output=arg("out", "coregextract", "dim")),
        snap(
            "backscatter", input=arg("in", 0, "coregistred", "dim"), outputVV=arg("out", "sigma0_VV", "tif"), img_suffix=arg("tile", "date")
        ),
        *finished("sigma0_VV", "pass"),
        snap(
            "coregister",
            LATER,
            master=arg("in", 0, "coregextract", "dim"),
            slave=arg("in", 1, "coregextract", "dim"),
            output=arg("out", "coregistred", "dim"),
        ),
        snap(
            "coherence",
            AGAIN,
            input=arg("in", 0, "coregistred", "dim"),
            outputVV=arg("out", "coh_VV", "tif"),
            sel_date=arg("tile", "cohdate"),
        ),
        *finished("coh_VV", AGAIN),
    ],
    "in_files": [
        [{"layer": "preprocessed", "extension": "dim"}],
        [{"layer": "coregextract", "extension": "dim", "condition": LATER}],
        [{"layer": "preprocessed", "extension": "dim", "condition": "different_T0_T2"}],
    ],
    "out_files": [
        [
            indexed("sigma0_VV", "pass"),
            indexed("coh_VV", AGAIN),
            {"layer": "coregextract", "extension": "dim", "action": "to_create", "condition": "file_exists"},
            {"layer": "preprocessed", "extension": "dim", "action": "to_delete", "condition": AGAIN, "error_condition": "on_fatal_failure"},
        ],
        [{"layer": "coregextract", "extension": "dim", "action": "to_delete", "condition": LATER}],
        [],
    ],
}


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder, self.graphs = folder, folder / "graphs"
        (self.graphs / "snap").mkdir(parents=True)
        for name in ("coregister", "extract", "backscatter", "coherence"):
            (self.graphs / "snap" / f"{name}.xml").write_text("<graph/>")
        (self.graphs / "Series.json").write_text(json.dumps(SERIES))
        gpt = folder / "gpt"
        gpt.write_text(GPT)
        gpt.chmod(0o755)
        pixels = np.full((1, 40, 60), 0.5, "float32")
        pixels[0, :, :10] = 0
        profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "width": 60, "height": 40, "crs": 4326, "nodata": 0}
        with rasterio.open(folder / "pixels.tif", "w", **profile, transform=from_origin(10, 50, 0.001, 0.001)) as raster:
            raster.write(pixels)
        graphs = GraphSettings(folders=[self.graphs], snap_path=gpt)
        self.settings = Settings(storage=str(folder / "store"), graphs=graphs)
        self.store: LayerStore = open_layer_store("", self.settings)

    def tile(self, day: int) -> TileRef:
        scene = SceneRef(id=day, source_id=f"S1A_IW_SLC__1SDV_202201{day:02d}", aoi="a", date=datetime(2022, 1, day, tzinfo=UTC))
        return TileRef(id=day, source_id="A44_IW1_8951", scene=scene)

    async def keep(self, tile: TileRef, layer: str) -> None:
        """Store a DIMAP layer as an earlier graph would have."""
        folder = self.folder / uuid.uuid4().hex
        name = f"{tile.scene.date:%Y%m%d}_{tile.source_id}_{layer}"
        (folder / f"{name}.data").mkdir(parents=True)
        (folder / f"{name}.dim").write_text(layer)
        (folder / f"{name}.data" / "i.img").write_text("pixels")
        await self.store.save(tile, layer, "dim", folder)

    async def process(self, pool: StepPool, tile: TileRef, previous: TileRef | None, reference: TileRef | None, *layers: str) -> WorkReport:
        instances = {layer: f"instance-{layer}" for layer in layers}
        config = {"dformat_out": "int16,-32768,0,1000"}
        job = TileJob(
            job=uuid.uuid4(),
            send=1,
            graph_name="library/Series.json",
            graph_config=config,
            tile=tile,
            previous=previous,
            reference=reference,
            instances=instances,
        )
        workdir = self.folder / uuid.uuid4().hex
        workdir.mkdir()
        return await process_tile(job, JobContext(self.settings, workdir, uuid.uuid4(), lambda *_: None), pool)

    def calls(self) -> list[tuple[str, dict[str, str]]]:
        lines = (self.folder / "calls").read_text().splitlines()
        (self.folder / "calls").unlink()
        return [tuple(json.loads(line)) for line in lines]  # type: ignore[misc]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_radar_series(bench: Bench) -> None:
    first, second, third = (bench.tile(day) for day in (4, 16, 28))
    for tile in (first, second, third):
        await bench.keep(tile, "preprocessed")

    async with StepPool(["processor.steps"], Surroundings.of(bench.settings).environment()) as pool:
        report = await bench.process(pool, first, None, None, "sigma0_VV", "coh_VV")
        assert report.error is None, report.error
        assert [dataset.layer for dataset in report.datasets] == ["sigma0_VV"]
        assert [name for name, _ in bench.calls()] == ["coregister.xml", "backscatter.xml"]
        assert report.deletions == []

        report = await bench.process(pool, second, first, first, "sigma0_VV", "coh_VV")
        assert report.error is None, report.error
        calls = bench.calls()
        assert [name for name, _ in calls] == ["coregister.xml", "extract.xml", "backscatter.xml", "coherence.xml"]
        assert calls[3][1]["sel_date"] == "16Jan2022", "previous and reference are one scene"
        assert report.deletions == [bench.store.uri(second, "preprocessed", "dim")]

        report = await bench.process(pool, third, second, first, "sigma0_VV", "coh_VV")
        assert report.error is None, report.error
        calls = bench.calls()
        assert [name for name, _ in calls] == ["coregister.xml", "extract.xml", "backscatter.xml", "coregister.xml", "coherence.xml"]
        assert calls[0][1] == {
            "master": "20220104_A44_IW1_8951_preprocessed.dim",
            "slave": "20220128_A44_IW1_8951_preprocessed.dim",
            "output": "20220128_A44_IW1_8951_coregistred.dim",
            "dem_name": "SRTM 3Sec",
        }
        assert calls[3][1]["slave"] == "20220116_A44_IW1_8951_coregextract.dim", "which the second tile had left"
        assert (calls[2][1]["img_suffix"], calls[4][1]["sel_date"]) == ("28Jan2022", "04Jan2022")
        assert report.deletions == [bench.store.uri(third, "preprocessed", "dim"), bench.store.uri(second, "coregextract", "dim")]
        for dataset in report.datasets:
            assert (dataset.format.dtype, dataset.format.nodata, dataset.format.max_value) == ("int16", -32768, 1000)
            assert (dataset.real_min, dataset.real_max) == (0, 1)
            with rasterio.open(dataset.file.uri) as raster:
                pixels = raster.read(1)
            assert set(np.unique(pixels)) == {-32768, 500}
            assert (pixels == 500).sum() < 40 * 50, "its edge was eroded"


async def test_the_graphs_of_pleiades(bench: Bench) -> None:
    """With a script of one's own in the place of the one that comes along."""
    (bench.graphs / "python").mkdir()
    (bench.graphs / "python" / "extract_dimap.py").write_text(
        "import sys\nvalues = dict(a[2:].split('=', 1) for a in sys.argv[1:])\nprint(values['constellation'])\n"
        "for name in ('file-ms-out', 'file-pan-out'): open(values[name], 'w').write(values['workdir'])\n"
    )
    scene = SceneRef(id=1, source_id="DS_PHR1A_202201041052297_FR1_PX_E001N43_0612_06488", aoi="a", date=datetime(2022, 1, 4, tzinfo=UTC))
    tiles = GraphTiles(TileRef(id=1, source_id=scene.source_id, scene=scene))
    workdir = bench.folder / "work"
    workdir.mkdir()
    around = Surroundings.of(bench.settings, "downloader.steps", "processor.steps")
    outcome = await run_graph(
        load_graph("PhrPreProcessing", [bench.graphs]),
        config={},
        tiles=tiles,
        workdir=workdir,
        is_retriable=True,
        progress=lambda *_: None,
        around=around,
    )
    assert (outcome.error, outcome.log) == (None, ["PHR"])
    made = [f"20220104_{scene.source_id}_{layer}.tif" for layer in ("MS", "P")]
    assert sorted(path.name for path in workdir.iterdir()) == made
    assert [handled.file.layer for handled in outcome.with_action(Action.CREATE)] == ["MS", "P"]
    graph = load_graph("library/PhrProcessing.json")
    assert [file.layer for file in graph.document.in_files[0]] == ["MS", "P"]
    assert [(file.layer, file.nbands) for file in graph.document.out_files[0]] == [("MS", 4), ("P", 1)]
