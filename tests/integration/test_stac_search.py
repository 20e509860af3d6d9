"""The search code against servers that replay recorded answers of Earth Search, CDSE, Planetary Computer and LandsatLook."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import shape
from shapely.ops import unary_union

from catalogue.external.offers import Offer
from catalogue.external.presets import PRESETS
from catalogue.external.stac_api import StacApiCatalogue
from catalogue.external.static_stac import StaticStacCatalogue
from catalogue.inventory import find_scenes
from common.errors import UpstreamError, UserError
from common.features import SceneFeature
from common.payload import Payload, parse_payload
from tests.stac_replay import CQL2, QUERY, SORT, Fault, Item, Manner, StacReplay, recorded

Server = Callable[..., StacReplay]
ANYTHING = Offer({})


@pytest.fixture
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        yield lambda items, **manners: stack.enter_context(StacReplay(items, **manners).running())


def payload(items: list[Item], constellation: str, ring: list[list[float]] | None = None, **changes: Any) -> Payload:
    """A payload for the envelope of the items, over all their time."""
    bounds = unary_union([shape(item["geometry"]) for item in items]).bounds if ring is None else (0, 0, 0, 0)
    west, south, east, north = (round(bound, 3) for bound in bounds)
    moments = [item["properties"]["datetime"] for item in items]
    parameters = changes.pop("parameters", {})
    return parse_payload(
        {
            "type": "Polygon",
            "coordinates": [ring or [[west, south], [east, south], [east, north], [west, north], [west, south]]],
            "name": "area",
            "start_time": min(moments),
            "end_time": max([*moments, "2026-01-01T00:00:00Z"]) if len(moments) == 1 else max(moments),
            "scene_type": {"constellation": constellation, "parameters": parameters},
            "scene_graph_name": "CopyProductToStorage",
            "tile_graph_name": "Extract",
            **changes,
        }
    )


def api(preset: str, replay: StacReplay, **changes: Any) -> StacApiCatalogue:
    known = PRESETS[preset]
    catalogue = StacApiCatalogue(preset, replay.url, Offer.of(known.collections, key=preset), queryables=known.queryables, timeout_s=10)
    return replace(catalogue, **changes)


def names(scenes: list[SceneFeature]) -> list[str]:
    return [scene.source_id for scene in scenes]


# --- Tags, value by value, against the items ----------------------------------------------------------------------------------------


async def test_earth_search_sentinel2(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    found = await find_scenes(payload(items, "sentinel2"), [api("earth-search", server(items, manner="post-body"), page_size=4)])
    scenes = {scene.source_id: scene for scene in found.scenes}
    assert len(scenes) == len(items) == 10
    for item in items:
        said = item["properties"]
        name = said["s2:product_uri"].removesuffix(".SAFE")
        scene = scenes[name]
        assert scene.tags == {
            "sourceID": name,
            "constellation": "SENTINEL2",
            "satellite": {"sentinel-2a": "SENTINEL2A", "sentinel-2b": "SENTINEL2B"}[said["platform"]],
            "ingestionDate": said["created"],
            "productType": "S2MSI2A",
            "relativeOrbit": str(int(name.split("_")[4][1:])),
            "cloudCoverPercentage": str(said["eo:cloud_cover"]),
            "sunAzimuth": str(said["view:sun_azimuth"]),
            "sunElevation": str(said["view:sun_elevation"]),
            "incidenceAngle": str(said["view:incidence_angle"]),
            "incidenceAzimuth": str(said["view:azimuth"]),
        }
        check_common(scene, item)
        metadata = scene.data.metadata
        assert metadata.item == next(link["href"] for link in item["links"] if link["rel"] == "self")
        for layer, key in (("B02", "blue"), ("B8A", "nir08"), ("SCL", "scl"), ("granule_metadata", "granule_metadata")):
            asset = item["assets"][key]
            link = metadata.assets[layer]
            assert (link.href, link.key, link.media_type) == (asset["href"], key, asset["type"])
            assert (link.size, link.checksum) == (asset["file:size"], asset["file:checksum"])


async def test_cdse_sentinel2(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "cdse_stac/search_s2search.json")
    found = await find_scenes(payload(items, "sentinel2"), [api("cdse", server(items, manner="post-body"), page_size=3)])
    scenes = {scene.source_id: scene for scene in found.scenes}
    assert scenes.keys() == {item["id"] for item in items}
    for item in items:
        said = item["properties"]
        product = item["assets"]["Product"]
        uuid = product["href"].split("(")[1].split(")")[0]
        scene = scenes[item["id"]]
        assert scene.tags == {
            "sourceID": item["id"],
            "uuid": uuid,
            "downloadURL": product["href"],
            "constellation": "SENTINEL2",
            "satellite": said["platform"].replace("-", "").upper(),
            "ingestionDate": said["published"],
            "productType": said["product:type"],
            "orbitDirection": "DESCENDING",
            "orbit": str(said["sat:absolute_orbit"]),
            "relativeOrbit": str(said["sat:relative_orbit"]),
            "cloudCoverPercentage": str(said["eo:cloud_cover"]),
            "sunAzimuth": str(said["view:sun_azimuth"]),
            "sunElevation": str(said["view:sun_elevation"]),
            "incidenceAngle": str(said["view:incidence_angle"]),
            "incidenceAzimuth": str(said["view:azimuth"]),
        }
        check_common(scene, item)
        assert scene.data.metadata.uuid == uuid
        assert scene.data.metadata.download_link == product["href"]
        assert scene.data.metadata.assets["B02"].href == item["assets"]["B02_10m"]["href"]
        assert scene.data.metadata.assets["B02"].size == item["assets"]["B02_10m"]["file:size"]


async def test_planetary_computer_sentinel2(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/pc_100-sentinel-2-items.ndjson.gz")
    replay = server(items, manner="post-body", conformance=(CQL2,))
    found = await find_scenes(payload(items, "sentinel2"), [api("planetary-computer", replay, page_size=30)])
    by_name = {item["properties"]["s2:product_uri"].removesuffix(".SAFE"): item for item in items}
    assert found.scenes
    assert set(names(found.scenes)) <= by_name.keys()
    for scene in found.scenes:
        said = by_name[scene.source_id]["properties"]
        elevation = scene.tags.pop("sunElevation")
        assert float(elevation) == pytest.approx(90 - said["s2:mean_solar_zenith"], abs=1e-9)
        assert scene.tags == {
            "sourceID": scene.source_id,
            "constellation": "SENTINEL2",
            "satellite": said["platform"].replace("-", "").upper(),
            "ingestionDate": said["datetime"],
            "productType": said["s2:product_type"],
            "orbitDirection": said["sat:orbit_state"].upper(),
            "relativeOrbit": str(said["sat:relative_orbit"]),
            "cloudCoverPercentage": str(said["eo:cloud_cover"]),
            "sunAzimuth": str(said["s2:mean_solar_azimuth"]),
        }
        check_common(scene, by_name[scene.source_id])
    # Two of them are the two datastrips of one datatake, with the same baseline: both are kept.
    assert len(found.scenes) == len(items) == 100
    pair = [name for name in names(found.scenes) if name.startswith("S2B_MSIL2A_20240530T174909_N0510_R141_T13TDE_")]
    assert len({by_name[name]["properties"]["s2:datastrip_id"] for name in pair}) == 2


async def test_planetary_computer_sentinel1(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/S1A_IW_GRDH_1SDV_20220428T034417_20220428T034442_042968_05213C.json")
    asked = payload(
        items,
        "sentinel1",
        parameters={
            "producttype": "GRD",
            "polarisationmode": "VV VH",
            "sensoroperationalmode": "IW",
            "relativeorbitnumber": "21",
            "orbitdirection": "descending",
        },
    )
    replay = server(items)
    (scene,) = (await find_scenes(asked, [api("planetary-computer", replay)])).scenes
    name = "S1A_IW_GRDH_1SDV_20220428T034417_20220428T034442_042968_05213C_28ED"
    assert scene.tags == {
        "sourceID": name,
        "constellation": "SENTINEL1",
        "satellite": "SENTINEL1A",
        "ingestionDate": "2022-04-28T03:44:30.207391Z",
        "productType": "GRD",
        "orbitDirection": "DESCENDING",
        "orbit": "42968",
        "relativeOrbit": "21",
        "polarisationMode": "VV VH",
        "sliceNumber": "5",
    }
    check_common(scene, items[0])
    assert scene.data.metadata.assets["VV"].href == items[0]["assets"]["vv"]["href"]
    assert replay.requests[0]["query"] == {
        "sat:relative_orbit": {"eq": 21},
        "sat:orbit_state": {"eq": "descending"},
        "sar:instrument_mode": {"eq": "IW"},
    }


async def test_planetary_computer_landsat(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/landsat-c2-l2-pc.json")
    older = copy.deepcopy(items[0])
    older["id"], older["properties"]["platform"] = "LE07_L2SP_089090_20240417_02_T1", "landsat-7"
    found = await find_scenes(payload(items, "landsat89"), [api("planetary-computer", server([*items, older]))])
    scenes = {scene.source_id: scene for scene in found.scenes}
    assert len(scenes) == len(items)
    for item in items:
        said = item["properties"]
        name = item["assets"]["red"]["href"].rsplit("/", 2)[1]
        scene = scenes[name]
        assert scene.tags == {
            "sourceID": name,
            "constellation": "LANDSAT",
            "satellite": "LANDSAT09",
            "ingestionDate": said["created"],
            "productType": said["landsat:correction"],
            "cloudCoverPercentage": str(said["eo:cloud_cover"]),
            "landCloudCoverPercentage": str(said["landsat:cloud_cover_land"]),
            "sunAzimuth": str(said["view:sun_azimuth"]),
            "sunElevation": str(said["view:sun_elevation"]),
        }
        check_common(scene, item)
        for layer, key in (("B01", "coastal"), ("B05", "nir08"), ("B10", "lwir11"), ("QA_PIXEL", "qa_pixel")):
            assert scene.data.metadata.assets[layer].href == item["assets"][key]["href"]


async def test_landsatlook(shared_data: Path, server: Server) -> None:
    (path,) = (shared_data / "landsat/LC08_L2SP_005009_20150710").glob("*_SR_stac.json")
    (item,) = recorded(path)
    item = {**item, "id": item["id"] + "_SR", "collection": "landsat-c2l2-sr"}
    item["properties"] = {**item["properties"], "platform": "LANDSAT_8", "datetime": "2015-07-10T14:34:36.164868Z"}
    replay = server([item], manner="post-merge")
    (scene,) = (await find_scenes(payload([item], "landsat89"), [api("usgs", replay)])).scenes
    said = item["properties"]
    assert scene.tags == {
        "sourceID": "LC08_L2SP_005009_20150710_20200908_02_T2",
        "constellation": "LANDSAT",
        "satellite": "LANDSAT08",
        "ingestionDate": said["datetime"],
        "productType": "L2SP",
        "cloudCoverPercentage": str(said["eo:cloud_cover"]),
        "landCloudCoverPercentage": str(said["landsat:cloud_cover_land"]),
        "sunAzimuth": str(said["eo:sun_azimuth"]),
        "sunElevation": str(said["eo:sun_elevation"]),
    }
    check_common(scene, item)
    assert scene.data.metadata.assets["B03"].href == item["assets"]["SR_B3.TIF"]["href"]
    assert replay.requests[0]["query"] == {"platform": {"in": ["LANDSAT_8", "LANDSAT_9"]}}


async def test_earth_search_l1c_by_product_type(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earth_search_search.json")
    replay = server(items)
    asked = payload(items, "sentinel2", parameters={"productType": "S2MSI1C"})
    (scene,) = (await find_scenes(asked, [api("earth-search", replay)])).scenes
    assert scene.source_id == items[0]["properties"]["s2:product_uri"].removesuffix(".SAFE")
    assert scene.tags["productType"] == "S2MSI1C"
    assert replay.requests[0]["collections"] == ["sentinel-2-l1c"]


def check_common(scene: SceneFeature, item: Item) -> None:
    assert abs((scene.data.date - moment(item)).total_seconds()) < 1e-6
    footprint, said = scene.footprint(), shape(item["geometry"])
    assert footprint.symmetric_difference(said).area <= 1e-6 * said.area
    assert scene.data.graph_name == "CopyProductToStorage"
    assert scene.aoi == "area"


def moment(item: Item) -> datetime:
    return datetime.fromisoformat(item["properties"]["datetime"])


# --- Paging, limits, filters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manner", ["get-token", "post-body", "post-merge"])
async def test_every_manner_of_paging_gives_every_item(shared_data: Path, server: Server, manner: Manner) -> None:
    items = recorded(shared_data / "stac/pc_landsat8_netherlands_page1.json.gz")
    replay = server(items, manner=manner)
    found = await find_scenes(payload(items, "landsat89"), [api("planetary-computer", replay, offer=ANYTHING, queryables={}, page_size=60)])
    folders = {item["assets"]["SR_B2"]["href"].rsplit("/", 2)[1] for item in items}
    assert len(replay.requests) == 5
    assert set(names(found.scenes)) == folders
    assert not found.has_next


async def test_a_server_without_post_is_asked_with_get(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    replay = server(items, manner="get-token", search_methods=("GET",))
    found = await find_scenes(
        payload(items, "sentinel2", parameters={"cloudcoverpercentage": "[1 TO 50]"}), [api("earth-search", replay, page_size=3)]
    )
    expected = [item["properties"]["s2:product_uri"][:-5] for item in items if 1 <= item["properties"]["eo:cloud_cover"] <= 50]
    assert sorted(names(found.scenes)) == sorted(expected)
    assert {request["method"] for request in replay.requests} == {"GET"}


async def test_pages_of_a_limit_cover_everything_once(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    catalogue = api("earth-search", server(items), page_size=2)
    pages = [await find_scenes(payload(items, "sentinel2", page=page, limit=4), [catalogue]) for page in range(4)]
    assert [len(page.scenes) for page in pages] == [4, 4, 2, 0]
    assert [page.has_next for page in pages] == [True, True, False, False]
    dates = [scene.data.date for page in pages for scene in page.scenes]
    assert dates == sorted(dates)
    assert len(set(dates)) == len(items)


async def test_has_next_counts_before_anything_is_dropped(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    asked = payload(items, "sentinel2", limit=10, parameters={"filename": "S2A_*"})
    found = await find_scenes(asked, [api("earth-search", server(items))])
    assert 0 < len(found.scenes) < 10
    assert found.has_next


async def test_filters_hold_whatever_the_server_honours(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    expected = sorted(item["properties"]["s2:product_uri"][:-5] for item in items if item["properties"]["eo:cloud_cover"] <= 20)
    assert 0 < len(expected) < len(items)
    asked = payload(items, "sentinel2", parameters={"cloudcoverpercentage": "[0 TO 20]"})
    for conformance in ((QUERY, SORT), (CQL2,), ()):
        replay = server(items, conformance=conformance)
        found = await find_scenes(asked, [api("earth-search", replay)])
        assert sorted(names(found.scenes)) == expected
        sent = replay.requests[0]
        assert sent.get("query") == ({"eo:cloud_cover": {"lte": 20.0}} if QUERY in conformance else None)
        assert ("filter" in sent) == (CQL2 in conformance)


async def test_one_product_in_two_collections_is_taken_from_the_preferred(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    copies = [copy.deepcopy(item) | {"collection": "sentinel-2-l2a", "id": f"{item['id']}_copy"} for item in items]
    for item in copies:
        item["properties"]["earthsearch:boa_offset_applied"] = True
    for listed in ([*items, *copies], [*copies, *items]):
        found = await find_scenes(payload(items, "sentinel2"), [api("earth-search", server(listed))])
        assert len(found.scenes) == len(items)
        assert {scene.data.metadata.assets["B02"].offset for scene in found.scenes} == {-0.1}


async def test_a_detailed_area_is_simplified_for_the_query_and_exact_afterwards(shared_data: Path, server: Server) -> None:
    """A ring with hundreds of vertices around the one item, which lies in its hole, and one that covers it."""
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    west, south, east, north = shape(items[0]["geometry"]).bounds
    x, y = (west + east) / 2, (south + north) / 2

    def circle(radius: float) -> list[list[float]]:
        points = [
            [
                x + radius * math.cos(step * math.tau / 600) * (1 + 0.01 * (step % 2)),
                y + radius * math.sin(step * math.tau / 600) * (1 + 0.01 * (step % 2)),
            ]
            for step in range(600)
        ]
        return [*points, points[0]]

    replay = server(items)
    base = payload(items, "sentinel2", ring=circle(0.3))
    found = await find_scenes(base, [api("earth-search", replay, max_vertices=200)])
    assert len(found.scenes) == len(items)
    assert len(replay.requests[0]["intersects"]["coordinates"][0]) <= 200

    document = {"type": "Polygon", "coordinates": [circle(3.0), circle(2.0)[::-1]]}
    ring_only = parse_payload({**base.model_dump(mode="json"), **document})
    assert not (await find_scenes(ring_only, [api("earth-search", replay, max_vertices=200)])).scenes


async def test_a_footprint_over_the_antimeridian_is_found_from_both_sides(shared_data: Path, server: Server) -> None:
    (item,) = recorded(shared_data / "stac/S2A_T01LAC_20200717T221944_L1C.json")
    item = {**item, "collection": "sentinel-2-l1c"}
    catalogue = api("earth-search", server([item]))
    for ring, count in (
        ([[179.4, -16.2], [179.6, -16.2], [179.6, -15.6], [179.4, -15.6], [179.4, -16.2]], 1),
        ([[-179.9, -16.2], [-179.8, -16.2], [-179.8, -15.6], [-179.9, -15.6], [-179.9, -16.2]], 1),
        ([[179.9, -16.2], [180.1, -16.2], [180.1, -15.6], [179.9, -15.6], [179.9, -16.2]], 1),
        ([[-1.0, -16.2], [1.0, -16.2], [1.0, -15.6], [-1.0, -15.6], [-1.0, -16.2]], 0),
    ):
        asked = payload([item], "sentinel2", ring=ring, parameters={"producttype": "S2MSI1C"})
        assert len((await find_scenes(asked, [catalogue])).scenes) == count


async def test_more_than_the_limit_of_scenes_is_refused(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    catalogue = api("earth-search", server(items), max_items=9, page_size=4)
    for pages in ({}, {"page": 1_000_000, "limit": 100}):
        with pytest.raises(UserError, match="more than 9 products") as raised:
            await find_scenes(payload(items, "sentinel2", **pages), [catalogue])
        assert raised.value.field == "limit"
    assert len((await find_scenes(payload(items, "sentinel2", limit=9), [catalogue])).scenes) == 9


# --- Trouble ------------------------------------------------------------------------------------------------------------------------


async def test_passing_faults_are_ridden_out(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    replay = server(items)
    replay.faults.extend([Fault(503), Fault(429, {"Retry-After": "0"})])
    found = await find_scenes(payload(items, "sentinel2"), [api("earth-search", replay, page_size=4)])
    assert len(found.scenes) == len(items)
    assert len(replay.requests) == 2 + 3


async def test_retry_after_is_honoured(shared_data: Path, server: Server) -> None:
    """The server refuses whatever comes within the second it asked for; only one retry is allowed."""
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    replay = server(items)
    replay.faults.append(Fault(429, {"Retry-After": "1"}, lasts_s=0.95))
    found = await find_scenes(payload(items, "sentinel2"), [api("earth-search", replay, retries=1)])
    assert len(found.scenes) == len(items)
    assert len(replay.requests) == 2


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault(200, {"Content-Type": "text/html"}, b"<html><body>Sign in</body></html>"), "not JSON but HTML"),
        (Fault(200, body=b'{"features": {"a": 1}}'), "not STAC"),
        (Fault(200, body=b"[1, 2]"), "not STAC"),
        (Fault(200, body=b'{"features": [{"id'), "not JSON"),
        (Fault(200, body=b"\xff\xfe"), "utf-8"),
        (Fault(400, body=b'{"description": "bad geometry"}'), "HTTP 400: .*bad geometry"),
        (Fault(503), "HTTP 503: Service Unavailable"),
        (Fault(200, delay_s=1.0), "timed out"),
    ],
    ids=["html", "features", "list", "cut", "bytes", "400", "503", "timeout"],
)
async def test_a_server_in_trouble_is_told_and_the_next_is_asked(shared_data: Path, server: Server, fault: Fault, told: str) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    bad, good = server(items), server(items)
    bad.faults.append(fault)
    troubled = api("earth-search", bad, name="troubled", retries=0, timeout_s=0.5)
    with pytest.raises(UpstreamError, match=f"(?is)troubled: .*{told}") as raised:
        await find_scenes(payload(items, "sentinel2"), [troubled])
    assert "Traceback" not in str(raised.value)
    assert len(str(raised.value)) < 600
    bad.faults.append(fault)
    found = await find_scenes(payload(items, "sentinel2"), [troubled, api("earth-search", good)])
    assert len(found.scenes) == len(items)
    assert any(note.startswith("did not answer: troubled") for note in found.notes)


async def test_a_server_that_is_not_there_is_told_without_its_password(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    gone = api("earth-search", server(items), url="http://user:secret@127.0.0.1:9/stac?key=secret", retries=0)
    with pytest.raises(UpstreamError, match=r"earth-search: http://127\.0\.0\.1:9/stac") as raised:
        await find_scenes(payload(items, "sentinel2"), [gone])
    assert "secret" not in str(raised.value)


async def test_pages_that_do_not_advance_are_an_error_not_a_loop(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    replay = server(items, next_of=lambda link: {**link, "body": {**link["body"], "token": 0}})
    with pytest.raises(UpstreamError, match="do not advance"):
        await find_scenes(payload(items, "sentinel2"), [api("earth-search", replay, page_size=3)])
    assert len(replay.requests) == 2


async def test_odd_items_are_left_out_with_a_note(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    odd = [copy.deepcopy(item) for item in items[:4]]
    odd[0]["properties"]["datetime"] = None
    odd[1]["geometry"]["coordinates"][0][2] = [float("nan"), 1.0]
    odd[2]["properties"].pop("eo:cloud_cover")
    odd[3]["id"] = ""
    asked = payload(items, "sentinel2", parameters={"cloudcoverpercentage": "[0 TO 100]"})

    class Unfiltered(StacReplay):
        def page(self, method: str, body: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
            return {"type": "FeatureCollection", "features": self.items, "links": []}

    with Unfiltered([*odd, "not an item", None, *items[4:]]).running() as replay:  # type: ignore[list-item]
        found = await find_scenes(asked, [api("earth-search", replay)])
    assert sorted(names(found.scenes)) == sorted(item["properties"]["s2:product_uri"][:-5] for item in items[4:])
    notes = "\n".join(found.notes)
    assert f"item {odd[0]['id']} is left out: it has no datetime" in notes
    assert f"item {odd[1]['id']} is left out: its geometry is not finite" in notes
    assert "is left out: its cloudCoverPercentage is not given" in notes
    assert notes.count("it is not a JSON object") == 2
    assert "it has no id" in notes


# --- Static catalogues --------------------------------------------------------------------------------------------------------------


def static_documents(items: list[Item]) -> dict[str, Any]:
    """A catalogue with two collections, relative links, a link back to the root and an asset beside each item."""
    documents: dict[str, Any] = {"catalog.json": {"type": "Catalog", "id": "root", "stac_version": "1.0.0", "links": []}}
    for half in (0, 1):
        folder = f"half {half}"
        documents["catalog.json"]["links"].append({"rel": "child", "href": f"./half%20{half}/collection.json"})
        links: list[dict[str, str]] = [{"rel": "root", "href": "../catalog.json"}, {"rel": "child", "href": "../catalog.json"}]
        for item in items[half::2]:
            own = {**item, "links": [{"rel": "self", "href": "https://elsewhere.example.com/x.json"}]}
            own["assets"] = {**item["assets"], "blue": {**item["assets"]["blue"], "href": "./B02.tif"}}
            documents[f"{folder}/{item['id']}/item.json"] = own
            links.append({"rel": "item", "href": f"{item['id']}/item.json"})
        documents[f"{folder}/collection.json"] = {"type": "Collection", "id": folder, "links": links}
    return documents


async def test_a_static_catalogue_in_a_folder_and_over_http_give_the_same(shared_data: Path, server: Server, tmp_path: Path) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    documents = static_documents(items)
    folder = tmp_path / "my catalogue"
    for name, document in documents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(document))
    replay = server([], static={f"/c/{name.replace(' ', '%20')}": document for name, document in documents.items()})
    asked = payload(items, "sentinel2", parameters={"cloudcoverpercentage": "[0 TO 50]"})
    expected = {item["properties"]["s2:product_uri"][:-5]: item for item in items if item["properties"]["eo:cloud_cover"] <= 50}
    assert 0 < len(expected) < len(items)
    for url, root in (
        (str(folder), folder.as_uri()),
        (str(folder / "catalog.json"), folder.as_uri()),
        (folder.as_uri(), folder.as_uri()),
        (f"{replay.root}/c/catalog.json", f"{replay.root}/c"),
    ):
        found = await find_scenes(asked, [StaticStacCatalogue("static", url, ANYTHING)])
        assert set(names(found.scenes)) == expected.keys()
        for scene in found.scenes:
            item = expected[scene.source_id]
            place = f"{root}/half%20{items.index(item) % 2}/{item['id']}"
            assert scene.data.metadata.item == f"{place}/item.json"
            assert scene.data.metadata.assets["B02"].href == f"{place}/B02.tif"
            assert scene.data.metadata.assets["B03"].href == item["assets"]["green"]["href"]


async def test_pages_of_a_static_catalogue(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    collection = {"type": "FeatureCollection", "features": items}
    replay = server([], static={"/items.json": collection})
    catalogue = StaticStacCatalogue("static", f"{replay.root}/items.json", ANYTHING)
    pages = [await find_scenes(payload(items, "sentinel2", page=page, limit=5), [catalogue]) for page in range(3)]
    assert [(len(page.scenes), page.has_next) for page in pages] == [(5, True), (5, False), (0, False)]
    assert sorted({scene.data.date for page in pages for scene in page.scenes}) == [s.data.date for p in pages for s in p.scenes]


async def test_constellation_dates_and_area_are_filtered_in_a_static_catalogue(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    others = recorded(shared_data / "stac/landsat-c2-l2-pc.json")
    replay = server([], static={"/items.json": {"type": "FeatureCollection", "features": [*items, *others]}})
    catalogue = StaticStacCatalogue("static", f"{replay.root}/items.json", ANYTHING)
    assert len((await find_scenes(payload(others, "landsat89"), [catalogue])).scenes) == len(others)
    assert not (await find_scenes(payload(others, "sentinel2"), [catalogue])).scenes
    moments = sorted(item["properties"]["datetime"] for item in items)
    some = payload(items, "sentinel2").model_copy(update={"start_time": moment(items[3]), "end_time": moment(items[1])})
    assert len((await find_scenes(some, [catalogue])).scenes) == 3
    assert moments == [item["properties"]["datetime"] for item in reversed(items)]
    assert not (await find_scenes(payload(items, "sentinel2", ring=[[0, 0], [1, 0], [1, 1], [0, 0]]), [catalogue])).scenes


async def test_a_static_item_that_is_missing_is_noted_and_a_missing_catalogue_is_an_error(shared_data: Path, server: Server) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    documents = {f"/c/{name.replace(' ', '%20')}": document for name, document in static_documents(items).items()}
    paths = [path for path in documents if path.endswith("item.json")]
    documents[paths[0]] = Fault(404, body=b"gone")
    documents[paths[1]] = b"<html>"
    documents[paths[2]] = {"hello": "world"}
    replay = server([], static=documents)
    catalogue = StaticStacCatalogue("static", f"{replay.root}/c/catalog.json", ANYTHING, retries=0)
    found = await find_scenes(payload(items, "sentinel2"), [catalogue])
    assert len(found.scenes) == len(items) - 3
    notes = "\n".join(found.notes)
    assert "HTTP 404: gone" in notes
    assert "not JSON but HTML" in notes
    assert "not a STAC item" in notes
    for path, fault in ((paths[0], Fault(503)), ("/c/half%200/collection.json", Fault(404)), ("/c/catalog.json", b"[]")):
        replay.static = {**documents, path: fault}
        with pytest.raises(UpstreamError, match="no catalogue answered: static: "):
            await find_scenes(payload(items, "sentinel2"), [catalogue])


async def test_a_web_catalogue_cannot_read_local_files(shared_data: Path, server: Server, tmp_path: Path) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    secret = tmp_path / "item.json"
    secret.write_text(json.dumps(items[0]))
    links = [{"rel": rel, "href": href} for rel in ("item", "child") for href in (secret.as_uri(), str(secret), "gopher://x/y")]
    replay = server(
        [], static={"/catalog.json": {"type": "Catalog", "id": "c", "links": links}, str(secret): {"type": "Catalog", "links": []}}
    )
    found = await find_scenes(payload(items, "sentinel2"), [StaticStacCatalogue("static", f"{replay.root}/catalog.json", ANYTHING)])
    assert not found.scenes


async def test_a_folder_without_a_catalogue_is_told(shared_data: Path, tmp_path: Path) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    with pytest.raises(UpstreamError, match=r"no catalog\.json or collection\.json"):
        await find_scenes(payload(items, "sentinel2"), [StaticStacCatalogue("static", str(tmp_path), ANYTHING)])
