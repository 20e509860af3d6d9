"""What people send by mistake or in malice: every request gets a 4xx problem that names the field, and nothing is created.

All cases go to one running service, which must still work after the last of them.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from fixtures_servers import delete_streams, empty_database
from fixtures_services import RunningCatalogue, run_catalogue, settings_for
from fixtures_workflow import VARIABLE, payload, scenes
from pydantic import SecretStr
from static_catalogue import NAMES as FOUND
from static_catalogue import static_catalogue
from yarl import URL

from common.config import LimitSettings, ServerSettings
from thresher.embedded.postgres import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABLES = ("aoi", "payload", "record", "scene", "tile", "job", "dataset")
MULTIPART = "multipart/form-data; boundary=B"
FORM = "application/x-www-form-urlencoded"
NUL = chr(0)
HALF = "\ud800"
SQUARE = [[10, 50], [11, 50], [11, 51], [10, 51], [10, 50]]
WKT = "POLYGON ((10 50, 11 50, 11 51, 10 51, 10 50))"


@pytest.fixture(scope="module")
def module_database(postgres_server: PostgresServer) -> Iterator[str]:
    with empty_database(postgres_server) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(module_database: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningCatalogue]:
    """One catalogue for all cases, with the variable that good payloads need and two scenes to be found."""
    await delete_streams(nats_url)
    folder = tmp_path_factory.mktemp("bad")
    settings = settings_for(module_database, nats_url, folder)
    changes = {
        "catalogues": {"small": static_catalogue(folder / "stac")},
        "limits": LimitSettings(allowed_urls=["https://", "s3://", str(folder / "stac")]),
    }
    async with run_catalogue(settings.model_copy(update=changes)) as running:
        async with running.http.put(f"{running.url}/cube/variables/v", json=VARIABLE) as response:
            assert response.status == 201
        yield running


@dataclass(frozen=True)
class Case:
    """A bad request and what is to be said of it."""

    name: str
    body: bytes | dict[str, str | bytes]
    """The body, or the fields of a form."""
    field: str | None
    """None: the request as a whole cannot be read."""
    status: int = 400
    headers: dict[str, str] | None = None
    path: str = "/catalog/aoi"
    method: str = "POST"


def form(**parts: str | bytes) -> dict[str, str | bytes]:
    return parts


def encoded(body: bytes | dict[str, str | bytes]) -> io.BytesIO | aiohttp.FormData:
    if isinstance(body, bytes):
        return io.BytesIO(body)
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in body.items():
        data.add_field(name, io.BytesIO(value.encode() if isinstance(value, str) else value))
    return data


def multipart(*parts: bytes, end: bytes = b"--B--\r\n") -> bytes:
    return b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + end


def part(name: bytes, value: bytes, *headers: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"\r\n' + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + value


# Areas ---------------------------------------------------------------------------------------------------------------------------


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


def raw(name: str, field: str | None, body: bytes, content_type: str, status: int = 400, **headers: str) -> Case:
    return Case(f"body-{name}", body, field, status, {"Content-Type": content_type, **{k.replace("_", "-"): v for k, v in headers.items()}})


FIFTY_MB = b"a" * 50 * 2**20
GOOD = payload().encode()

BODIES = [
    raw("50-mb-json", "area", FIFTY_MB, "application/json", 413),
    raw("50-mb-multipart", "area", multipart(part(b"area", FIFTY_MB)), MULTIPART, 413),
    raw("50-mb-unknown-part", "junk", multipart(part(b"junk", FIFTY_MB)), MULTIPART, 413),
    raw("empty", "area", b"", "application/json"),
    raw("not-json", "area", b"w", "application/json"),
    raw("gzip", "area", gzip.compress(GOOD), "application/json"),
    raw("gzip-declared-but-not", "area", GOOD, "application/json", Content_Encoding="gzip"),
    raw("gzip-bomb", "area", gzip.compress(b" " * 2**26), "application/json", 413, Content_Encoding="gzip"),
    raw("gzip-cut-short", "area", gzip.compress(GOOD)[:-30], "application/json", Content_Encoding="gzip"),
    raw("encoding-unknown", "area", b"\x00\x01", "application/json", Content_Encoding="rot13"),
    raw("charset-unknown", "area", b"\x00\x01", "application/json; charset=klingon"),
    raw("multipart-without-boundary", None, multipart(part(b"area", GOOD)), "multipart/form-data"),
    raw("multipart-of-another-boundary", None, multipart(part(b"area", GOOD)), "multipart/form-data; boundary=C"),
    raw("multipart-boundary-too-long", None, multipart(part(b"area", GOOD)), "multipart/form-data; boundary=" + "B" * 100),
    raw("multipart-broken-header", None, multipart(b"Content-Disposition form-data\r\n\r\nx"), MULTIPART),
    raw("multipart-header-too-long", None, multipart(b"X-A: " + b"a" * 100_000 + b"\r\n\r\nx"), MULTIPART),
    raw("multipart-too-many-headers", None, multipart(b"".join(b"X-%d: a\r\n" % n for n in range(500)) + b"\r\nx"), MULTIPART),
    raw("multipart-without-names", None, multipart(b"Content-Type: text/plain\r\n\r\nx"), MULTIPART),
    raw("multipart-cut-short", None, multipart(part(b"area", GOOD), end=b"")[:-50], MULTIPART),
    raw("multipart-within", None, multipart(b"Content-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n\r\nx\r\n--C--"), MULTIPART),
    raw("multipart-empty", "area", b"", MULTIPART),
    raw("multipart-no-parts", "area", multipart(), MULTIPART),
    raw("multipart-many-parts", None, multipart(*[part(b"area", b"{}")] * 1500), MULTIPART),
    raw("part-bomb", "area", multipart(part(b"area", zlib.compress(b" " * 2**26), b"Content-Encoding: deflate")), MULTIPART),
    raw("part-base64-broken", None, multipart(part(b"area", b"a", b"Content-Transfer-Encoding: base64")), MULTIPART),
    raw("part-transfer-unknown", None, multipart(part(b"area", GOOD, b"Content-Transfer-Encoding: rot13")), MULTIPART),
    raw("form-broken", None, b"area", FORM),
    raw("form-invalid-utf-8", None, b"area=\xff", FORM),
    raw("form-percent", "area", b"area=%ff%00", FORM),
    raw("form-unknown-field", "aria", b"aria=1", FORM),
    Case("field-unknown", form(area=payload(), aria="x"), "aria"),
    raw("field-with-nul", "a\\x00", b"a%00=1", FORM),
    Case("field-missing", form(scenes=scenes(1)), "area"),
    Case(
        "tiles-twice",
        multipart(part(b"area", GOOD), part(b"tiles", scenes(1).encode()), part(b"tiles", scenes(1).encode())),
        "tiles",
        headers={"Content-Type": MULTIPART},
    ),
    Case(
        "batch-with-tiles",
        multipart(part(b"area", GOOD), part(b"area", GOOD), part(b"tiles", scenes(1).encode())),
        "tiles",
        headers={"Content-Type": MULTIPART},
    ),
    *(
        Case(f"query-{key}-{number}", form(area=payload(), tiles=scenes(1)), key, path=f"/catalog/aoi?{key}={value}")
        for key in ("page", "limit")
        for number, value in enumerate(("-1", "x", "1e3", "9" * 30, "%00", "%D9%A1"))
    ),
    Case("query-limit-too-large", form(area=payload(), tiles=scenes(1)), "limit", path="/catalog/aoi?limit=999999999"),
    Case("query-area-broken", b"", "area", path="/catalog/aoi?area=%7B"),
    Case(
        "scenes-two-areas",
        multipart(part(b"area", GOOD), part(b"area", GOOD)),
        "area",
        headers={"Content-Type": MULTIPART},
        path="/catalog/scenes",
    ),
    Case("scenes-bad-area", form(area=payload(name="a b")), "name", path="/catalog/scenes"),
    Case("tiles-bad-area", form(area=payload(name="a b")), "name", path="/catalog/tiles"),
    Case(
        "tiles-bad-wkt",
        form(area=payload(), scenes=scenes(1).replace(WKT, "POLYGON ((0 0))")),
        "scenes.features.0.properties.wkt",
        path="/catalog/tiles",
    ),
]


# Reviewed scenes and tiles --------------------------------------------------------------------------------------------------------


def tiles(
    name: str, field: str | None, change: Callable[[list[Any]], object], *, count: int = 2, posted: str = "tiles", **more: Any
) -> Case:
    """Tiles that came back changed: `change` gets the properties of the scenes."""
    document = json.loads(scenes(count))
    change([feature["properties"] for feature in document["features"]])
    where = f"{posted}.{field}" if field else posted
    return Case(f"{posted}-{name}", form(area=payload(**more), **{posted: json.dumps(document)}), where)


def tile(name: str, field: str, /, **changes: Any) -> Case:
    """The first tile of the second scene, changed."""
    return tiles(f"tile-{name}", f"features.1.properties.tiles.0.{field}", lambda found: found[1]["tiles"][0].update(changes))


def scene(name: str, field: str, /, **changes: Any) -> Case:
    """The second scene, changed."""
    return tiles(f"scene-{name}", f"features.1.properties.{field}", lambda found: found[1].update(changes))


def data(name: str, field: str, posted: str = "tiles", **changes: Any) -> Case:
    return tiles(f"data-{name}", f"features.1.properties.data.{field}", lambda found: found[1]["data"].update(changes), posted=posted)


def href(name: str, link: str) -> Case:
    metadata = {"assets": {"B02": {"href": link}}}
    return data(f"href-{name}", "metadata.assets.B02.href", metadata=metadata)


def link(scene_id: str, *, tile_id: str = "T", date: str = "2024-01-01T00:00:00Z") -> dict[str, str]:
    return {"SourceID": tile_id, "SceneID": scene_id, "Date": date}


def document(name: str, field: str, body: str | bytes, posted: str = "tiles") -> Case:
    return Case(f"{posted}-document-{name}", form(area=payload(), **{posted: body}), field)


NAMES = ("../../etc/passwd", "/etc/passwd", "a/b", "a..b", "..", "", "a b", "a" * 300, "a\n", "é", ".hidden")

SCENES = [
    *(document(f"{posted}-not-json", posted, "{", posted) for posted in ("scenes", "tiles")),
    *(document(f"{posted}-array", posted, "[]", posted) for posted in ("scenes", "tiles")),
    *(document(f"{posted}-no-features", f"{posted}.features", "{}", posted) for posted in ("scenes", "tiles")),
    document("features-type", "tiles.features", '{"features": {}}'),
    document("features-of-numbers", "tiles.features.0", '{"features": [1]}'),
    document("properties-missing", "tiles.features.0", '{"features": [{}]}'),
    document("properties-list", "tiles.features.0", '{"features": [{"properties": []}]}'),
    document("empty-properties", "tiles.features.0.properties.source_id", '{"features": [{"properties": {}}]}'),
    document("nan", "tiles", '{"features": [{"properties": {"id": NaN}}]}'),
    document("1e400", "tiles.features.0.properties.id", '{"features": [{"properties": {"id": 1e400}}]}'),
    document("invalid-utf-8", "tiles", b'{"features": "\xff"}'),
    document("deep", "tiles", '{"features": ' + "[" * 50_000 + "]" * 50_000 + "}"),
    *(
        tiles(
            f"scene-name-{number}",
            "features.0.properties.source_id",
            lambda found, name=name: found[0].update(source_id=name),
            posted="scenes",
            count=1,
        )
        for number, name in enumerate(NAMES)
    ),
    *(tile(f"name-{number}", "SourceID", SourceID=name) for number, name in enumerate(NAMES)),
    scene("aoi-traversal", "aoi", aoi="../w"),
    scene("of-another-aoi", "aoi", aoi="other"),
    scene("aoi-type", "aoi", aoi=5),
    scene("twice", "source_id", source_id="S2A_0"),
    scene("tags-type", "tags", tags=[1]),
    scene("tag-type", "tags.a", tags={"a": 1}),
    scene("tiles-type", "tiles", tiles="T"),
    scene("tiles-object", "tiles", tiles={}),
    scene("tile-type", "tiles.0", tiles=["T"]),
    scene("id-over-64-bits", "id", id=2**70),
    scene("id-just-over", "id", id="9223372036854775808"),
    scene("data-type", "data", data="x"),
    scene("data-null", "data", data=None),
    scene("data-without-date", "data.date", data={}),
    scene("nul-in-tag", "tags.a", tags={"a": NUL}),
    scene("half-pair-in-tag", "tags.a", tags={"a": HALF}),
    scene("nul-in-foreign-metadata", "data.metadata.own.0", data={"date": "2024-01-02T00:00:00Z", "metadata": {"own": [NUL]}}),
    *(
        scene(f"wkt-{number}", "wkt", wkt=wkt)
        for number, wkt in enumerate(
            (
                "",
                "x",
                5,
                None,
                "POINT (10 50)",
                "LINESTRING (10 50, 11 51)",
                "POLYGON EMPTY",
                "POLYGON ((10 50, 11 50))",
                "POLYGON ((10 50, 11 50, 11 51, 10 51))",
                "POLYGON ((10 50, 11 51, 11 50, 10 51, 10 50))",
                "POLYGON ((nan 50, 11 50, 11 51, 10 51, nan 50))",
                "POLYGON ((10 50, 11 50, 11 nan, 10 51, 10 50))",
                "POLYGON ((10 50, inf 50, 11 51, 10 51, 10 50))",
                "POLYGON ((10 50, 1e400 50, 11 51, 10 51, 10 50))",
                "POLYGON ((10 50, 11 50, 11 91, 10 51, 10 50))",
                "POLYGON ((10 50, 400 50, 11 51, 10 51, 10 50))",
                f"{WKT} {WKT}",
                f"SRID=3857;{WKT}",
                "GEOMETRYCOLLECTION (" * 100_000 + "POINT (0 0)" + ")" * 100_000,
                "POLYGON (" * 100_000,
            )
        )
    ),
    tile("wkt", "wkt", wkt="POLYGON ((10 50, 11 51, 11 50, 10 51, 10 50))"),
    tile("wkt-deep", "wkt", wkt="GEOMETRYCOLLECTION (" * 100_000),
    data("date-number", "date", date=5),
    data("date-year-zero", "date", date="0000-01-01T00:00:00Z"),
    data("date-underflow", "date", date="0001-01-01T00:00:00+01:00"),
    data("date-antiquity", "date", date="0044-03-15T00:00:00Z"),
    data("date-infinity", "date", date="9999-12-31T23:59:59.999999Z"),
    data("graph-unknown", "graph_name", graph_name="NoSuchGraph"),
    data("graph-traversal", "graph_name", graph_name="../../etc/passwd"),
    data("graph-config-type", "graph_config.a", graph_config={"a": 1}),
    data("retriable-type", "is_retriable", is_retriable="maybe"),
    data("storage", "storage_uri", storage_uri="file:///etc"),
    data("storage-of-scenes", "storage_uri", posted="scenes", storage_uri="s3://other"),
    data("metadata-type", "metadata", metadata=["a"]),
    data("metadata-type-with-uuid", "metadata", metadata="a", uuid="u"),
    data("metadata-list-with-uuid", "metadata", metadata=["a"], uuid="u"),
    data("uuid-type", "metadata.uuid", uuid=5),
    data("assets-type", "metadata.assets", metadata={"assets": []}),
    data("asset-type", "metadata.assets.B02", metadata={"assets": {"B02": "x"}}),
    data("asset-without-href", "metadata.assets.B02.href", metadata={"assets": {"B02": {}}}),
    data("asset-size", "metadata.assets.B02.size", metadata={"assets": {"B02": {"href": "https://a.org/b", "size": "9" * 30}}}),
    data("asset-scale", "metadata.assets.B02.scale", metadata={"assets": {"B02": {"href": "https://a.org/b", "scale": "nan"}}}),
    data("asset-offset", "metadata.assets.B02.offset", metadata={"assets": {"B02": {"href": "https://a.org/b", "offset": "-inf"}}}),
    data("asset-nodata", "metadata.assets.B02.nodata", metadata={"assets": {"B02": {"href": "https://a.org/b", "nodata": "inf"}}}),
    data("item", "metadata.item", metadata={"item": "file:///etc/passwd"}),
    data("download-link", "metadata.download_link", metadata={"download_link": "http://10.0.0.1/a.zip"}),
    data("place-number", "tiles.T.tile_nr", tiles={"T": {"tile_nr": 2**31}}),
    data("place-swath", "tiles.T.swath_id", tiles={"T": {"swath_id": "../IW1"}}),
    href("passwd", "file:///etc/passwd"),
    href("path", "/etc/passwd"),
    href("metadata-service", "http://169.254.169.254/latest/meta-data/"),
    href("metadata-service-as-number", "https://2852039166/latest"),
    href("private-host", "https://192.168.1.1/a.tif"),
    href("localhost", "https://localhost/a.tif"),
    href("ipv6", "https://[::1]/a.tif"),
    href("mapped", "https://[::ffff:10.0.0.1]/a.tif"),
    href("hex", "https://0x7f.1/a.tif"),
    href("user", "https://good.org@10.0.0.1/a.tif"),
    href("ftp", "ftp://a.org/a.tif"),
    href("gdal", "/vsicurl/http://10.0.0.1/a.tif"),
    href("empty", ""),
    href("relative", "a.tif"),
    href("newline", "https://a.org/\r\nHost: b"),
    href("traversal", "https://a.org/../b.tif"),
    href("half-bracket", "https://[::1/a.tif"),
    tile("of-another-scene", "SceneID", SceneID="S2A_0"),
    tile("without-scene", "SceneID", SceneID=None),
    tile("date", "Date", Date=0),
    tile("swath", "data.swath_id", data={"swath_id": "../IW1"}),
    tile("swath-long", "data.swath_id", data={"swath_id": "I" * 33}),
    tile("number", "data.tile_nr", data={"tile_nr": 2**31}),
    tile("number-negative", "data.tile_nr", data={"tile_nr": -(2**31) - 1}),
    tile("graph", "data.graph_name", data={"graph_name": "NoSuchGraph"}),
    tile("anx-time", "anx_time", anx_time=2**31),
    tile("anx-time-fraction", "anx_time", anx_time=0.5),
    tile("previous-type", "previous", previous="S2A_0"),
    tile("previous-incomplete", "previous.SourceID", previous={}),
    tile("previous-unknown", "previous", previous=link("S2A_9")),
    tile("previous-of-unknown-tile", "previous", previous=link("S2A_0", tile_id="U")),
    tile("previous-itself", "previous", previous=link("S2A_1")),
    tile("reference-unknown", "reference", reference=link("S2A_9")),
    tile("reference-itself", "reference", reference=link("S2A_1")),
    tiles("tile-later", "features.0.properties.tiles.0.previous", lambda found: found[0]["tiles"][0].update(previous=link("S2A_1"))),
    tiles(
        "tile-cycle",
        "features.0.properties.tiles.0.previous",
        lambda found: [found[n]["tiles"][0].update(previous=link(f"S2A_{1 - n}")) for n in (0, 1)],
    ),
    tiles("tile-twice", "features.0.properties.tiles.1.SourceID", lambda found: found[0]["tiles"].append(found[0]["tiles"][0])),
    tiles(
        "tag-conflict",
        "features.0.properties.tags.source",
        lambda found: found[0].update(tags={"source": "a"}),
        record_tags={"source": "b"},
    ),
    tiles(
        "crop-outside",
        "features.0.properties.wkt",
        lambda found: found[0].update(wkt="POLYGON ((20 50, 21 50, 21 51, 20 51, 20 50))"),
        graph_config={"crop": "true"},
    ),
]

CASES = [*AREAS, *TEXTS, *BODIES, *SCENES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bad_request(service: RunningCatalogue, case: Case) -> None:
    async with service.http.request(case.method, service.url + case.path, data=encoded(case.body), headers=case.headers) as response:
        await check_problem(response, case.status, case.field)
    await check_nothing_created(service)


async def check_problem(response: aiohttp.ClientResponse, status: int, field: str | None) -> None:
    """That the answer is a problem of this status, about this field, and gives nothing of the inside away."""
    body = await response.text()
    assert (response.status, response.content_type) == (status, "application/problem+json"), body
    problem = json.loads(body)
    assert (problem["status"], problem.get("field")) == (status, field), body
    assert problem["detail"].strip()
    assert len(body) < 4000
    for word in ("Traceback", 'File "', "asyncpg", "SELECT ", "INSERT ", "site-packages", "validation error for"):
        assert word not in body


async def check_nothing_created(service: RunningCatalogue) -> None:
    for table in TABLES:
        assert await service.count(table) == 0, table


# Variables ------------------------------------------------------------------------------------------------------------------------


def variable(name: str, field: str | None, /, *, at: str = "w", **changes: Any) -> Case:
    body = json.dumps({**VARIABLE, "name": "w", **changes})
    return Case(name, body.encode(), field, path=f"/cube/variables/{at}", method="PUT")


def variable_text(name: str, field: str | None, body: bytes, status: int = 400, **headers: str) -> Case:
    return Case(name, body, field, status, headers, path="/cube/variables/w", method="PUT")


VARIABLES = [
    variable("name-differs", "name", at="x"),
    variable("name-type", "name", name=5),
    variable("name-null", "name", name=None),
    variable("name-empty", "name", name=""),
    variable("name-slash", "name", name="a/b", at="a%2Fb"),
    variable("name-long", "name", name="a" * 129, at="a" * 129),
    variable("name-traversal", "name", name="../v", at="..%2Fv"),
    variable("unknown-field", "colour", colour="red"),
    variable("dtype-unknown", "dtype", dtype="float128"),
    variable("dtype-type", "dtype", dtype=8),
    variable("dtype-long", "dtype", dtype="a" * 10_000),
    variable("min-over-max", "min_value", min_value=300, max_value=255),
    variable("min-does-not-fit", "min_value", min_value=-1),
    variable("max-does-not-fit", "max_value", max_value=256),
    variable("nodata-does-not-fit", "nodata", nodata=1000),
    variable("nodata-type", "nodata", nodata="none"),
    variable("min-boolean", "min_value", min_value=False),
    variable("min-null", "min_value", min_value=None),
    variable("min-nan", "min_value", min_value="nan"),
    variable("max-infinite", "max_value", max_value="inf"),
    variable("max-over-64-bits", "max_value", max_value=10**400, dtype="float64"),
    variable("bands-empty", "bands", bands=[]),
    variable("bands-type", "bands", bands="red"),
    variable("band-type", "bands.0", bands=[1]),
    variable("bands-many", "bands", bands=["b"] * 513),
    variable("unit-long", "unit", unit="m" * 129),
    variable("unit-nul", "unit", unit=NUL),
    variable("unit-half-pair", "unit", unit=HALF),
    variable("description-long", "description", description="a" * 5000),
    variable("instances-type", "instances", instances={"name": "i"}),
    variable("instances-twice", "instances", instances=[{"name": "i"}, {"name": "i"}]),
    variable("instance-type", "instances.0", instances=["i"]),
    variable("instance-name", "instances.0.name", instances=[{"name": "a b"}]),
    variable("instance-without-name", "instances.0.name", instances=[{}]),
    variable("instance-metadata", "instances.0.metadata", instances=[{"name": "i", "metadata": []}]),
    variable("instance-metadata-nul", "instances.0.metadata.a.0", instances=[{"name": "i", "metadata": {"a": [NUL]}}]),
    variable("instance-metadata-half-pair", "instances.0.metadata.\\ud800", instances=[{"name": "i", "metadata": {HALF: 1}}]),
    variable_text("not-json", "body", b"name: w"),
    variable_text("array", "body", b"[]"),
    variable_text("empty", "body", b""),
    variable_text("nan", "body", b'{"name": "w", "dtype": "uint8", "min_value": NaN}'),
    variable_text("1e400", "min_value", b'{"name": "w", "dtype": "float32", "min_value": -1e400, "max_value": 1}'),
    variable_text("invalid-utf-8", "body", b"\xff\xfe"),
    variable_text("deep", "body", b"[" * 100_000),
    variable_text("50-mb", "body", FIFTY_MB, 413),
    variable_text("gzip-declared-but-not", "body", b"{}", **{"Content-Encoding": "gzip"}),
]


@pytest.mark.parametrize("case", VARIABLES, ids=lambda case: case.name)
async def test_bad_variable(service: RunningCatalogue, case: Case) -> None:
    before = await service.database.fetch("SELECT v.*, i.* FROM variable v JOIN instance i ON i.variable_id = v.id")
    await test_bad_request(service, case)
    assert await service.database.fetch("SELECT v.*, i.* FROM variable v JOIN instance i ON i.variable_id = v.id") == before


# Addresses ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "field"),
    [
        ("GET", "/scene/99999999999999999999", 400, "scene"),
        ("GET", "/scene/-1", 400, "scene"),
        ("GET", "/scene/%00", 400, "scene"),
        ("GET", "/scene/%D9%A1", 400, "scene"),
        ("GET", "/scene/999999999999999999", 404, "scene"),
        ("GET", "/tile/1.5", 400, "tile"),
        ("PUT", "/tile/9223372036854775808/retry", 400, "tile"),
        ("PUT", "/scene/1/force/DONE%00", 400, "status"),
        ("PUT", "/scene/1/force/FINE", 400, "status"),
        ("GET", "/aoi/a%00b", 400, "aoi"),
        ("GET", "/aoi/%00*", 400, "aoi"),
        ("GET", "/aoi/a%20b", 400, "aoi"),
        ("GET", "/aoi/" + "a" * 129, 400, "aoi"),
        ("GET", "/aoi/" + "a" * 130 + "*", 400, "aoi"),
        ("POST", "/aoi/a%2Fb", 400, "aoi"),
        ("POST", "/aoi/%C3%A9", 400, "aoi"),
        ("DELETE", "/aoi/nosuch", 404, "aoi"),
        ("GET", "/aoi/w/scenes?page=-1", 400, "page"),
        ("GET", "/aoi/w/scenes?limit=x", 400, "limit"),
        ("GET", "/aoi/w/tiles/NOSUCH", 400, "status"),
        ("GET", "/cube/variables/a%00", 400, "name"),
        ("GET", "/cube/variables/%ED%A0%80", 404, "name"),
        ("GET", "/cube/variables/nosuch", 404, "name"),
        ("GET", "/cube/records/x", 400, "id"),
        ("GET", "/cube/records/00000000-0000-0000-0000-000000000000", 404, "id"),
        ("GET", "/cube/records?name=%00", 400, "name"),
        ("GET", "/cube/records?limit=1e9", 400, "limit"),
        ("GET", "/cube/datasets?record=1", 400, "record"),
        ("GET", "/cube/datasets?aoi=%00", 400, "aoi"),
        ("GET", "/cube/datasets?variable=a%00", 400, "variable"),
        ("GET", "/cube/datasets?page=99999999999", 400, "page"),
        ("GET", "/nosuch", 404, None),
        ("GET", "/%00%ff", 404, None),
        ("GET", "/../../etc/passwd", 404, None),
        ("TRACE", "/aoi/w", 405, None),
        ("PATCH", "/cube/variables/w", 405, None),
    ],
)
async def test_bad_address(service: RunningCatalogue, method: str, path: str, status: int, field: str | None) -> None:
    async with service.http.request(method, URL(service.url + path, encoded=True)) as response:
        await check_problem(response, status, field)
    await check_nothing_created(service)


@pytest.mark.parametrize(
    "path", ["/aoi/?page=1", "/cube/records?page=999999999&limit=999999999", "/cube/datasets?page=999999999&limit=999999999"]
)
async def test_far_pages_are_empty(service: RunningCatalogue, path: str) -> None:
    async with service.http.get(service.url + path) as response:
        assert response.status == 200, await response.text()


# Batches and the end --------------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def emptied(service: RunningCatalogue) -> AsyncIterator[None]:
    yield
    for (name,) in await service.database.fetch("SELECT name FROM aoi"):
        async with service.http.delete(f"{service.url}/aoi/{name}") as response:
            assert response.status == 204
    await service.database.execute("DELETE FROM record")


async def test_batch(service: RunningCatalogue, emptied: None) -> None:
    """The good areas of a batch are ingested, each bad one is told what is wrong with it."""
    areas = [
        payload(name="first"),
        payload(name="bad name"),
        "not JSON",
        payload(name="unknown", tile_graph_name="NoSuchGraph"),
        payload(name="missing", layers={"a": {"variable": "nosuch", "instance": "i"}}),
        payload(name="last"),
    ]
    response = await service.post("/catalog/aoi", area=areas)
    assert (response.status, response.content_type) == (207, "application/json")
    results = (await response.json())["results"]
    assert [result["area"] for result in results] == list(range(6))
    assert [result["status"] for result in results] == [200, 400, 400, 400, 400, 200]
    problems = [result["problem"]["field"] for result in results if "problem" in result]
    assert problems == ["name", "area", "tile_graph_name", "layers.a"]
    assert [(result["name"], result["scene_count"]) for result in results if "name" in result] == [("first", 2), ("last", 2)]
    rows = await service.database.fetch("SELECT a.name, s.source_id FROM scene s JOIN aoi a ON a.id = s.aoi_id ORDER BY s.id")
    assert [tuple(row) for row in rows] == [(name, scene) for name in ("first", "last") for scene in FOUND]
    assert [await service.count(table) for table in ("aoi", "payload", "record", "tile", "job")] == [2, 2, 2, 4, 4]


async def test_batch_of_good_areas(service: RunningCatalogue, emptied: None) -> None:
    response = await service.post("/catalog/aoi", area=[payload(name="first"), payload(name="first")])
    assert response.status == 200, await response.text()
    assert [result["scene_count"] for result in (await response.json())["results"]] == [2, 0]


async def test_batch_of_bad_areas(service: RunningCatalogue) -> None:
    response = await service.post("/catalog/aoi", area=["{", payload(name="")])
    assert response.status == 207
    assert [result["problem"]["field"] for result in (await response.json())["results"]] == ["area", "name"]
    await check_nothing_created(service)


async def test_the_service_still_works(service: RunningCatalogue, emptied: None) -> None:
    async with service.http.get(service.url + "/readyz") as response:
        assert response.status == 200
    response = await service.post("/catalog/aoi", area=payload(), tiles=scenes(2))
    assert response.status == 200, await response.text()
    assert [await service.count(table) for table in ("aoi", "payload", "record", "scene", "tile", "job")] == [1, 1, 2, 2, 2, 2]


async def test_link_to_a_later_tile_of_the_area(service: RunningCatalogue, emptied: None) -> None:
    response = await service.post("/catalog/aoi", area=payload(), tiles=scenes(1, first=5, series=False))
    assert response.status == 200, await response.text()
    earlier = json.loads(scenes(1))
    earlier["features"][0]["properties"]["tiles"][0]["previous"] = link("S2A_5")
    response = await service.post("/catalog/aoi", area=payload(), tiles=json.dumps(earlier))
    await check_problem(response, 400, "tiles.features.0.properties.tiles.0.previous")
    assert await service.count("scene") == 1


async def test_each_missing_instance_is_named(service: RunningCatalogue) -> None:
    layers = {name: {"variable": variable, "instance": "none"} for name, variable in (("a", "v"), ("b", "nosuch"))}
    response = await service.post("/catalog/aoi", area=payload(layers=layers), tiles=scenes(1))
    problem = await response.json(content_type=None)
    assert (response.status, problem["field"]) == (400, "layers.a")
    assert "a → v.none" in problem["detail"]
    assert "b → nosuch.none" in problem["detail"]
    await check_nothing_created(service)


async def test_token_of_any_bytes(module_database: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = settings_for(module_database, nats_url, tmp_path_factory.mktemp("guarded"))
    guarded = settings.model_copy(update={"server": ServerSettings(port=0, token=SecretStr("right"))})
    async with run_catalogue(guarded) as running:
        for given, status in (
            ("Bearer \udcff\udcfe", 401),
            ("Bearer é", 401),
            ("Bearer wrong", 401),
            ("Basic right", 401),
            ("Bearer right", 200),
        ):
            async with running.http.get(running.url + "/aoi/", headers={"Authorization": given}) as response:
                assert response.status == status, await response.text()
