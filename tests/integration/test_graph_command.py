"""Graphs tried out by hand: what a check finds, what an explanation tells, and a run on a product without any service."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from typer.testing import CliRunner

from processor.graphs import main
from thresher.cli.application import application

S2 = "S2A_MSIL2A_20220104T105441_N0301_R051_T31TDH_20220104T141311"
BEFORE = "S2A_MSIL2A_20211225T105441_N0301_R051_T31TDH_20211225T141311"

DOUBLE = """
import argparse
import rasterio
parser = argparse.ArgumentParser()
for name in ("red", "out", "factor", "before", "layers"):
    parser.add_argument(f"--{name}")
options = parser.parse_args()
print("doubling", options.red)
with rasterio.open(options.red) as source:
    profile, pixels = source.profile, source.read()
with rasterio.open(options.out, "w", **profile) as target:
    target.write(pixels * int(options.factor))
open(options.out.replace("double", "notes").replace(".tif", ".txt"), "w").write(options.before)
"""

GRAPH: dict[str, Any] = {
    "config": {"dformat_out": "uint16,0,0,1000"},
    "processing_steps": [
        {
            "engine": "python",
            "command": "python/double.py",
            "args": {
                "red": {"type": "in", "layer": "red", "extension": "tif"},
                "before": {"type": "in", "tile_index": 1, "layer": "double", "extension": "tif"},
                "out": {"type": "out", "layer": "double", "extension": "tif"},
                "factor": {"type": "config", "value": "factor"},
                "layers": {"type": "config", "value": "layers"},
            },
        },
        {"engine": "cmd", "command": "python/never.py", "condition": "different_T1_T2"},
    ],
    "in_files": [[{"layer": "red", "extension": "tif"}], [{"layer": "double", "extension": "tif", "condition": "different_T0_T1"}]],
    "out_files": [
        [
            {
                "layer": "double",
                "extension": "tif",
                "action": "to_index",
                "dformat_out": {"type": "config", "value": "dformat_out"},
            },
            {"layer": "notes", "extension": "txt", "action": "to_create", "condition": "file_exists"},
            {
                "layer": "red",
                "extension": "tif",
                "action": "to_delete",
                "condition": "different_T0_T1",
                "error_condition": "on_fatal_failure",
            },
        ]
    ],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as people keep graphs: documents in one folder, scripts beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "library").mkdir()
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "double.py").write_text(DOUBLE)
    never = tmp_path / "python" / "never.py"
    never.write_text("#!/bin/sh\nexit 9\n")
    never.chmod(0o755)
    write(tmp_path)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "width": 4, "height": 3, "crs": 32631, "nodata": 0}
    with rasterio.open(tmp_path / "red.tif", "w", **profile, transform=from_origin(0, 30, 10, 10)) as raster:
        raster.write(np.arange(12, dtype="uint16").reshape(1, 3, 4))
    return tmp_path


def write(place: Path, **changes: Any) -> None:
    (place / "library" / "Double.json").write_text(json.dumps({**GRAPH, **changes}))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], list[str]]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_check_tells_what_runs_where(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, told = said(capsys, "check", "library/Double.json")
    assert (code, out) == (0, ["Double: 2 steps for workers that serve cmd-python; layers it can index: double"])
    assert told == ["note: step 1 (python/double.py) takes the setting 'factor', which has no default: payloads must give it"]


def test_check_names_what_is_wrong(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [*GRAPH["processing_steps"], {"engine": "python", "command": "gone.py"}, {"engine": "snap", "command": "x.xml"}]
    write(place, processing_steps=steps)
    code, out, told = said(capsys, "check", "library/Double.json")
    assert (code, out) == (2, [])
    assert [line.split(" is not in ")[0] for line in told if line.startswith("error")] == [
        "error: step 3 (gone.py): graph 'Double', step 3: command gone.py of engine 'python'",
        "error: step 4 (x.xml): graph 'Double', step 4: command x.xml of engine 'snap'",
    ]
    write(place, in_files=[[{"layer": "../red", "extension": "tif"}]])
    code, _, told = said(capsys, "check", "library/Double.json")
    assert code == 2
    assert told == ["error: graph 'Double'.in_files.0.0.layer: '../red' is not a name for a layer (letters, digits and _ . -)"]
    assert said(capsys, "check", "library/Nothing.json")[0] == 2


def test_explain_prints_commands_and_runs_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(
        capsys,
        "explain",
        "library/Double.json",
        f"--scene={S2}",
        "--tile=T1",
        f"--previous={BEFORE}",
        "--set=factor=2; rm x",
        "--layers=double",
    )
    assert code == 0
    script = place / "python" / "double.py"
    assert out[:4] == [
        "graph Double, for workers that serve cmd-python",
        f"tile T1 of {S2}, 2022-01-04",
        f"previous: {BEFORE}",
        "reference: none, the tile itself counts",
    ]
    assert {"  fetch 20220104_T1_red.tif (T0)", "  fetch 20211225_T1_double.tif (T1)"} <= set(out)
    assert (
        f"  1 python: python {script} --red=20220104_T1_red.tif --before=20211225_T1_double.tif --out=20220104_T1_double.tif"
        " '--factor=2; rm x' --layers=double"
    ) in out
    assert f"  2 cmd: {place / 'python' / 'never.py'}" in out, "T1 is another scene than T2, which is T0"
    ended = out.index("out files when all steps have ended well:")
    assert out[ended + 1 : ended + 4] == [
        "  store and index 20220104_T1_double.tif (T0) as uint16,0,0,1000",
        "  store 20220104_T1_notes.txt (T0), if it is there",
        "  delete 20220104_T1_red.tif (T0)",
    ]
    assert out[-2:] == ["out files when a step has failed for good:", "  delete 20220104_T1_red.tif (T0)"]
    assert sorted(path.name for path in place.iterdir()) == ["library", "python", "red.tif"]
    code, out, _ = said(capsys, "explain", "library/Double.json")
    assert "  1 python: cannot run: graph 'Double', step 1: argument 'factor' of python/double.py: 'factor' is not in the " in "\n".join(
        out
    )
    assert "  2 cmd: python/never.py: not now, different_T1_T2 does not hold" in out


def test_run_leaves_layers_and_log(place: Path) -> None:
    """As people call it: the command line, with a process of its own behind it."""
    arguments = ["run", "library/Double.json", "--input", "red=red.tif", "--set", "factor=2", "--scene", S2, "--tile", "T1", "--out", "out"]
    done = subprocess.run(
        [sys.executable, "-m", "thresher.cli", "graph", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "out/20220104_T1_double.tif (double: uint16, no data 0, 0..1000, 3 x 4)",
        "out/20220104_T1_notes.txt",
    ]
    with rasterio.open(place / "out" / "20220104_T1_double.tif") as made:
        np.testing.assert_array_equal(made.read(1), 2 * np.arange(12).reshape(3, 4))
    assert "doubling 20220104_T1_red.tif" in (place / "out" / "steps.log").read_text()
    assert sorted(path.name for path in (place / "out").iterdir()) == ["20220104_T1_double.tif", "20220104_T1_notes.txt", "steps.log"]
    assert (place / "red.tif").exists()


def test_run_says_what_failed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["run", "library/Double.json", f"--scene={S2}", "--tile=T1", "--out=out"]
    code, _, told = said(capsys, *common, "--set=factor=2")
    assert (code, told) == (2, ["error: graph 'Double' needs layer 'red' of tile T0: give it with --input red=PATH"])
    code, out, told = said(capsys, *common, "--input=red=red.tif", "--set=factor=x")
    assert (code, out) == (1, [])
    assert told[0].startswith("error: step 1 (python/double.py) failed with exit code 1: ")
    assert "ValueError: invalid literal for int() with base 10: 'x'" in told[0]
    assert "exit code 1" in (place / "out" / "steps.log").read_text()
    code, _, told = said(capsys, *common, "--input=red=red.tif", "--set=factor=2", f"--previous={BEFORE}", "--input=double@1=red.tif")
    assert (code, told[0].split(":")[1]) == (1, " step 2 (python/never.py) failed with exit code 9")


@pytest.mark.parametrize("shape", ["folder", "bare folder", "zip", "bare zip", "assets"])
@pytest.mark.parametrize("extension", ["SAFE", "*", None])
def test_products_lie_where_graphs_look_for_them(
    place: Path, capsys: pytest.CaptureFixture[str], shape: str, extension: str | None
) -> None:
    """As the downloader and the storage would leave them; without an in file, as a scene graph finds them."""
    (place / "look.py").write_text(
        "import os\nfor folder, _, files in os.walk('.'):\n    for file in files: print('found', os.path.join(folder, file))\n"
    )
    graph = {
        "processing_steps": [{"engine": "python", "command": "look.py"}],
        "in_files": [[{"layer": "__product__", "extension": extension}]] if extension else [],
    }
    (place / "Look.json").write_text(json.dumps(graph))
    inside = "product.json" if shape == "assets" else "manifest.safe"
    folder = place / {"folder": f"{S2}.SAFE", "bare folder": "download"}.get(shape, S2)
    folder.mkdir()
    (folder / inside).write_text("{}")
    product = folder
    if "zip" in shape:
        product = place / f"{S2}.zip"
        with zipfile.ZipFile(product, "w") as archive:
            archive.write(folder / inside, inside if shape == "bare zip" else f"{S2}.SAFE/{inside}")
    code, _, told = said(capsys, "run", "Look.json", f"--product={product}", f"--scene={S2}", "--out=out")
    if (shape, extension) == ("assets", "SAFE"):
        assert (code, told) == (2, [f"error: {product}: there is no {S2}.SAFE in it"])
        return
    assert code == 0, told
    (found,) = (line for line in (place / "out" / "steps.log").read_text().splitlines() if line.startswith("found"))
    below = {"SAFE": f"{S2}.SAFE/", "*": f"{S2}/", None: ""}[extension]
    safe = "" if shape == "assets" or extension == "SAFE" else f"{S2}.SAFE/"
    assert found == f"found ./{below}{safe}{inside}"
    assert product.exists()


def test_help_of_the_commands() -> None:
    for action in ("check", "explain", "run"):
        result = CliRunner().invoke(application, ["graph", action, "--help"])
        assert result.exit_code == 0
        assert "FILE" in result.stdout
