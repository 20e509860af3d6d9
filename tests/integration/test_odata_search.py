"""The OData search against a server that evaluates `$filter` on recorded products: exactly the matching ones, with all their tags."""

from __future__ import annotations

import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.geometry import Polygon, box, mapping, shape

from catalogue.external.odata_api import ODataCatalogue
from catalogue.external.offers import Offer
from catalogue.external.presets import ODATA_COLLECTIONS
from catalogue.inventory import find_scenes
from common.errors import UpstreamError, UserError
from common.features import SceneFeature
from common.payload import Payload, parse_payload
from tests.odata_replay import Fault, ODataReplay, Product, recorded, variant

Server = Callable[..., ODataReplay]
PATAGONIA = [[-80.0, -60.0], [-60.0, -60.0], [-60.0, -50.0], [-80.0, -50.0], [-80.0, -60.0]]
AMERICAS = [[-125.0, -65.0], [-25.0, -65.0], [-25.0, 40.0], [-125.0, 40.0], [-125.0, -65.0]]
PACIFIC = [[137.0, 13.0], [154.0, 13.0], [154.0, 24.0], [137.0, 24.0], [137.0, 13.0]]
WORLD = [[-180.0, -90.0], [180.0, -90.0], [180.0, 90.0], [-180.0, 90.0], [-180.0, -90.0]]
GRD = {"producttype": "GRD"}


@pytest.fixture
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        yield lambda products, **manners: stack.enter_context(ODataReplay(products, **manners).running())


@pytest.fixture(scope="module")
def products(shared_data: Path) -> list[Product]:
    """The recorded products and some like them: SLC, other modes and polarisations, older types, cloud-optimised copies, L2A."""
    known = recorded(shared_data / "cdse_odata")
    grd = [product for product in known if "_GRDH_" in product["Name"]]
    l1c = [product for product in known if "_MSIL1C_" in product["Name"]]
    made: list[Product] = []
    for number, product in enumerate(grd):
        slc = ("_GRDH_1S", "_SLC__1S")
        made.append(variant(product, 1, slc, productType="SLC" if number % 4 == 0 else "IW_SLC__1S"))
        if number % 5 == 1:
            made.append(variant(product, 2, ("_GRDH_1SDV", "_SLC__1SSV"), productType="IW_SLC__1S", polarisationChannels="VV"))
            made.append(variant(product, 3, (".SAFE", "_COG.SAFE"), productType="IW_GRDH_1S-COG"))
            made.append(variant(product, 4, ("_IW_GRDH_", "_S3_GRDF_"), productType="S3_GRDF_1S", operationalMode="SM"))
        if number % 5 == 2:
            wide = {"productType": "EW_GRDM_1S", "operationalMode": "EW", "polarisationChannels": "HH&HV"}
            made.append(variant(product, 5, ("_IW_GRDH_1SDV", "_EW_GRDM_1SDH"), **wide))
            made.append(variant(product, 6, slc, productType="IW_SLC__1S", polarisationChannels="VH&VV", orbitDirection="DESCENDING"))
    for number, product in enumerate(l1c):
        made.append(variant(product, 7, ("_MSIL1C_", "_MSIL2A_"), productType="S2MSI2A", processingLevel="S2MSI2A"))
        made.append(variant(product, 8, ("T010311_N0500", f"T01041{number}_N0500"), cloudCover=10 + 0.5 * number, relativeOrbitNumber=46))
    return known + made


def catalogue(replay: ODataReplay, **changes: Any) -> ODataCatalogue:
    offer = Offer.of(ODATA_COLLECTIONS, key="collections")
    return replace(ODataCatalogue("copernicus", replay.url, offer, timeout_s=10.0, slice_days=36_500), **changes)


def payload(constellation: str, ring: list[list[float]], parameters: dict[str, str] | None = None, **changes: Any) -> Payload:
    return parse_payload(
        {
            "type": "Polygon",
            "coordinates": [ring],
            "name": "area",
            "start_time": "2014-01-01T00:00:00Z",
            "end_time": "2027-01-01T00:00:00Z",
            "scene_type": {"constellation": constellation, "parameters": parameters or {}},
            "scene_graph_name": "CopyProductToStorage",
            "tile_graph_name": "Extract",
            **changes,
        }
    )


def deque_of(*faults: Fault) -> deque[Fault]:
    return deque(faults)


