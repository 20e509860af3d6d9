"""The OData search against a server that evaluates `$filter` on recorded products: exactly the matching ones, wherever they lie."""

from __future__ import annotations

import itertools
import json
import re

import pytest
import shapely
from fixtures_odata_search import AMERICAS, GRD, PACIFIC, PATAGONIA, WORLD, ODataServer, catalogue, deque_of, expected, names, payload
from shapely.geometry import Polygon, box, mapping

from catalogue.inventory import find_scenes
from common.errors import UserError
from tests.odata_replay import Fault, Product, variant

CASES: list[tuple[str, list[list[float]], dict[str, str], dict[str, str]]] = [
    ("sentinel1", AMERICAS, {}, {}),
    ("sentinel1", PATAGONIA, {"producttype": "SLC"}, {}),
    ("sentinel1", AMERICAS, GRD, {}),
    ("sentinel1", PATAGONIA, GRD, {}),
    ("sentinel1", WORLD, GRD, {"start_time": "2026-01-21T22:24:17.558Z", "end_time": "2026-01-21T23:49:14.519Z"}),
    ("sentinel1", WORLD, GRD, {"start_time": "2026-01-21T22:24:17.559Z", "end_time": "2026-01-21T23:49:14.518Z"}),
    ("sentinel1", AMERICAS, GRD | {"relativeorbitnumber": "106"}, {}),
    ("sentinel1", AMERICAS, GRD | {"relativeorbitnumber": "175"}, {}),
    ("sentinel1", AMERICAS, {"polarisationmode": "VV"}, {}),
    ("sentinel1", AMERICAS, {"polarisationmode": "VH VV"}, {}),
    ("sentinel1", AMERICAS, {"orbitdirection": "DESCENDING"}, {}),
    ("sentinel1", AMERICAS, {"orbitdirection": "ASCENDING", "relativeorbitnumber": "20"}, {}),
    ("sentinel1", AMERICAS, GRD | {"sensoroperationalmode": "EW", "polarisationmode": "HH HV"}, {}),
    ("sentinel1", AMERICAS, GRD | {"sensoroperationalmode": "ew"}, {}),
    ("sentinel1", AMERICAS, GRD | {"sensoroperationalmode": "SM", "polarisationmode": "VV VH"}, {}),
    ("sentinel1", AMERICAS, GRD | {"sensoroperationalmode": "S3"}, {}),
    ("sentinel1", AMERICAS, GRD | {"sensoroperationalmode": "S4"}, {}),
    ("sentinel1", AMERICAS, GRD | {"filename": "S1A_*"}, {}),
    ("sentinel1", AMERICAS, GRD | {"filename": "S1?_IW_*_006008_??????_????"}, {}),
    ("sentinel1", AMERICAS, GRD | {"filename": "*4E4E.SAFE"}, {}),
    ("sentinel1", AMERICAS, GRD | {"filename": "062567"}, {}),
    ("sentinel1", AMERICAS, {"filename": "*_1SSV_*"}, {}),
    ("sentinel1", AMERICAS, GRD | {"filename": "it's *"}, {}),
    ("sentinel2", PACIFIC, {}, {}),
    ("sentinel2", PACIFIC, {"producttype": "S2MSI2A"}, {}),
    ("sentinel2", PACIFIC, {"cloudcoverpercentage": "[0 TO 10]"}, {}),
    ("sentinel2", PACIFIC, {"cloudcoverpercentage": "[10.5 TO 95.2]"}, {}),
    ("sentinel2", PACIFIC, {"relativeorbitnumber": "46", "cloudcoverpercentage": "[0 TO 100]"}, {}),
    ("sentinel2", PACIFIC, {"filename": "*_T55PBR_*"}, {}),
    ("sentinel2", PATAGONIA, {}, {}),
]


@pytest.mark.parametrize(("constellation", "ring", "parameters", "changes"), CASES)
async def test_exactly_the_matching_products(
    products: list[Product],
    odata_server: ODataServer,
    constellation: str,
    ring: list[list[float]],
    parameters: dict[str, str],
    changes: dict[str, str],
) -> None:
    replay = odata_server(products)
    asked = payload(constellation, ring, parameters, **changes)
    found = await find_scenes(asked, [catalogue(replay)])
    assert set(names(found.scenes)) == expected(products, asked)
    assert len(names(found.scenes)) == len(set(names(found.scenes)))
    assert [scene.data.date for scene in found.scenes] == sorted(scene.data.date for scene in found.scenes)
    assert not found.has_next
    assert set(replay.statuses) == {200}


