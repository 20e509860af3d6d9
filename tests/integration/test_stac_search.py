"""The search of STAC APIs against servers that replay recorded answers: paging, limits, filters, and trouble."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
from fixtures_stac_search import StacServer, api, names, payload
from shapely.geometry import shape

from catalogue.external.offers import Offer
from catalogue.inventory import find_scenes
from common.errors import UpstreamError, UserError
from common.payload import parse_payload
from tests.stac_replay import CQL2, QUERY, SORT, Fault, Manner, StacReplay, recorded

ANYTHING = Offer({})


@pytest.mark.parametrize("manner", ["get-token", "post-body", "post-merge"])
async def test_every_manner_of_paging_gives_every_item(shared_data: Path, stac_server: StacServer, manner: Manner) -> None:
    items = recorded(shared_data / "stac/pc_landsat8_netherlands_page1.json.gz")
    replay = stac_server(items, manner=manner)
    found = await find_scenes(payload(items, "landsat89"), [api("planetary-computer", replay, offer=ANYTHING, queryables={}, page_size=60)])
    folders = {item["assets"]["SR_B2"]["href"].rsplit("/", 2)[1] for item in items}
    assert len(replay.requests) == 5
    assert set(names(found.scenes)) == folders
    assert not found.has_next


async def test_a_server_without_post_is_asked_with_get(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    replay = stac_server(items, manner="get-token", search_methods=("GET",))
    found = await find_scenes(
        payload(items, "sentinel2", parameters={"cloudcoverpercentage": "[1 TO 50]"}), [api("earth-search", replay, page_size=3)]
    )
    expected = [item["properties"]["s2:product_uri"][:-5] for item in items if 1 <= item["properties"]["eo:cloud_cover"] <= 50]
    assert sorted(names(found.scenes)) == sorted(expected)
    assert {request["method"] for request in replay.requests} == {"GET"}


async def test_pages_of_a_limit_cover_everything_once(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    catalogue = api("earth-search", stac_server(items), page_size=2)
    pages = [await find_scenes(payload(items, "sentinel2", page=page, limit=4), [catalogue]) for page in range(4)]
    assert [len(page.scenes) for page in pages] == [4, 4, 2, 0]
    assert [page.has_next for page in pages] == [True, True, False, False]
    dates = [scene.data.date for page in pages for scene in page.scenes]
    assert dates == sorted(dates)
    assert len(set(dates)) == len(items)


async def test_has_next_counts_before_anything_is_dropped(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    asked = payload(items, "sentinel2", limit=10, parameters={"filename": "S2A_*"})
    found = await find_scenes(asked, [api("earth-search", stac_server(items))])
    assert 0 < len(found.scenes) < 10
    assert found.has_next


async def test_filters_hold_whatever_the_server_honours(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    expected = sorted(item["properties"]["s2:product_uri"][:-5] for item in items if item["properties"]["eo:cloud_cover"] <= 20)
    assert 0 < len(expected) < len(items)
    asked = payload(items, "sentinel2", parameters={"cloudcoverpercentage": "[0 TO 20]"})
    for conformance in ((QUERY, SORT), (CQL2,), ()):
        replay = stac_server(items, conformance=conformance)
        found = await find_scenes(asked, [api("earth-search", replay)])
        assert sorted(names(found.scenes)) == expected
        sent = replay.requests[0]
        assert sent.get("query") == ({"eo:cloud_cover": {"lte": 20.0}} if QUERY in conformance else None)
        assert ("filter" in sent) == (CQL2 in conformance)


async def test_one_product_in_two_collections_is_taken_from_the_preferred(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    copies = [copy.deepcopy(item) | {"collection": "sentinel-2-l2a", "id": f"{item['id']}_copy"} for item in items]
    for item in copies:
        item["properties"]["earthsearch:boa_offset_applied"] = True
    for listed in ([*items, *copies], [*copies, *items]):
        found = await find_scenes(payload(items, "sentinel2"), [api("earth-search", stac_server(listed))])
        assert len(found.scenes) == len(items)
        assert {scene.data.metadata.assets["B02"].offset for scene in found.scenes} == {-0.1}


async def test_a_detailed_area_is_simplified_for_the_query_and_exact_afterwards(shared_data: Path, stac_server: StacServer) -> None:
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

    replay = stac_server(items)
    base = payload(items, "sentinel2", ring=circle(0.3))
    found = await find_scenes(base, [api("earth-search", replay, max_vertices=200)])
    assert len(found.scenes) == len(items)
    assert len(replay.requests[0]["intersects"]["coordinates"][0]) <= 200

    document = {"type": "Polygon", "coordinates": [circle(3.0), circle(2.0)[::-1]]}
    ring_only = parse_payload({**base.model_dump(mode="json"), **document})
    assert not (await find_scenes(ring_only, [api("earth-search", replay, max_vertices=200)])).scenes


async def test_a_footprint_over_the_antimeridian_is_found_from_both_sides(shared_data: Path, stac_server: StacServer) -> None:
    (item,) = recorded(shared_data / "stac/S2A_T01LAC_20200717T221944_L1C.json")
    item = {**item, "collection": "sentinel-2-l1c"}
    catalogue = api("earth-search", stac_server([item]))
    for ring, count in (
        ([[179.4, -16.2], [179.6, -16.2], [179.6, -15.6], [179.4, -15.6], [179.4, -16.2]], 1),
        ([[-179.9, -16.2], [-179.8, -16.2], [-179.8, -15.6], [-179.9, -15.6], [-179.9, -16.2]], 1),
        ([[179.9, -16.2], [180.1, -16.2], [180.1, -15.6], [179.9, -15.6], [179.9, -16.2]], 1),
        ([[-1.0, -16.2], [1.0, -16.2], [1.0, -15.6], [-1.0, -15.6], [-1.0, -16.2]], 0),
    ):
        asked = payload([item], "sentinel2", ring=ring, parameters={"producttype": "S2MSI1C"})
        assert len((await find_scenes(asked, [catalogue])).scenes) == count


async def test_more_than_the_limit_of_scenes_is_refused(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    catalogue = api("earth-search", stac_server(items), max_items=9, page_size=4)
    for pages in ({}, {"page": 1_000_000, "limit": 100}):
        with pytest.raises(UserError, match="more than 9 products") as raised:
            await find_scenes(payload(items, "sentinel2", **pages), [catalogue])
        assert raised.value.field == "limit"
    assert len((await find_scenes(payload(items, "sentinel2", limit=9), [catalogue])).scenes) == 9


# --- Trouble ------------------------------------------------------------------------------------------------------------------------


async def test_passing_faults_are_ridden_out(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    replay = stac_server(items)
    replay.faults.extend([Fault(503), Fault(429, {"Retry-After": "0"})])
    found = await find_scenes(payload(items, "sentinel2"), [api("earth-search", replay, page_size=4)])
    assert len(found.scenes) == len(items)
    assert len(replay.requests) == 2 + 3


async def test_retry_after_is_honoured(shared_data: Path, stac_server: StacServer) -> None:
    """The server refuses whatever comes within the second it asked for; only one retry is allowed."""
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    replay = stac_server(items)
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
async def test_a_server_in_trouble_is_told_and_the_next_is_asked(
    shared_data: Path, stac_server: StacServer, fault: Fault, told: str
) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    bad, good = stac_server(items), stac_server(items)
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


async def test_a_server_that_is_not_there_is_told_without_its_password(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    gone = api("earth-search", stac_server(items), url="http://user:secret@127.0.0.1:9/stac?key=secret", retries=0)
    with pytest.raises(UpstreamError, match=r"earth-search: http://127\.0\.0\.1:9/stac") as raised:
        await find_scenes(payload(items, "sentinel2"), [gone])
    assert "secret" not in str(raised.value)


async def test_pages_that_do_not_advance_are_an_error_not_a_loop(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    replay = stac_server(items, next_of=lambda link: {**link, "body": {**link["body"], "token": 0}})
    with pytest.raises(UpstreamError, match="do not advance"):
        await find_scenes(payload(items, "sentinel2"), [api("earth-search", replay, page_size=3)])
    assert len(replay.requests) == 2


async def test_odd_items_are_left_out_with_a_note(shared_data: Path, stac_server: StacServer) -> None:
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