def names(scenes: list[SceneFeature]) -> list[str]:
    return [scene.source_id for scene in scenes]


def attributes(product: Product) -> dict[str, Any]:
    return {entry["Name"]: entry["Value"] for entry in product["Attributes"]}


def expected(products: list[Product], asked: Payload) -> set[str]:
    """The names that match, told from the recorded fields alone; of processings of one acquisition the newest."""
    wanted = asked.scene_type.parameters
    radar = asked.scene_type.constellation == "SENTINEL1"
    kind = wanted.get("producttype", "SLC" if radar else "S2MSI1C")
    whole = "filename" not in wanted
    mode = wanted.get("sensoroperationalmode", "IW" if whole else "").upper()
    channels = wanted.get("polarisationmode", "VV VH" if whole and mode == "IW" else "").upper()
    found: dict[str, tuple[str, str]] = {}
    for product in products:
        given, name = attributes(product), product["Name"].removesuffix(".SAFE")
        start = datetime.fromisoformat(product["ContentDate"]["Start"])
        low, high = (float(text) for text in re.findall(r"[\d.]+", wanted.get("cloudcoverpercentage", "[0 TO 100]")))
        pattern = wanted.get("filename", "*").removesuffix(".SAFE")
        if not (
            product["GeoFootprint"] is not None
            and shape(product["GeoFootprint"]).intersects(asked.area)
            and name.startswith("S1" if radar else "S2")
            and asked.start_time <= start <= asked.end_time
            and (f"_{kind}" in name if radar else given["productType"] == kind)
            and (not radar or not mode or given["operationalMode"] == mode or f"_{mode}_" in name)
            and (not radar or not channels or set(given["polarisationChannels"].split("&")) == set(channels.split()))
            and str(given["relativeOrbitNumber"]) == wanted.get("relativeorbitnumber", str(given["relativeOrbitNumber"]))
            and given.get("orbitDirection") == wanted.get("orbitdirection", given.get("orbitDirection"))
            and low <= given.get("cloudCover", low) <= high
            and (fnmatchcase(name, pattern) or pattern in name)
            and not name.endswith("_COG")
        ):
            continue
        # The last part of the name tells processings apart.
        acquisition, _, _ = name.rpartition("_")
        found[acquisition] = max(found.get(acquisition, ("", "")), (given["processingDate"], name))
    return {name for _, name in found.values()}


# --- Exactly the matching products --------------------------------------------------------------------------------------------------

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
    server: Server,
    constellation: str,
    ring: list[list[float]],
    parameters: dict[str, str],
    changes: dict[str, str],
) -> None:
    replay = server(products)
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


async def test_in_pages_slices_and_trouble_it_is_the_same(products: list[Product], server: Server) -> None:
    """Pages of three, slices of four months read four at once, a server that is crowded by more than two and fails now and then."""
    trouble = {7: Fault(503), 11: Fault(429, {"Retry-After": "0"}), 13: Fault(502, body=b"")}
    replay = server(products, every=trouble, most_at_once=2, retry_after="0", seconds=0.005)
    asked = payload("sentinel1", AMERICAS, GRD, start_time="2025-01-01T00:00:00Z")
    searched = catalogue(replay, page_size=3, slice_days=120, retries=20)
    found = await find_scenes(asked, [searched])
    assert set(names(found.scenes)) == expected(products, asked)
    assert len(found.scenes) > 10
    assert {200, 429, 503} <= set(replay.statuses)
    assert len(set(replay.filters)) == 7
    assert 2 < replay.busiest <= 4


async def test_every_slice_asks_for_its_own_dates(products: list[Product], server: Server) -> None:
    replay = server(products)
    asked = payload("sentinel1", AMERICAS, GRD, start_time="2025-12-31T00:00:00Z", end_time="2026-01-22T00:05:36.293Z")
    found = await find_scenes(asked, [catalogue(replay, slice_days=1)])
    assert set(names(found.scenes)) == expected(products, asked)
    spans = [re.findall(r"ContentDate/Start (\w\w) (\S+)", text) for text in replay.filters]
    spans.sort()
    assert [span[0][0] for span in spans] == ["ge"] * 23
    assert [span[1][0] for span in spans] == [*["lt"] * 22, "le"]
    assert all(one[1][1] == other[0][1] for one, other in itertools.pairwise(spans))