def test_the_cases_differ(products: list[Product]) -> None:
    """Were they all empty or all the same, a search that ignores its filter would pass."""
    answers = [frozenset(expected(products, payload(case[0], case[1], case[2], **case[3]))) for case in CASES]
    assert len(set(answers)) >= 18
    assert sum(not answer for answer in answers) <= 5


async def test_in_pages_slices_and_trouble_it_is_the_same(products: list[Product], odata_server: ODataServer) -> None:
    """Pages of three, slices of four months read four at once, a server that is crowded by more than two and fails now and then."""
    trouble = {7: Fault(503), 11: Fault(429, {"Retry-After": "0"}), 13: Fault(502, body=b"")}
    replay = odata_server(products, every=trouble, most_at_once=2, retry_after="0", seconds=0.005)
    asked = payload("sentinel1", AMERICAS, GRD, start_time="2025-01-01T00:00:00Z")
    searched = catalogue(replay, page_size=3, slice_days=120, retries=20)
    found = await find_scenes(asked, [searched])
    assert set(names(found.scenes)) == expected(products, asked)
    assert len(found.scenes) > 10
    assert {200, 429, 503} <= set(replay.statuses)
    assert len(set(replay.filters)) == 7
    assert 2 < replay.busiest <= 4


async def test_every_slice_asks_for_its_own_dates(products: list[Product], odata_server: ODataServer) -> None:
    replay = odata_server(products)
    asked = payload("sentinel1", AMERICAS, GRD, start_time="2025-12-31T00:00:00Z", end_time="2026-01-22T00:05:36.293Z")
    found = await find_scenes(asked, [catalogue(replay, slice_days=1)])
    assert set(names(found.scenes)) == expected(products, asked)
    spans = [re.findall(r"ContentDate/Start (\w\w) (\S+)", text) for text in replay.filters]
    spans.sort()
    assert [span[0][0] for span in spans] == ["ge"] * 23
    assert [span[1][0] for span in spans] == [*["lt"] * 22, "le"]
    assert all(one[1][1] == other[0][1] for one, other in itertools.pairwise(spans))


async def test_products_of_one_date_that_change_places_between_pages_are_not_missed(
    products: list[Product], odata_server: ODataServer
) -> None:
    one = next(product for product in products if "_MSIL1C_" in product["Name"])
    many: list[Product] = []
    for number in range(40):
        like = variant(one, 100 + number, ("_T54PXA_", f"_T{number + 10:02d}PXA_"))
        # Some dates are shared by four, as by the tiles of a datatake.
        like["ContentDate"] = {"Start": f"2020-08-08T01:03:{number // 4:02d}.000000Z"}
        many.append(like)
    replay = odata_server(many, stable=False)
    dates = {"start_time": "2020-08-08T01:00:00Z", "end_time": "2020-08-08T02:00:00Z"}
    found = await find_scenes(payload("sentinel2", PACIFIC, **dates), [catalogue(replay, page_size=6)])
    assert len(found.scenes) == 40
    assert not any("missing" in note for note in found.notes)


