"""What the documentation says is what the program has: configuration keys, commands, endpoints, fields, metrics, links, examples."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from unit.test_graph_conditions import TABLE, tile

from catalogue.external.presets import PRESETS
from catalogue.http.openapi import describe
from catalogue.metrics import CatalogueMetrics
from common.config import Settings, load_settings
from common.graph import known_graphs
from common.graph.conditions import is_handled
from common.graph.document import parse_graph
from common.graph.tiles import GraphTiles
from common.metrics import WorkerMetrics
from common.payload import Payload, parse_payload
from thresher.cli.application import application
from thresher.variables import read_variables

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "payloads").glob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVICE_OF_EXAMPLES = re.compile(r"(?:http://127\.0\.0\.1:8080|\$THRESHER_URL)(/[^\s\"'|`]*)")
ENDPOINT = re.compile(r"`(?:(GET|PUT|POST|DELETE) )?(/(?:catalog|aoi|scene|tile|dead|cube|healthz|readyz|metrics|openapi\.json)\b[^`\s]*)`")


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def names(documents: list[Path]) -> list[str]:
    return [document.relative_to(REPOSITORY).as_posix() for document in documents]


def blocks(name: str, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(text(name)) if found == language]


def section(name: str, heading: str) -> str:
    """The text below a heading, up to the next of its level or above."""
    level, body = re.search(rf"^(#+) {re.escape(heading)}\n(.*)", text(name), re.MULTILINE | re.DOTALL).groups()
    return re.split(rf"^#{{1,{len(level)}}} ", body, maxsplit=1, flags=re.MULTILINE)[0]


def rows(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_there_is_something_to_check() -> None:
    assert {"README.md", "docs/operations.md", "docs/payloads.md", "docs/graphs.md", "docs/providers.md"} <= set(names(DOCUMENTS))


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text(name)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (REPOSITORY / name).parent / path if path else REPOSITORY / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def anchors(markdown: str) -> set[str]:
    """As GitHub makes them of headings."""
    plain = BLOCK.sub("", markdown)
    headings = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def settings() -> Iterator[tuple[str, FieldInfo]]:
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if get_origin(kind) is dict:
            prefix, model = f"{name}.NAME.", get_args(kind)[1]
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            prefix, model = f"{name}.", kind
        else:
            yield name, field
            continue
        yield from ((prefix + key, inner) for key, inner in model.model_fields.items())


def test_every_setting_is_told_with_its_default() -> None:
    told = {row[0].strip("`"): row[1] for row in rows(section("docs/operations.md", "Configuration"))}
    have = {}
    for key, field in settings():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        have[key] = "" if default in (None, "", [], {}) else f"`{json.dumps(default, default=str)}`"
    assert told == have


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_settings_that_are_mentioned_exist(name: str) -> None:
    keys = {key for key, _ in settings()}
    sections = {key.partition(".")[0] for key in keys if "." in key}
    for mentioned in re.findall(r"`([a-z0-9]+\.[a-z0-9_]+)`", text(name)):
        if mentioned.partition(".")[0] in sections and not mentioned.endswith((".py", ".toml", ".json")):
            assert mentioned in keys, mentioned
    for variable in re.findall(r"\bTHRESHER_[A-Z][A-Z0-9_]*[A-Z0-9]", text(name)):
        spelled = {"THRESHER_" + key.upper().replace(".", "_") for key in keys}
        spelled |= {"THRESHER_URL", "THRESHER_TOKEN", "THRESHER_CONFIG", "THRESHER_TEST_DATA", "THRESHER_SECTION_KEY"}
        assert variable in spelled or re.fullmatch(r"THRESHER_(CATALOGUES|PROVIDERS|ACCOUNT)(_[A-Z]+)*", variable), variable


def test_every_field_of_a_payload_is_told() -> None:
    table = " ".join(row[0] for row in rows(section("docs/payloads.md", "Fields").split("###")[0]))
    told = {field.partition(".")[0] for field in re.findall(r"`([a-z_.]+)`", table)}
    assert told == set(Payload.model_fields) - {"area"}


def test_examples_are_what_they_say() -> None:
    assert parse_payload(blocks("docs/payloads.md", "json")[0]).name == "Example"
    assert parse_payload(blocks("docs/getting-started.md", "yaml")[0], allow_yaml=True).name == "CamargueJune"
    assert [variable.name for variable in read_variables(blocks("docs/payloads.md", "yaml")[0])] == ["NDVI"]
    hook, graph = (block for block in blocks("docs/graphs.md", "json") if "processing_steps" in block)
    assert parse_graph(hook, "Hook").processing_steps[0].engine == "docker"
    assert parse_graph(graph, "Ndvi").out_files[0][0].layer == "ndvi"
    for name in names(DOCUMENTS):
        for block in blocks(name, "python"):
            compile(block, name, "exec")
        for block in blocks(name, "json"):
            json.loads(block)


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_configuration_examples_are_understood(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, block in enumerate(blocks(name, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(block, encoding="utf-8")
        load_settings(file)
    for block in blocks(name, "sh"):
        for line in block.splitlines():
            if line.startswith("export THRESHER_"):
                for assignment in shlex.split(line)[1:]:
                    monkeypatch.setenv(*assignment.split("=", 1))
    load_settings()


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def command_lines(markdown: str) -> Iterator[list[str]]:
    """The words of every `thresher …` in shell blocks and in code spans."""
    for language, block in BLOCK.findall(markdown):
        if language == "sh":
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"thresher\s", line):
                    yield shlex.split(line, comments=True)[1:]
    for span in re.findall(r"`thresher ([\w-][^`]*)`", BLOCK.sub("", markdown)):
        yield span.split()


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_commands_exist_and_know_their_options(name: str) -> None:
    known = dict(commands(typer.main.get_group(application)))
    for words in command_lines(text(name)):
        if words[0] in ("--version", "--help", "COMMAND"):
            continue
        command = next((known[tuple(words[:length])] for length in (1, 2) if tuple(words[:length]) in known), None)
        assert command is not None, words
        options = {spelling for parameter in command.params for spelling in parameter.opts} | {"--help"}
        for word in words:
            if word.startswith("-") and word != "-":
                assert word in options, words


def test_every_command_is_told() -> None:
    told = {" ".join(word for word in words if word.islower() and word.isalpha()) for words in command_lines(text("docs/payloads.md"))}
    assert {" ".join(words) for words, _ in commands(typer.main.get_group(application))} <= told


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_endpoints_exist(name: str) -> None:
    paths = describe()["paths"]
    found = [("", path) for path in SERVICE_OF_EXAMPLES.findall(text(name))] + ENDPOINT.findall(text(name))
    for method, mentioned in found:
        path = mentioned.partition("?")[0]
        matching = [operations for known, operations in paths.items() if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), path)]
        assert matching, mentioned
        assert not method or any(method.lower() in operations for operations in matching), (method, mentioned)


def test_every_metric_is_told() -> None:
    told = set(re.findall(r"`(thresher_[a-z_]+)`", section("docs/operations.md", "Metrics")))
    registries = (CatalogueMetrics().registry, WorkerMetrics().registry)
    have = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for registry in registries
        for metric in registry.collect()
        if metric.name.startswith("thresher_")
    }
    assert told == have


def test_presets_and_graphs_are_told() -> None:
    presets = rows(section("docs/providers.md", "Catalogues").split("###")[0])
    assert {(row[0].strip("`"), row[1].strip("`")) for row in presets} == {(name, preset.type) for name, preset in PRESETS.items()}
    graphs = rows(section("docs/graphs.md", "Graphs that come with Thresher").split("###")[0])
    assert {row[0].strip("`") for row in graphs} == set(known_graphs())


def test_truth_table_is_the_tested_one() -> None:
    told = [[cell.strip("`") for cell in row] for row in rows(section("docs/graphs.md", "Conditions"))]
    assert told == [["·" if cell == "." else cell for cell in line.split()] for line in TABLE.strip().splitlines()[1:]]


def test_a_series_cleans_up_behind_itself_as_told() -> None:
    (example,) = blocks("docs/operations.md", "json")
    current, (before,), reference = parse_graph(example, "Series").out_files
    assert (current, reference) == ([], [])
    first, second, third, fourth = map(tile, "ABCD")
    series = [
        GraphTiles(first),
        GraphTiles(second, previous=first, reference=first),
        GraphTiles(third, previous=second, reference=first),
        GraphTiles(fourth, previous=third, reference=first),
    ]
    assert [is_handled(before, tiles, lambda _: False) for tiles in series] == [False, False, True, True]


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_lines_are_not_too_long(name: str) -> None:
    prose = [line for line in BLOCK.sub("", text(name)).splitlines() if not line.startswith("|")]
    assert [line for line in prose if len(line) > 145] == []
