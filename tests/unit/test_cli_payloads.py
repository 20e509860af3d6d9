"""The ready payloads: each is sound, its graphs make its layers, its variables stand in the file that README.md names."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from common.graph.library import load_graph
from common.payload import parse_payload
from thresher.variables import read_variables

PAYLOADS = Path(str(files("payloads")))
NAMES = sorted(path.name for path in PAYLOADS.glob("*.json"))
README = (PAYLOADS / "README.md").read_text(encoding="utf-8")
VARIABLES = dict(re.findall(r"^\| `(\S+\.json)` \|.*\| `(\S+\.yaml)` \|", README, re.MULTILINE))


def test_every_payload_has_its_line() -> None:
    assert sorted(VARIABLES) == NAMES
    assert {path.name for path in PAYLOADS.glob("*.yaml")} == set(VARIABLES.values())


@pytest.mark.parametrize("name", NAMES)
def test_layers_have_their_variables(name: str) -> None:
    payload = parse_payload((PAYLOADS / name).read_bytes())
    known = {
        (variable.name, instance.name)
        for variable in read_variables((PAYLOADS / VARIABLES[name]).read_text(encoding="utf-8"))
        for instance in variable.instances
    }
    assert payload.layers
    assert {(target.variable, target.instance) for target in payload.layers.values()} <= known
    assert payload.name not in {parse_payload((PAYLOADS / other).read_bytes()).name for other in NAMES if other != name}


@pytest.mark.parametrize("name", NAMES)
def test_graphs_are_there_and_make_the_layers(name: str) -> None:
    payload = parse_payload((PAYLOADS / name).read_bytes())
    load_graph(payload.scene_graph_name)
    assert set(payload.layers) <= load_graph(payload.tile_graph_name).indexed_layers


def test_no_variable_means_two_things() -> None:
    """Files applied one after the other to one service must not change each other's variables."""
    names = [variable.name for file in PAYLOADS.glob("*.yaml") for variable in read_variables(file.read_text(encoding="utf-8"))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("denmark")])
def test_denmark_means_what_people_know(name: str, shared_data: Path) -> None:
    """Where, which constellation and graphs as in the tutorial of the reference."""
    known = {
        "denmark_s1.json": "DenmarkDemoS1",
        "denmark_sentinel2.json": "DenmarkDemoS2",
        "denmark_landsat.json": "DenmarkDemoLandsat",
    }
    theirs = parse_payload((shared_data / "payloads" / f"{known[name]}.json").read_bytes())
    ours = parse_payload((PAYLOADS / name).read_bytes())
    assert ours.area.symmetric_difference(theirs.area).area < 0.01 * theirs.area.area
    for field in ("name", "start_time", "end_time", "scene_graph_name", "tile_graph_name", "graph_config", "is_retriable", "retry_count"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert ours.scene_type.constellation == theirs.scene_type.constellation
    assert theirs.scene_type.parameters.items() <= ours.scene_type.parameters.items()
    if name == "denmark_s1.json":
        assert ours.layers == theirs.layers


def test_payloads_are_strict_json() -> None:
    for name in NAMES:
        json.loads((PAYLOADS / name).read_text(encoding="utf-8"), parse_constant=lambda constant: pytest.fail(constant))
