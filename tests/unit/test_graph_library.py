"""Graphs by name: spelled as in the payloads of the reference, found in folders and in the program, never outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import UserError
from common.graph import known_graphs, load_graph

SHIPPED = ["CopyProductToStorage", "ExtractLandsatBands", "ExtractS2Assets", "ExtractS2Bands", "Pass"]


@pytest.mark.parametrize(
    "name", ["library/graph/ExtractS2Bands.json", "library/ExtractS2Bands.json", "ExtractS2Bands.json", "ExtractS2Bands"]
)
def test_spellings(name: str) -> None:
    assert load_graph(name).name == "ExtractS2Bands"


def test_shipped() -> None:
    assert set(SHIPPED) <= set(known_graphs())
    graphs = {name: load_graph(name) for name in SHIPPED}
    assert graphs["Pass"].capability == "python"
    assert graphs["Pass"].indexed_layers == frozenset()
    assert graphs["ExtractS2Bands"].engines == {"python"}
    assert {"B01", "B8A", "B12", "SCL"} <= graphs["ExtractS2Bands"].indexed_layers
    assert {"B01", "B11", "QA_PIXEL"} <= graphs["ExtractLandsatBands"].indexed_layers


def test_folders_come_first_and_defaults_are_not_shared(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "Pass.json").write_text('{"config": {"a": "1"}}')
    (tmp_path / "sub" / "Mine.json").write_text("{}")
    graph = load_graph("Pass", [tmp_path])
    graph.config["a"] = "2"
    assert load_graph("Pass", [tmp_path]).config == {"a": "1"}
    assert load_graph("Pass").config == {}
    assert load_graph("library/sub/Mine.json", [tmp_path]).name == "sub/Mine"
    assert "sub/Mine" in known_graphs([tmp_path])


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    for value in ("1", "2"):
        (tmp_path / "G.json").write_text(json.dumps({"config": {"a": value}}))
        assert load_graph("G", [tmp_path]).config == {"a": value}


def test_unknown_lists_the_known() -> None:
    with pytest.raises(
        UserError, match=r"'ExtractS2Band' is not known; did you mean 'ExtractS2Bands'\? known are: .*CopyProductToStorage, "
    ):
        load_graph("ExtractS2Band")


@pytest.mark.parametrize(
    ("engines", "memory_class", "capability"),
    [
        ([], "", "python"),
        (["python"], "", "python"),
        (["cmd"], "", "cmd"),
        (["python", "cmd", "python"], "", "cmd-python"),
        (["snap", "python"], "", "python-snap"),
        (["docker"], "large", "docker_large"),
        ([], "large", "python_large"),
    ],
)
def test_capability(tmp_path: Path, engines: list[str], memory_class: str, capability: str) -> None:
    steps = [{"engine": engine, "command": "a.py"} for engine in engines]
    (tmp_path / "G.json").write_text(json.dumps({"processing_steps": steps, "memory_class": memory_class}))
    assert load_graph("G", [tmp_path]).capability == capability


@pytest.mark.parametrize(
    "name", ["", "../secret", "a/../../secret", "/etc/hostname", "https://example.com/g.json", "s3://b/g", "a\x00", "x" * 300]
)
def test_outside_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.json").write_text("{}")
    folder = tmp_path / "graphs"
    (folder / "a").mkdir(parents=True)
    with pytest.raises(UserError, match="is not the name of a graph"):
        load_graph(name, [folder])


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    folder = tmp_path / "graphs"
    folder.mkdir()
    (folder / "out.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(UserError, match="is not known"):
        load_graph("out", [folder])


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "G.json").write_text(" " * (10 * 2**20))
    with pytest.raises(UserError, match="larger than 1 MB"):
        load_graph("G", [tmp_path])
