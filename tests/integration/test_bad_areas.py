"""Bad areas, alone and in a batch: every one is told what is wrong with it, and nothing is created of it."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from fixtures_bad_input import HALF, NUL, SQUARE, WKT, Case, check_nothing_created, check_refused, check_works, form
from fixtures_services import RunningCatalogue
from fixtures_workflow import payload, scenes
from static_catalogue import NAMES as FOUND

pytestmark = pytest.mark.asyncio(loop_scope="module")


def area(name: str, field: str, /, **changes: Any) -> Case:
    """A payload with some members changed."""
    return Case(f"area-{name}", form(area=payload(**changes)), field)


def without(key: str, field: str | None = None) -> Case:
    document = json.loads(payload())
    del document[key]
    return Case(f"area-without-{key}", form(area=json.dumps(document)), field or key)


def text(name: str, field: str | None, body: str | bytes, status: int = 400) -> Case:
    return Case(f"text-{name}", form(area=body), field, status)


def polygon(name: str, *rings: Any, field: str = "coordinates") -> Case:
    return area(f"polygon-{name}", field, coordinates=list(rings))


def nested(levels: int, innermost: Any, key: str = "geometries") -> Any:
    for _ in range(levels):
        innermost = {"type": "GeometryCollection", key: [innermost]}
    return innermost


REQUIRED = ("name", "start_time", "end_time", "scene_type", "scene_graph_name", "tile_graph_name")
WRONG_TYPES = {
    "name": 5,
    "start_time": 1704067200,
    "end_time": {"year": 2025},
    "scene_type": "sentinel2",
    "scene_graph_name": ["Pass"],
    "tile_graph_name": {"name": "Pass"},
    "graph_config": "crop=true",
    "layers": ["layer"],
    "record_tags": [["a", "b"]],
    "annotations_urls": "https://a.org/{SCENE}.zip",
    "is_retriable": "yes",
    "retry_count": "3",
    "storage_uri": 7,
    "page": "0",
    "limit": 1.5,
    "priority": True,
}

AREAS = [
    *(without(key) for key in REQUIRED),
    without("coordinates"),
    without("type"),
    *(area(f"null-{key}", key, **{key: None}) for key in REQUIRED),
    *(area(f"type-of-{key}", key, **{key: value}) for key, value in WRONG_TYPES.items()),
    # Names
    *(
        area(f"name-{number}", "name", name=name)
        for number, name in enumerate(("", "a b", "../etc", "a/b", "né", "a" * 129, "a\n", "a%00", "'; DROP TABLE aoi; --"))
    ),
    area("misspelt", "scene_graphname", scene_graphname="Pass"),
    # Numbers
    area("retry-count-negative", "retry_count", retry_count=-1),
    area("retry-count-huge", "retry_count", retry_count=10**9),
    area("retry-count-over-64-bits", "retry_count", retry_count=2**63),
    area("retry-count-text", "retry_count", retry_count="x"),
    area("limit-negative", "limit", limit=-1),
    area("page-over-64-bits", "page", page=10**30),
    area("page-huge", "page", page=2**62),
    area("priority-huge", "priority", priority=2**31),
    # Dates
    area("dates-reversed", "end_time", end_time="2023-01-01T00:00:00Z"),
    area("dates-equal", "end_time", end_time="2024-01-01T00:00:00Z"),
    *(
        area(f"date-{number}", "start_time", start_time=moment)
        for number, moment in enumerate(
            (
                "yesterday",
                "",
                "01/02/2024",
                "2024-13-01T00:00:00Z",
                "2024-02-30T00:00:00Z",
                "2024-01-01T25:00:00Z",
                "0000-01-01T00:00:00Z",
                "0001-01-01T00:00:00+05:00",
                "99999-01-01T00:00:00Z",
                "-2024-01-01T00:00:00Z",
                "1704067200",
                "NaN",
                "٢٠٢٤-٠١-٠١T00:00:00Z",
            )
        )
    ),
    area("date-beyond-the-last", "end_time", end_time="9999-12-31T23:59:59-12:00"),
    # What is searched
    area("constellation-unknown", "scene_type.constellation", scene_type={"constellation": "sentinel9"}),
    area("constellation-missing", "scene_type.constellation", scene_type={}),
    area("constellation-type", "scene_type.constellation", scene_type={"constellation": ["sentinel2"]}),
    area("parameters-type", "scene_type.parameters", scene_type={"constellation": "sentinel2", "parameters": ["a"]}),
    area(
        "parameter-type", "scene_type.parameters.producttype", scene_type={"constellation": "sentinel2", "parameters": {"producttype": []}}
    ),
    area(
        "parameter-too-long",
        "scene_type.parameters.filename",
        scene_type={"constellation": "sentinel2", "parameters": {"filename": "a" * 5000}},
    ),
    # Graphs
    *(
        area(f"{key}-{number}", key, **{key: name})
        for key in ("scene_graph_name", "tile_graph_name")
        for number, name in enumerate(
            (
                "NoSuchGraph",
                "",
                "../../etc/passwd",
                "library/../../../etc/passwd",
                "/etc/passwd",
                "https://evil.org/graph.json",
                "file:///etc/passwd",
                "s3://bucket/graph",
                "a" * 250,
                "a" * 600,
                "Pass; rm -rf /",
                "./../Pass",
            )
        )
    ),
    area("graph-of-no-library", "tile_graph_name", tile_graph_name="S1Cleanse"),
    area("graph-config-value", "graph_config.crop", graph_config={"crop": ["yes"]}),
    area("graph-config-key", "graph_config", graph_config={"": "x"}),
    # Layers
    area(
        "layer-unknown-to-graph", "layers.nosuch", tile_graph_name="ExtractS2Bands", layers={"nosuch": {"variable": "v", "instance": "i"}}
    ),
    area("layer-slash", "layers", layers={"a/b": {"variable": "v", "instance": "i"}}),
    area("layer-dots", "layers", layers={"a..b": {"variable": "v", "instance": "i"}}),
    area("layer-without-target", "layers.layer", layers={"layer": {}}),
    area("layer-target-type", "layers.layer", layers={"layer": "v.i"}),
    area("layer-without-variable", "layers.layer", layers={"layer": {"variable": "nosuch", "instance": "i"}}),
    area("layer-without-instance", "layers.layer", layers={"layer": {"variable": "v", "instance": "nosuch"}}),
    area("layer-id-unknown", "layers.layer", layers={"layer": {"instance_id": "00000000-0000-0000-0000-000000000000"}}),
    area("layer-id-malformed", "layers.layer", layers={"layer": {"instance_id": "1 OR 1=1"}}),
    # Where files go and come from
    *(
        area(f"storage-{number}", "storage_uri", storage_uri=uri)
        for number, uri in enumerate(
            ("file:///etc", "/etc", "s3://other", "s3://", "gs://bucket/a", "https://a.org/", "s3://b/../c", "file://host/a", "a" * 2000)
        )
    ),
    area("annotations-private", "annotations_urls.0", annotations_urls=["http://169.254.169.254/{SCENE}.zip"]),
    area("annotations-file", "annotations_urls.1", annotations_urls=["https://a.org/{SCENE}.zip", "file:///etc/passwd"]),
    area("annotations-number", "annotations_urls.0", annotations_urls=[5]),
    area("annotations-many", "annotations_urls", annotations_urls=["https://a.org/"] * 17),
    # Geometry
    area("type-unknown", "type", type="Circle"),
    area("type-list", "type", type=["Polygon"]),
    area("type-object", "type", type={"Polygon": 1}),
    area("point", "type", type="Point", coordinates=[10, 50]),
    area("feature-point", "geometry", type="Feature", geometry={"type": "Point", "coordinates": [10, 50]}),
    area("feature-without-geometry", "geometry", type="Feature", geometry=None),
    area("feature-geometry-type", "geometry", type="Feature", geometry={"type": [], "coordinates": [SQUARE]}),
    area("feature-geometry-text", "geometry", type="Feature", geometry=WKT),
    area("collection-empty", "features", type="FeatureCollection", features=[]),
    area("collection-type", "features", type="FeatureCollection", features={"0": {}}),
    area("collection-of-text", "features.0", type="FeatureCollection", features=["a"]),
    area(
        "collection-second",
        "features.1.geometry",
        type="FeatureCollection",
        features=[
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [SQUARE]}},
            {"type": "Feature", "geometry": {"type": "LineString", "coordinates": SQUARE}},
        ],
    ),
    area("geometries-empty", "geometry", type="GeometryCollection", geometries=[]),
    area("geometries-type", "geometries.geometries", type="GeometryCollection", geometries=5),
    area(
        "geometries-deep",
        "geometry" + ".geometries.0" * 7 + ".geometries.…",
        type="Feature",
        geometry=nested(50, {"type": "Polygon", "coordinates": [SQUARE]}),
    ),
    polygon("empty", field="coordinates"),
    polygon("ring-empty", []),
    polygon("ring-null", None),
    polygon("three-points", [[10, 50], [11, 50], [10, 50]]),
    polygon("unclosed", [[10, 50], [11, 50], [11, 51], [10, 51]]),
    polygon("self-crossing", [[10, 50], [11, 51], [11, 50], [10, 51], [10, 50]]),
    polygon("line", [[10, 50], [11, 50], [12, 50], [10, 50]]),
    polygon("one-point", [[10, 50]] * 4),
    polygon("hole-outside", SQUARE, [[20, 50], [21, 50], [21, 51], [20, 50]]),
    polygon("latitude-91", [[10, 50], [11, 50], [11, 91], [10, 51], [10, 50]]),
    polygon("longitude-400", [[10, 50], [400, 50], [11, 51], [10, 51], [10, 50]]),
    polygon("boolean", [[True, False], [11, 50], [11, 51], [10, 51], [True, False]]),
    polygon("texts", [["10", "50"], ["11", "50"], ["11", "51"], ["10", "50"]]),
    polygon("nulls", [[None, 50], [11, 50], [11, 51], [None, 50]]),
    polygon("one-number", [[10], [11], [11], [10]]),
    polygon("huge-integer", [[10**18, 50], [11, 50], [11, 51], [10, 51], [10**18, 50]]),
    polygon("position-object", [{"x": 1}] * 4),
    polygon("too-many-vertices", [[10 + n / 1e6, 50] for n in range(200_001)]),
    polygon("flat", 1, 2, 3),
    area("coordinates-text", "coordinates", coordinates="10 50"),
    area("multipolygon-of-a-polygon", "coordinates", type="MultiPolygon", coordinates=[SQUARE]),
    # Text that cannot be kept
    area("nul-in-name", "name", name=f"a{NUL}"),
    area("nul-in-tag", "record_tags.a", record_tags={"a": f"x{NUL}y"}),
    area("nul-in-key", "graph_config.a\\x00", graph_config={f"a{NUL}": "x"}),
    area("nul-in-foreign-member", "properties.a.1", properties={"a": ["ok", f"x{NUL}"]}),
    area("half-pair", "record_tags.a", record_tags={"a": f"x{HALF}"}),
    area("half-pair-in-key", "record_tags.\\ud800", record_tags={HALF: "x"}),
    area("half-pair-in-layer", "layers.layer.variable", layers={"layer": {"variable": HALF, "instance": "i"}}),
    area("integer-over-64-bits-in-foreign-member", "properties.n", properties={"n": 10**40}),
]


def number(name: str, literal: str) -> Case:
    """A payload with a number that JSON does not have, or Python reads as infinite."""
    place = "coordinates" if literal in ("NaN", "Infinity", "-Infinity") else "coordinates.0.0.0"
    body = payload().replace("[[[10, 50]", f"[[[{literal}, 50]", 1)
    assert literal in body
    return text(f"number-{name}", "area" if place == "coordinates" else place, body)


TEXTS = [
    number("nan", "NaN"),
    number("infinity", "Infinity"),
    number("minus-infinity", "-Infinity"),
    number("1e400", "1e400"),
    number("minus-1e400", "-1e400"),
    text("number-of-5000-digits", "area", payload(page=7).replace('"page": 7', '"page": ' + "7" * 5000)),
    text("number-of-400-digits", "page", payload(page=7).replace('"page": 7', '"page": ' + "7" * 400)),
    text("not-json", "area", "name: w"),
    text("yaml", "area", "name: w\nscene_type:\n  constellation: sentinel2\n"),
    text("array", "area", f"[{payload()}]"),
    text("string", "area", '"w"'),
    text("null", "area", "null"),
    text("two-documents", "area", payload() + payload()),
    text("cut-short", "area", payload()[:-20]),
    text("empty", "area", ""),
    text("blank", "area", " \n"),
    text("empty-object", "name", "{}"),
    text("invalid-utf-8", "area", b'{"name": "\xff\xfe"}'),
    text("utf-16", "area", payload().encode("utf-16")),
    text("gzip", "area", gzip.compress(payload().encode())),
    text("deep-arrays", "area", "[" * 100_000 + "]" * 100_000),
    text(
        "deep-member",
        "properties" + ".a" * 15 + ".…",
        payload(properties=7).replace('"properties": 7', '"properties": ' + '{"a":' * 80 + "1" + "}" * 80),
    ),
    text("too-large", "area", payload(properties={"x": "a" * 17 * 2**20})),
    text("xml", "area", "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"),
]


@pytest.mark.parametrize("case", [*AREAS, *TEXTS], ids=lambda case: case.name)
async def test_bad_request(assailed: RunningCatalogue, case: Case) -> None:
    await check_refused(assailed, case)


async def test_each_missing_instance_is_named(assailed: RunningCatalogue) -> None:
    layers = {name: {"variable": variable, "instance": "none"} for name, variable in (("a", "v"), ("b", "nosuch"))}
    response = await assailed.post("/catalog/aoi", area=payload(layers=layers), tiles=scenes(1))
    problem = await response.json(content_type=None)
    assert (response.status, problem["field"]) == (400, "layers.a")
    assert "a → v.none" in problem["detail"]
    assert "b → nosuch.none" in problem["detail"]
    await check_nothing_created(assailed)


async def test_batch(assailed: RunningCatalogue, emptied: None) -> None:
    """The good areas of a batch are ingested, each bad one is told what is wrong with it."""
    areas = [
        payload(name="first"),
        payload(name="bad name"),
        "not JSON",
        payload(name="unknown", tile_graph_name="NoSuchGraph"),
        payload(name="missing", layers={"a": {"variable": "nosuch", "instance": "i"}}),
        payload(name="last"),
    ]
    response = await assailed.post("/catalog/aoi", area=areas)
    assert (response.status, response.content_type) == (207, "application/json")
    results = (await response.json())["results"]
    assert [result["area"] for result in results] == list(range(6))
    assert [result["status"] for result in results] == [200, 400, 400, 400, 400, 200]
    problems = [result["problem"]["field"] for result in results if "problem" in result]
    assert problems == ["name", "area", "tile_graph_name", "layers.a"]
    assert [(result["name"], result["scene_count"]) for result in results if "name" in result] == [("first", 2), ("last", 2)]
    rows = await assailed.database.fetch("SELECT a.name, s.source_id FROM scene s JOIN aoi a ON a.id = s.aoi_id ORDER BY s.id")
    assert [tuple(row) for row in rows] == [(name, scene) for name in ("first", "last") for scene in FOUND]
    assert [await assailed.count(table) for table in ("aoi", "payload", "record", "tile", "job")] == [2, 2, 2, 4, 4]


async def test_batch_of_good_areas(assailed: RunningCatalogue, emptied: None) -> None:
    response = await assailed.post("/catalog/aoi", area=[payload(name="first"), payload(name="first")])
    assert response.status == 200, await response.text()
    assert [result["scene_count"] for result in (await response.json())["results"]] == [2, 0]


async def test_batch_of_bad_areas(assailed: RunningCatalogue) -> None:
    response = await assailed.post("/catalog/aoi", area=["{", payload(name="")])
    assert response.status == 207
    assert [result["problem"]["field"] for result in (await response.json())["results"]] == ["area", "name"]
    await check_nothing_created(assailed)


async def test_the_service_still_works(assailed: RunningCatalogue, emptied: None) -> None:
    await check_works(assailed)
