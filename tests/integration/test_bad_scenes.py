"""Reviewed scenes and tiles that come back wrong: every one is told which member of which scene or tile it is, and nothing is created."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fixtures_bad_input import HALF, NUL, WKT, Case, check_problem, check_refused, form
from fixtures_services import RunningCatalogue
from fixtures_workflow import payload, scenes

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


@pytest.mark.parametrize("case", SCENES, ids=lambda case: case.name)
async def test_bad_request(assailed: RunningCatalogue, case: Case) -> None:
    await check_refused(assailed, case)


async def test_link_to_a_later_tile_of_the_area(assailed: RunningCatalogue, emptied: None) -> None:
    response = await assailed.post("/catalog/aoi", area=payload(), tiles=scenes(1, first=5, series=False))
    assert response.status == 200, await response.text()
    earlier = json.loads(scenes(1))
    earlier["features"][0]["properties"]["tiles"][0]["previous"] = link("S2A_5")
    response = await assailed.post("/catalog/aoi", area=payload(), tiles=json.dumps(earlier))
    await check_problem(response, 400, "tiles.features.0.properties.tiles.0.previous")
    assert await assailed.count("scene") == 1
