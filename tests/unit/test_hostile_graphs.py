"""Graphs nobody wrote in good faith: refused with the step and the key named; and nothing that is not refused goes through a shell."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from catalogue.graphs import GraphShelf
from common.errors import UserError
from common.graph import load_graph
from common.graph.document import EngineName, parse_graph
from common.step_settings import ENGINES

REPOSITORY = Path(__file__).resolve().parents[2]


def step(**changes: Any) -> dict[str, Any]:
    return {"processing_steps": [{"engine": "python", "command": "python/a.py"}, {"engine": "python", "command": "python/a.py", **changes}]}


def fixed(value: Any) -> dict[str, Any]:
    return step(args={"x": {"type": "fixed", "value": value}})


def out_argument(**changes: Any) -> dict[str, Any]:
    return step(args={"x": {"type": "out", "layer": "a", "extension": "tif", **changes}})


def out_file(**changes: Any) -> dict[str, Any]:
    return {"out_files": [[{"layer": "a", "extension": "tif", "action": "to_create", **changes}]]}


HOSTILE: dict[str, tuple[Any, str]] = {
    # Path traversal in the names of layers and extensions, as file and as argument.
    "layer above": (out_file(layer="../../etc/cron.d/x"), r"out_files\.0\.0\.layer"),
    "layer absolute": (out_file(layer="/etc/passwd"), r"out_files\.0\.0\.layer"),
    "layer with a backslash": (out_file(layer="a\\..\\b"), r"out_files\.0\.0\.layer"),
    "layer with a line": (out_file(layer="a\nb"), r"out_files\.0\.0\.layer"),
    "layer of dots": (out_file(layer=".."), r"out_files\.0\.0\.layer"),
    "layer too long": (out_file(layer="a" * 65), r"out_files\.0\.0\.layer"),
    "extension above": (out_file(extension="x/../../y"), r"out_files\.0\.0\.extension"),
    "in file above": ({"in_files": [[{"layer": "../a", "extension": "tif"}]]}, r"in_files\.0\.0\.layer"),
    "argument above": (out_argument(layer="../../a"), r"processing_steps\.1\.args\.x\.out\.layer"),
    "argument's extension": (out_argument(extension="../a"), r"processing_steps\.1\.args\.x\.out\.extension"),
    "no such tile": (step(args={"x": {"type": "in", "tile_index": 3, "layer": "a", "extension": ""}}), r"args\.x\.in\.tile_index"),
    "product member above": ({"product_members": ["../../etc/*"]}, r"product_members\.0"),
    # Substitutions in values: they would be passed literally, and are meant otherwise.
    "command substitution": (fixed("$(touch /tmp/owned)"), r"processing_steps\.1\.args\.x\.fixed\.value: .*'\$\('"),
    "old substitution": (fixed("a`id`b"), r"processing_steps\.1\.args\.x\.fixed\.value: .*'`'"),
    "parameter expansion": (fixed("${IFS}"), r"processing_steps\.1\.args\.x\.fixed\.value: .*'\$\{'"),
    "substitution in the settings": ({"config": {"a": "$(id)"}}, r"config\.a: .*passed literally"),
    "end of text": (fixed("a\x00b"), r"processing_steps\.1\.args\.x\.fixed\.value: .*NUL"),
    # Commands.
    "absolute command": (step(command="/bin/sh"), r"processing_steps\.1: command '/bin/sh' must be a path relative"),
    "absolute cmd": (step(engine="cmd", command="/usr/bin/env"), r"processing_steps\.1: command"),
    "absolute snap graph": (step(engine="snap", command="/tmp/x.xml"), r"processing_steps\.1: command"),
    "command above": (step(command="python/../../x.py"), r"processing_steps\.1: command"),
    "command with arguments": (step(engine="cmd", command="rm -rf x"), r"processing_steps\.1: command"),
    "command from afar": (step(command="https://example.org/x.py"), r"processing_steps\.1: command"),
    "image as option": (step(engine="docker", command="--privileged"), r"processing_steps\.1: command '--privileged' must be an image"),
    "option as argument": (step(args={"-x": {"type": "fixed", "value": "1"}}), r"processing_steps\.1\.args"),
    "argument with a value": (step(args={"a=b": {"type": "fixed", "value": "1"}}), r"processing_steps\.1\.args"),
    "engine nobody knows": (step(engine="bash"), r"processing_steps\.1\.engine"),
    # Settings that name each other in a circle, in each way somebody might write it.
    "circle of arguments": (
        {"config": {"a": {"type": "config", "value": "b"}, "b": {"type": "config", "value": "a"}}},
        r"config\.a: .*config\.b: ",
    ),
    "circle of expansions": ({"config": {"a": "${b}", "b": "${a}"}}, r"config\.a: .*config\.b: "),
    "setting of settings": ({"config": {"a": {"b": "c"}}}, r"config\.a: "),
    # Variables of containers, memory.
    "variable with a blank": ({"envs": ["A B=c"]}, r"envs\.0"),
    "variable as option": ({"envs": ["--privileged"]}, r"envs\.0"),
    "memory class": ({"memory_class": "large; rm"}, r"memory_class"),
    # Sizes.
    "too many steps": ({"processing_steps": [{"engine": "python", "command": "a.py"}] * 201}, r"processing_steps"),
    "too many arguments": (step(args={f"a{n}": {"type": "fixed", "value": ""} for n in range(201)}), r"processing_steps\.1\.args"),
    "value too long": (fixed("x" * 4097), r"processing_steps\.1\.args\.x\.fixed\.value"),
    "bands without end": (out_file(nbands=10**9), r"out_files\.0\.0\.nbands"),
    # Not graphs at all.
    "a list": ([], "must be a JSON object"),
    "steps as text": ({"processing_steps": "rm -rf"}, r"processing_steps"),
    "step without engine": ({"processing_steps": [{"command": "a.py"}]}, r"processing_steps\.0\.engine"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_with_the_place_named(name: str, tmp_path: Path) -> None:
    document, place = HOSTILE[name]
    text = json.dumps(document)
    with pytest.raises(UserError, match=place) as caught:
        parse_graph(text, "G")
    assert str(caught.value).startswith("graph 'G'")
    # So is a payload that names it.
    (tmp_path / "G.json").write_text(text)
    with pytest.raises(UserError) as refused:
        GraphShelf([tmp_path], ENGINES).get("G", field="tile_graph_name")
    assert refused.value.field == "tile_graph_name"


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000, "{", '{"config": {"a": "\ud800"}', "\xff\xfe", ""])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(UserError, match=r"graph 'G': (not JSON|nested too deeply)"):
        parse_graph(text.encode("utf-8", "surrogatepass"), "G")


def test_ten_megabytes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    huge = json.dumps({"config": {"a": "x" * 10 * 2**20}})
    with pytest.raises(UserError, match="graph 'G': larger than 1 MB"):
        parse_graph(huge, "G")
    (tmp_path / "G.json").write_text(huge)
    with pytest.raises(UserError, match="larger than 1 MB"):
        load_graph("G", [tmp_path])


def test_a_command_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    from common.graph.sources import StepSources

    folder = tmp_path / "graphs"
    folder.mkdir()
    (folder / "shell").symlink_to("/bin/sh")
    assert StepSources((folder,)).file("shell") is None


def test_nothing_goes_through_a_shell() -> None:
    """In no program of ours, and every process is started from a list."""
    found = []
    for package in ("common", "catalogue", "downloader", "processor", "thresher"):
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    shell = any(word.arg == "shell" for word in node.keywords)
                    if shell or called in (
                        "os.system",
                        "os.popen",
                        "asyncio.create_subprocess_shell",
                        "subprocess.getoutput",
                        "eval",
                        "exec",
                    ):
                        found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno} {called}")
    assert found == []


def test_keys_in_any_case_as_the_reference_reads_them() -> None:
    text = (
        '{"Processing_Steps": [{"Engine": "python", "COMMAND": "a.py", "command": "b.py", "Args": {"X": {"Type": "fixed", "VALUE": "1"}}}]}'
    )
    (found,) = parse_graph(text, "G").processing_steps
    assert (found.command, found.args["X"].type) == ("b.py", "fixed"), "the exact spelling wins; names of arguments are their own"


def test_engines_are_those_that_can_be_configured() -> None:
    assert sorted(EngineName) == list(ENGINES)