async def test_more_than_the_service_skips_is_read_in_shorter_slices(
    products: list[Product], odata_server: ODataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the longest skip it gives no next page, as if there were none."""
    monkeypatch.setattr("catalogue.external.odata_api._MAX_SKIP", 8)
    replay = odata_server(products, max_skip=8)
    asked = payload("sentinel1", AMERICAS, GRD, start_time="2025-12-01T00:00:00Z", end_time="2026-02-01T00:00:00Z")
    found = await find_scenes(asked, [catalogue(replay, page_size=4)])
    assert set(names(found.scenes)) == expected(products, asked)
    assert len(found.scenes) > 12
    with pytest.raises(UserError, match="pages only through its first 8 products") as raised:
        await find_scenes(payload("sentinel1", AMERICAS, GRD, page=3, limit=4), [catalogue(replay)])
    assert raised.value.field == "page"
    with pytest.raises(UserError, match="pages only through its first 8 products"):
        await find_scenes(payload("sentinel1", AMERICAS, GRD, page=0, limit=15), [catalogue(replay, page_size=4)])


@pytest.mark.parametrize("limit", [1, 4, 5, 7, 19, 40])
@pytest.mark.parametrize("page_size", [3, 1000])
async def test_pages_are_counted_from_zero_and_say_whether_there_are_more(
    products: list[Product], odata_server: ODataServer, limit: int, page_size: int
) -> None:
    replay = odata_server(products)
    everything = expected(products, payload("sentinel1", AMERICAS, GRD))
    found: list[str] = []
    for page in range(100):
        answer = await find_scenes(payload("sentinel1", AMERICAS, GRD, page=page, limit=limit), [catalogue(replay, page_size=page_size)])
        assert len(answer.scenes) <= limit
        found += names(answer.scenes)
        if not answer.has_next:
            break
    assert page == (len(everything) - 1) // limit
    assert sorted(found) == sorted(everything)
    assert [name for name in found if name] == sorted(found, key=lambda name: name.split("_")[4])
    beyond = await find_scenes(payload("sentinel1", AMERICAS, GRD, page=page + 1, limit=limit), [catalogue(replay)])
    assert (beyond.scenes, beyond.has_next) == ([], False)


async def test_a_long_outline_is_shortened_for_the_url_and_applied_exactly(products: list[Product], odata_server: ODataServer) -> None:
    replay = odata_server(products, longest_url=2600)
    circle = Polygon(shapely.Point(-76.0, -54.5).buffer(1.5, quad_segs=2000))
    ring = [list(position) for position in circle.exterior.coords]
    asked = payload("sentinel1", ring, GRD)
    found = await find_scenes(asked, [catalogue(replay, max_url_length=2500)])
    assert set(names(found.scenes)) == expected(products, asked)
    assert 0 < len(found.scenes) < len(expected(products, payload("sentinel1", AMERICAS, GRD)))
    assert set(replay.statuses) == {200}


async def test_an_area_across_the_antimeridian(products: list[Product], odata_server: ODataServer) -> None:
    one = next(product for product in products if product["Name"].startswith("S1A_IW_GRDH_"))
    crossing = variant(one, 1)
    crossing["GeoFootprint"] = {
        "type": "MultiPolygon",
        "coordinates": [
            [list(map(list, box(*bounds).exterior.coords))] for bounds in ((179.0, 10.0, 180.0, 12.0), (-180.0, 10.0, -178.5, 12.0))
        ],
    }
    far = variant(one, 2, ("T012508_", "T012500_"))
    far["GeoFootprint"] = mapping(box(-1.0, 10.0, 1.0, 12.0))
    replay = odata_server([crossing, far])
    for ring in (
        [[178.0, 9.0], [183.0, 9.0], [183.0, 13.0], [178.0, 13.0], [178.0, 9.0]],
        [[-179.5, 11.0], [-178.0, 11.0], [-178.0, 11.5], [-179.5, 11.5], [-179.5, 11.0]],
    ):
        for length in (2000, 8000):
            found = await find_scenes(payload("sentinel1", ring, GRD), [catalogue(replay, max_url_length=length)])
            assert names(found.scenes) == [crossing["Name"].removesuffix(".SAFE")]
    (scene,) = found.scenes
    assert scene.footprint().geom_type == "MultiPolygon"


async def test_a_footprint_written_across_the_antimeridian_is_split(products: list[Product], odata_server: ODataServer) -> None:
    one = next(product for product in products if product["Name"].startswith("S1A_IW_GRDH_"))
    text = "geography'SRID=4326;POLYGON ((179 10, -178.5 10, -178.5 12, 179 12, 179 10))'"
    body = json.dumps({"value": [one | {"GeoFootprint": None, "Footprint": text}]}).encode()
    ring = [[179.5, 9.0], [180.0, 9.0], [180.0, 13.0], [179.5, 13.0], [179.5, 9.0]]
    found = await find_scenes(payload("sentinel1", ring, GRD), [catalogue(odata_server([], faults=deque_of(Fault(200, body=body))))])
    footprint = found.scenes[0].footprint()
    assert footprint.bounds[0::2] == (-180.0, 180.0)
    assert footprint.area == pytest.approx(5.0, rel=1e-3)
