"""Graph documents: every field of the reference is read, and hostile ones are refused with a message that names the place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import UserError
from common.graph.document import Action, Condition, ConfigArg, parse_graph


def document(**changes: Any) -> dict[str, Any]:
    return {
        "config": {"dformat_out": "float32,0,0,1"},
        "processing_steps": [
            {
                "engine": "snap",
                "command": "snap/S1_SLC_BkG.xml",
                "args": {"slave": {"type": "in", "tile_index": 1, "layer": "preprocessed", "extension": "dim"}},
                "condition": "different_T0_T1",
            },
        ],
        "in_files": [[{"layer": "preprocessed", "extension": "dim"}], [], []],
        "out_files": [
            [
                {"layer": "sigma0_VV", "extension": "tif", "action": "to_index", "dformat_out": {"type": "config", "value": "dformat_out"}},
                {"layer": "old", "extension": "dim", "action": "to_delete", "error_condition": "on_fatal_failure", "condition": ""},
            ]
        ],
        **changes,
    }


def out_file(**changes: Any) -> dict[str, Any]:
    return document(out_files=[[{"layer": "a", "extension": "tif", "action": "to_create", **changes}]])


def step(**changes: Any) -> dict[str, Any]:
    return document(processing_steps=[{"engine": "python", "command": "python/a.py", **changes}])


def test_fields_and_defaults() -> None:
    graph = parse_graph(json.dumps(document()), "G")
    indexed, deleted = graph.out_files[0]
    assert graph.processing_steps[0].condition is Condition.DIFFERENT_T0_T1
    assert (indexed.condition, indexed.exponent, indexed.nbands, indexed.dformat_out) == (
        Condition.PASS,
        1.0,
        1,
        ConfigArg(type="config", value="dformat_out"),
    )
    assert (deleted.action, deleted.condition, deleted.error_condition) == (Action.DELETE, Condition.PASS, Condition.ON_FATAL_FAILURE)


def test_nothing_is_an_empty_graph() -> None:
    graph = parse_graph('{"config": null, "processing_steps": null, "in_files": [null, []], "out_files": null, "comment": "x"}', "G")
    assert (graph.config, graph.processing_steps, graph.in_files, graph.out_files) == ({}, [], [[], []], [])


def test_own_format_with_not_a_number() -> None:
    graph = parse_graph(json.dumps(out_file(action="to_index", datatype="Byte", nodata=float("nan"), min_value=0, max_value=9)), "G")
    pixels = graph.out_files[0][0].own_format()
    assert (pixels.dtype, pixels.max_value) == ("uint8", 9)
    assert pixels.nodata != pixels.nodata


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (out_file(layer="../../etc/passwd"), r"graph 'G'\.out_files\.0\.0\.layer: '../../etc/passwd' is not a name for a layer"),
        (out_file(layer="a/b"), r"out_files\.0\.0\.layer"),
        (out_file(layer=".hidden"), r"out_files\.0\.0\.layer"),
        (out_file(layer="*"), r"out_files\.0\.0\.layer"),
        (out_file(layer="a\x00b"), r"out_files\.0\.0\.layer"),
        (out_file(extension="/../x"), r"out_files\.0\.0\.extension"),
        (out_file(extension="a..b"), r"out_files\.0\.0\.extension"),
        (out_file(extension="tif\n"), r"out_files\.0\.0\.extension"),
        (out_file(action="to_explode"), r"out_files\.0\.0\.action"),
        (out_file(condition="maybe"), r"out_files\.0\.0\.condition.*file_exists"),
        (out_file(action="to_index"), r"out_files\.0\.0.*'dformat_out' or 'datatype'"),
        (out_file(action="to_index", dformat_out={"type": "fixed", "value": "uint16,0,0"}), r"out_files\.0\.0.*dtype,nodata,min,max"),
        (out_file(action="to_index", dformat_out={"type": "fixed", "value": "uint17,0,0,1"}), r"out_files\.0\.0.*uint17"),
        (out_file(action="to_index", dformat_out={"type": "tile", "value": "date"}), r"out_files\.0\.0\.dformat_out"),
        (out_file(action="to_index", datatype="u2", min_value=5, max_value=5), r"out_files\.0\.0.*5\.\.5"),
        (out_file(nbands=0), r"out_files\.0\.0\.nbands"),
        (document(config={"dformat_out": "u2,0,0,x"}), r"out_files\.0\.0 takes config\.dformat_out: max 'x'"),
        (document(config={"a": 3}), r"config\.a"),
        (document(in_files=[[{"layer": "a/../b", "extension": "tif"}]]), r"in_files\.0\.0\.layer"),
        (document(in_files=[[], [], [], []]), r"in_files"),
        (document(out_files=[[], [], [], []]), r"out_files"),
        (step(engine="bash"), r"processing_steps\.0\.engine"),
        (step(command="/bin/sh"), r"processing_steps\.0: command '/bin/sh' must be a path relative"),
        (step(command="python/../../../bin/sh"), r"processing_steps\.0: command"),
        (step(command="https://example.com/a.py"), r"processing_steps\.0: command"),
        (step(command="a.py; rm -rf x"), r"processing_steps\.0: command"),
        (step(command="-c"), r"processing_steps\.0: command"),
        (step(engine="docker", command="../image"), r"processing_steps\.0: command"),
        (step(condition="on_failure"), r"processing_steps\.0\.condition"),
        (step(condition="file_exists"), r"processing_steps\.0\.condition"),
        (step(args={"a b": {"type": "fixed", "value": ""}}), r"processing_steps\.0\.args: 'a b'"),
        (step(args={"--x": {"type": "fixed", "value": ""}}), r"processing_steps\.0\.args"),
        (step(args={"x": {"type": "fixed", "value": "\x00"}}), r"processing_steps\.0\.args\.x.*NUL"),
        (step(args={"x": {"type": "magic", "value": ""}}), r"processing_steps\.0\.args\.x.*magic"),
        (step(args={"x": {"type": "tile", "value": "moon"}}), r"processing_steps\.0\.args\.x.*value"),
        (step(args={"x": {"type": "in", "tile_index": 3, "layer": "a", "extension": "tif"}}), r"args\.x\.in\.tile_index"),
        (step(args={"x": {"type": "out", "layer": "../a", "extension": "tif"}}), r"args\.x\.out\.layer"),
    ],
)
def test_refused(graph: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_graph(json.dumps(graph), "G")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply|not JSON"),
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        (json.dumps({"config": {"a": "x" * 2**20}}), "larger than 1 MB"),
        (json.dumps({"processing_steps": [{"engine": "python", "command": "a.py"}] * 201}), "processing_steps"),
        (b"\xff\xfe\x00", "not JSON"),
    ],
)
def test_no_graph(text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=rf"graph 'G'.*({message})"):
        parse_graph(text, "G")
