"""`thresher demo` and the commands against a whole stack, as a person uses them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.windows import Window, from_bounds

from thresher.demo.kinds import configuration
from thresher.demo.region import make_region
from thresher.demo.server import FolderServer
from thresher.demo.stack import DemoStack, remove_data
from thresher.notebook import Session

ROOT = Path(__file__).resolve().parents[2]
PAYLOAD = ROOT / "payloads" / "demo_sentinel2.json"
VARIABLES = ROOT / "payloads" / "sentinel2.variables.yaml"
LAYERS = ("B02", "B03", "B04", "B08", "SCL")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "thresher.cli", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("THRESHER_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def processes_naming(text: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(text) in line:
            found.append(line)
    return found


def storage_files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "stack" / "storage").rglob("*.tif")}


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    """A folder to keep a demonstration in; also what PostgreSQL had to put elsewhere is removed."""
    folder = tmp_path / "kept here"
    yield folder
    remove_data(folder / "stack")


def test_demo_end_to_end_and_again(kept: Path, tmp_path: Path) -> None:
    """Everything is indexed, the picture is drawn, nothing stays running; a second run in the same folder makes nothing new."""
    for run in range(2):
        done = subprocess.run(command("demo", "--keep", kept), cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^8 products +40 datasets +[\d.]+ MB$", done.stdout, re.MULTILINE), done.stdout
        assert ("nothing new" in done.stdout) is (run == 1)
        with Image.open(kept / "contact_sheet.png") as sheet:
            # 4 columns and 2 rows of pictures, not empty paper.
            assert sheet.width > 4 * 320
            assert sheet.height > 2 * 320
            assert len(sheet.convert("RGB").getcolors(1 << 24) or []) > 10_000
        if run == 0:
            files = storage_files(kept)
    assert storage_files(kept) == files
    assert len(files) >= 40
    assert processes_naming(kept) == []


def test_demo_in_a_temporary_folder_leaves_only_the_sheet_when_interrupted(tmp_path: Path) -> None:
    """Ctrl-C while it works: a non-zero end, no process and no folder left."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    demo = subprocess.Popen(
        command("demo"), cwd=tmp_path, env=environment(TMPDIR=str(temporary)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert demo.stdout is not None
        assert any("in progress" in line for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        output, errors = demo.communicate(timeout=120)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode not in (0, -signal.SIGINT), output
    assert "Traceback" not in errors
    assert list(temporary.iterdir()) == []
    assert processes_naming(temporary) == []


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that points the commands at a stack whose only catalogue is the simulated region."""
    folder = tmp_path_factory.mktemp("stack")
    region = make_region(folder / "region")
    with FolderServer(region.folder) as server:
        (folder / "thresher.toml").write_text(configuration(server.url))
        with DemoStack(folder, folder / "data", folder / "thresher.toml") as running:
            yield environment(THRESHER_URL=running.url(), REGION=str(region.folder))
    remove_data(folder / "data")


def thresher(stack: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=stack, capture_output=True, text=True, timeout=120)


def test_review_submit_and_look_after_an_area(stack: dict[str, str], tmp_path: Path) -> None:
    found = thresher(stack, "scenes", PAYLOAD, "-o", tmp_path / "scenes.json")
    assert found.returncode == 0, found.stderr
    last = found.stdout.splitlines()[-1]
    # Both tiles together cover the whole area, and every file's size is known.
    assert re.fullmatch(r"8 scenes +[\d.]+ MB +100\.0", last), last

    refused = thresher(stack, "submit", PAYLOAD)
    assert refused.returncode == 2
    assert "layers.B02" in refused.stderr
    assert thresher(stack, "status").stdout.split() == ["area", "status"]

    assert thresher(stack, "variables", "apply", VARIABLES).stdout == "14 variables applied, 14 of them new\n"
    assert thresher(stack, "variables", "apply", VARIABLES).stdout == "14 variables applied, 0 of them new\n"
    assert "l2a" in thresher(stack, "variables", "list").stdout

    # A person keeps the two scenes of May.
    document = json.loads((tmp_path / "scenes.json").read_text())
    document["features"] = [feature for feature in document["features"] if "_20240514" in feature["properties"]["source_id"]]
    (tmp_path / "scenes.json").write_text(json.dumps(document))
    tiles = thresher(
        stack, "tiles", PAYLOAD, "--scenes", tmp_path / "scenes.json", "-o", tmp_path / "tiles.json", "--map", tmp_path / "map.png"
    )
    assert "2 tiles" in tiles.stdout, tiles.stderr
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")

    done = thresher(stack, "submit", PAYLOAD, "--tiles", tmp_path / "tiles.json", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "scenes 2/2  tiles 2/2"
    assert re.search(r"^tiles +0 +0 +2 +0 +0 +2$", thresher(stack, "status", "Demo").stdout, re.MULTILINE)
    assert thresher(stack, "retry", "Demo").stdout == "nothing to retry in this area\n"

    with Session(stack["THRESHER_URL"]) as session:
        datasets = session.datasets(aoi="Demo")
        assert len(session.records()) == 2
    assert sorted(dataset.variable for dataset in datasets) == sorted(LAYERS * 2)
    for dataset in datasets:
        check_pixels(Path(dataset.uri.removeprefix("file://")), Path(stack["REGION"]), dataset.record.name, dataset.variable)
        if dataset.variable != "SCL":
            # reflectance = number * 0.0001 - 0.1
            scale = (dataset.real_max - dataset.real_min) / (dataset.max_value - dataset.min_value)
            assert scale == pytest.approx(0.0001)
            assert dataset.real_min - scale * dataset.min_value == pytest.approx(-0.1)


def check_pixels(layer: Path, region: Path, product: str, variable: str) -> None:
    """The layer holds the pixels of the source, cut to the area, outside of it no data."""
    (source,) = region.glob(f"*/{product}/{variable}.tif")
    with rasterio.open(layer) as ours, rasterio.open(source) as theirs:
        assert (ours.crs, ours.nodata, ours.dtypes, ours.res) == (theirs.crs, theirs.nodata, theirs.dtypes, theirs.res)
        window: Window = from_bounds(*ours.bounds, transform=theirs.transform).round_offsets().round_lengths()
        cut: np.ndarray[Any, Any] = ours.read(1)
        whole: np.ndarray[Any, Any] = theirs.read(1, window=window)
    inside = cut != 0
    assert 0.5 < inside.mean() < 1
    assert np.array_equal(cut[inside], whole[inside])