async def test_products_of_one_date_that_change_places_between_pages_are_not_missed(products: list[Product], server: Server) -> None:
    one = next(product for product in products if "_MSIL1C_" in product["Name"])
    many: list[Product] = []
    for number in range(40):
        like = variant(one, 100 + number, ("_T54PXA_", f"_T{number + 10:02d}PXA_"))
        # Some dates are shared by four, as by the tiles of a datatake.
        like["ContentDate"] = {"Start": f"2020-08-08T01:03:{number // 4:02d}.000000Z"}
        many.append(like)
    replay = server(many, stable=False)
    dates = {"start_time": "2020-08-08T01:00:00Z", "end_time": "2020-08-08T02:00:00Z"}
    found = await find_scenes(payload("sentinel2", PACIFIC, **dates), [catalogue(replay, page_size=6)])
    assert len(found.scenes) == 40
    assert not any("missing" in note for note in found.notes)


async def test_more_than_the_service_skips_is_read_in_shorter_slices(
    products: list[Product], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the longest skip it gives no next page, as if there were none."""
    monkeypatch.setattr("catalogue.external.odata_api._MAX_SKIP", 8)
    replay = server(products, max_skip=8)
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
    products: list[Product], server: Server, limit: int, page_size: int
) -> None:
    replay = server(products)
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


# --- Tags, value by value -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("published", [False, True])
async def test_tags_of_sentinel1(shared_data: Path, server: Server, published: bool) -> None:
    recordings = recorded(shared_data / "cdse_odata")
    replay = server(recordings)
    searched = catalogue(replay, name="creodias" if published else "copernicus", dated_by_publication=published)
    found = await find_scenes(payload("sentinel1", WORLD, GRD), [searched])
    assert len(found.scenes) == 20
    by_name = {product["Name"]: product for product in recordings}
    for scene in found.scenes:
        product = by_name[f"{scene.source_id}.SAFE"]
        given = attributes(product)
        root = f"{replay.url}Products({product['Id']})"
        # The one recorded product that goes on beyond the equator: 5909.2 s to 5934.2 s of an orbit of 5924.6 s.
        crosses = "_20260121T222237_" in scene.source_id
        assert scene.tags == {
            "sourceID": scene.source_id,
            "uuid": product["Id"],
            "ingestionDate": product["PublicationDate"] if published else product["ContentDate"]["Start"],
            "constellation": "SENTINEL1",
            "satellite": f"SENTINEL1{given['platformSerialIdentifier']}",
            "orbitDirection": given["orbitDirection"],
            "relativeOrbit": str(given["relativeOrbitNumber"]),
            "orbit": str(given["orbitNumber"]),
            "lastRelativeOrbit": str(given["relativeOrbitNumber"] + crosses),
            "lastOrbit": str(given["orbitNumber"] + crosses),
            "productType": "GRD",
            "polarisationMode": "VV VH",
            "sliceNumber": str(given["sliceNumber"]),
            "downloadURL": f"{root}/$value",
        }
        assert scene.data.date == datetime.fromisoformat(product["ContentDate"]["Start"])
        assert scene.footprint().equals(shape(product["GeoFootprint"]))
        metadata = scene.data.metadata
        assert (metadata.uuid, metadata.item, metadata.download_link) == (product["Id"], root, f"{root}/$value")
        assert metadata.catalogue == searched.name
        md5 = next(entry["Value"] for entry in product["Checksum"] if entry["Algorithm"] == "MD5")
        assert metadata.model_extra == {
            "processed": given["processingDate"].replace("Z", "+00:00"),
            "s3_path": product["S3Path"],
            "product_size": product["ContentLength"],
            "product_checksum": f"d50110{md5}",
        }


async def test_tags_of_sentinel2(shared_data: Path, server: Server) -> None:
    replay = server(recorded(shared_data / "cdse_odata"))
    found = await find_scenes(payload("sentinel2", WORLD), [catalogue(replay)])
    assert len(found.scenes) == 2
    assert any("producttype is not given; S2MSI1C is taken" in note for note in found.notes)
    for scene in found.scenes:
        product = next(product for product in replay.products if product["Name"].startswith(scene.source_id))
        assert scene.tags == {
            "sourceID": scene.source_id,
            "uuid": product["Id"],
            "ingestionDate": product["ContentDate"]["Start"],
            "constellation": "SENTINEL2",
            "satellite": "SENTINEL2A",
            "relativeOrbit": "45",
            "orbit": "26783",
            "productType": "S2MSI1C",
            "cloudCoverPercentage": str(attributes(product)["cloudCover"]),
            "downloadURL": f"{replay.url}Products({product['Id']})/$value",
        }


async def test_what_is_not_given_is_told(products: list[Product], server: Server) -> None:
    found = await find_scenes(payload("sentinel1", PATAGONIA), [catalogue(server(products))])
    for name, value in [("producttype", "SLC"), ("sensoroperationalmode", "IW"), ("polarisationmode", "VV VH")]:
        assert f"copernicus: scene_type.parameters.{name} is not given; {value} is taken" in found.notes


async def test_names_without_safe_missing_attributes_and_offline_products(products: list[Product], server: Server) -> None:
    one = next(product for product in products if product["Name"].startswith("S1A_IW_GRDH_"))
    bare = variant(one, 1, (".SAFE", ""))
    poor = variant(one, 2, ("_7994", "_0000")) | {"Online": False}
    poor["ContentDate"] = {"Start": "2026-01-01T01:25:09.000000Z"}
    poor["Name"] = poor["Name"].replace("T012508", "T012509")
    poor["Attributes"] = [
        entry for entry in one["Attributes"] if entry["Name"] in ("productType", "operationalMode", "polarisationChannels")
    ]
    found = await find_scenes(payload("sentinel1", WORLD, GRD), [catalogue(server([bare, poor]))])
    assert names(found.scenes) == [bare["Name"], poor["Name"].removesuffix(".SAFE")]
    tags = found.scenes[1].tags
    assert (tags["relativeOrbit"], tags["orbit"], tags["polarisationMode"], tags["satellite"]) == ("20", "62567", "VV VH", "SENTINEL1A")
    assert not {"orbitDirection", "sliceNumber", "lastOrbit"} & tags.keys()
    (note,) = [note for note in found.notes if "offline" in note]
    assert found.scenes[1].source_id in note
    assert found.scenes[0].source_id not in note


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"GeoFootprint": {"type": "Polygon", "coordinates": [[[0, 0], [1, float("nan")], [1, 1], [0, 0]]]}}, "not finite"),
        ({"GeoFootprint": {"type": "Polygon", "coordinates": [[[0, 0], [1, "x"], [1, 1], [0, 0]]]}}, "cannot be read"),
        ({"GeoFootprint": None, "Footprint": "geography'SRID=4326;POLYGON ((0 0, 1 1)'"}, "cannot be read"),
        ({"GeoFootprint": None, "Footprint": None}, "no geometry"),
        ({"ContentDate": {}}, "no ContentDate"),
        ({"ContentDate": None}, "no ContentDate"),
        ({"Id": "../../etc"}, "not a UUID"),
        ({"Name": "../../etc/passwd"}, "not usable as a name"),
        ({"Name": None}, "not usable as a name"),
    ],
)
async def test_products_that_cannot_be_read_are_left_out_and_named(
    products: list[Product], server: Server, change: dict[str, Any], reason: str
) -> None:
    good, bad = (
        product for product in products if product["Name"].startswith("S1A_IW_GRDH_1SDV_20260101T") and "COG" not in product["Name"]
    )
    body = json.dumps({"value": [good, bad | change]}).encode()
    found = await find_scenes(payload("sentinel1", WORLD, GRD), [catalogue(server([], faults=deque_of(Fault(200, body=body))))])
    assert names(found.scenes) == [good["Name"].removesuffix(".SAFE")]
    (note,) = [note for note in found.notes if "left out" in note]
    assert reason in note


# --- Area ---------------------------------------------------------------------------------------------------------------------------


async def test_a_long_outline_is_shortened_for_the_url_and_applied_exactly(products: list[Product], server: Server) -> None:
    replay = server(products, longest_url=2600)
    circle = Polygon(shapely.Point(-76.0, -54.5).buffer(1.5, quad_segs=2000))
    ring = [list(position) for position in circle.exterior.coords]
    asked = payload("sentinel1", ring, GRD)
    found = await find_scenes(asked, [catalogue(replay, max_url_length=2500)])
    assert set(names(found.scenes)) == expected(products, asked)
    assert 0 < len(found.scenes) < len(expected(products, payload("sentinel1", AMERICAS, GRD)))
    assert set(replay.statuses) == {200}


async def test_an_area_across_the_antimeridian(products: list[Product], server: Server) -> None:
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
    replay = server([crossing, far])
    for ring in (
        [[178.0, 9.0], [183.0, 9.0], [183.0, 13.0], [178.0, 13.0], [178.0, 9.0]],
        [[-179.5, 11.0], [-178.0, 11.0], [-178.0, 11.5], [-179.5, 11.5], [-179.5, 11.0]],
    ):
        for length in (2000, 8000):
            found = await find_scenes(payload("sentinel1", ring, GRD), [catalogue(replay, max_url_length=length)])
            assert names(found.scenes) == [crossing["Name"].removesuffix(".SAFE")]
    (scene,) = found.scenes
    assert scene.footprint().geom_type == "MultiPolygon"


async def test_a_footprint_written_across_the_antimeridian_is_split(products: list[Product], server: Server) -> None:
    one = next(product for product in products if product["Name"].startswith("S1A_IW_GRDH_"))
    text = "geography'SRID=4326;POLYGON ((179 10, -178.5 10, -178.5 12, 179 12, 179 10))'"
    body = json.dumps({"value": [one | {"GeoFootprint": None, "Footprint": text}]}).encode()
    ring = [[179.5, 9.0], [180.0, 9.0], [180.0, 13.0], [179.5, 13.0], [179.5, 9.0]]
    found = await find_scenes(payload("sentinel1", ring, GRD), [catalogue(server([], faults=deque_of(Fault(200, body=body))))])
    footprint = found.scenes[0].footprint()
    assert footprint.bounds[0::2] == (-180.0, 180.0)
    assert footprint.area == pytest.approx(5.0, rel=1e-3)


# --- Trouble ------------------------------------------------------------------------------------------------------------------------


async def test_all_requests_wait_as_long_as_one_was_told_to(products: list[Product], server: Server) -> None:
    """With a single retry each, any that came back sooner would fail."""
    replay = server(products, penalty_s=1.0, retry_after="2")
    asked = payload("sentinel1", AMERICAS, GRD, start_time="2025-01-01T00:00:00Z")
    found = await find_scenes(asked, [catalogue(replay, slice_days=60, retries=1)])
    assert set(names(found.scenes)) == expected(products, asked)
    assert 1 <= replay.statuses.count(429) <= 4
    assert replay.statuses.count(200) == len(set(replay.filters)) == 13


async def test_retry_after_is_honoured_as_seconds_and_as_date(products: list[Product], server: Server) -> None:
    past = format_datetime(datetime.fromisoformat("2020-01-01T00:00:00+00:00"), usegmt=True)
    replay = server(products, faults=deque_of(Fault(429, {"Retry-After": "1"}), Fault(503, {"Retry-After": past})))
    asked = payload("sentinel1", PATAGONIA, GRD)
    found = await find_scenes(asked, [catalogue(replay)])
    assert set(names(found.scenes)) == expected(products, asked)
    assert replay.statuses == [429, 503, 200]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(400, body=b'{"detail": "Invalid field: Nme"}'), r"HTTP 400: Invalid field: Nme"),
        (Fault(422, body=b'{"detail": [{"loc": ["query"], "msg": "too large"}]}'), r"HTTP 422: too large"),
        (Fault(403, body=b'{"detail": {"message": "no access", "request_id": "1"}}'), r"HTTP 403: no access"),
        (Fault(404, body=b"<html><h1>Not   Found</h1></html>"), r"HTTP 404: Not Found"),
        (
            Fault(301, {"Location": "https://elsewhere.example.com/odata/v1/Products?x"}),
            r"leads to https://elsewhere\.example\.com/odata/v1/Products:",
        ),
        (Fault(200, body=b"<html>maintenance</html>"), r"not JSON but HTML: 'maintenance'"),
        (Fault(200, body=b'{"value": [{"Id": '), r"not JSON but something else"),
        (Fault(200, body=b"[" * 100_000), r"not JSON"),
        (Fault(200, body=b'{"detail": "busy"}'), r"no list 'value': busy"),
        (Fault(200, body=b"[1]"), r"no list 'value'"),
    ],
)
async def test_what_is_no_answer_is_told_in_a_sentence(products: list[Product], server: Server, fault: Fault, message: str) -> None:
    replay = server(products, faults=deque_of(fault))
    with pytest.raises(UpstreamError, match=message) as raised:
        await find_scenes(payload("sentinel1", PATAGONIA, GRD), [catalogue(replay, retries=0)])
    assert "$filter" not in str(raised.value)
    assert len(str(raised.value)) < 600


async def test_patience_ends(products: list[Product], server: Server) -> None:
    replay = server(products, every={1: Fault(503, {"Retry-After": "0"})})
    with pytest.raises(UpstreamError, match="HTTP 503: Service Unavailable"):
        await find_scenes(payload("sentinel1", PATAGONIA, GRD), [catalogue(replay, retries=2)])
    assert replay.statuses == [503, 503, 503]


async def test_silence_and_absence_are_told(products: list[Product], server: Server) -> None:
    slow = server(products, every={1: Fault(200, delay_s=2.0)})
    with pytest.raises(UpstreamError, match="no answer in time"):
        await find_scenes(payload("sentinel1", PATAGONIA, GRD), [catalogue(slow, retries=0, timeout_s=0.2)])
    gone = catalogue(server(products), url="http://user:secret@127.0.0.1:9/odata/v1", retries=0)
    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1:9") as raised:
        await find_scenes(payload("sentinel1", PATAGONIA, GRD), [gone])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("link", ["http://127.0.0.2:1/odata/v1/Products?$skip=4", "file:///etc/passwd", "http://[::1", "ftp://127.0.0.1/"])
async def test_the_next_page_must_be_on_the_same_host(products: list[Product], server: Server, link: str) -> None:
    replay = server(products, next_of=lambda _: link)
    with pytest.raises(UpstreamError, match="not on the same host"):
        await find_scenes(payload("sentinel1", AMERICAS, GRD), [catalogue(replay, page_size=4)])
    assert len(replay.urls) == 1


async def test_a_next_link_behind_a_proxy_is_followed_where_we_came_from(products: list[Product], server: Server) -> None:
    """A service that does not know its own scheme and port, or links by path alone."""
    for change in (lambda link: re.sub(r"http://127\.0\.0\.1:\d+", "https://127.0.0.1", link), lambda link: link[link.index("/odata") :]):
        replay = server(products, next_of=change)
        asked = payload("sentinel1", AMERICAS, GRD)
        assert set(names((await find_scenes(asked, [catalogue(replay, page_size=4)])).scenes)) == expected(products, asked)


async def test_pages_that_do_not_advance_are_told(products: list[Product], server: Server) -> None:
    replay = server(products, next_of=lambda link: re.sub(r"%24skip=\d+", "%24skip=0", link))
    with pytest.raises(UpstreamError, match="do not advance"):
        await find_scenes(payload("sentinel1", AMERICAS, GRD), [catalogue(replay, page_size=4)])


async def test_too_many_are_refused(products: list[Product], server: Server) -> None:
    with pytest.raises(UserError, match="lists more than 9 products"):
        await find_scenes(payload("sentinel1", AMERICAS, GRD), [catalogue(server(products), max_items=9, page_size=4)])


async def test_another_catalogue_answers_where_one_fails(products: list[Product], server: Server) -> None:
    broken, whole = server(products, every={1: Fault(500)}), server(products)
    asked = payload("sentinel1", PATAGONIA, GRD)
    found = await find_scenes(asked, [catalogue(broken, retries=0), catalogue(whole, name="creodias")])
    assert set(names(found.scenes)) == expected(products, asked)
    assert any("copernicus" in note and "HTTP 500" in note for note in found.notes)


@pytest.mark.parametrize(("constellation", "parameters"), [("landsat89", {}), ("sentinel1", {"producttype": "OCN"}), ("phr", {})])
async def test_what_it_does_not_hold_is_not_asked_for(server: Server, constellation: str, parameters: dict[str, str]) -> None:
    replay = server([])
    with pytest.raises(UserError, match="no configured catalogue"):
        await find_scenes(payload(constellation, PATAGONIA, parameters), [catalogue(replay)])
    assert not replay.urls


async def test_unknown_parameters_are_refused_before_anything_is_asked(server: Server) -> None:
    replay = server([])
    with pytest.raises(UserError, match="known are filename, orbitdirection, polarisationmode") as raised:
        await find_scenes(payload("sentinel1", PATAGONIA, {"swath": "IW1"}), [catalogue(replay)])
    assert raised.value.field == "scene_type.parameters.swath"
    assert not replay.urls
