"""Bursts asked of a service that lists them, against the annotations they come from; and services that answer badly."""

from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid5
from xml.etree import ElementTree

import pytest
import shapely
from fixtures_services import run_catalogue
from sentinel1_data import PAIR, SERIES, annotations, scene_name, scenes_document

from catalogue.sentinel1.annotations import AnnotationFile, AnnotationReader, configured_reader
from catalogue.sentinel1.burst_ids import BEAM_S
from catalogue.sentinel1.bursts import Burst, read_bursts
from catalogue.sentinel1.bursts_api import BurstService, configured_burst_service
from catalogue.sentinel1.series import SeriesTile
from catalogue.tiles import find_tiles
from common.config import AnnotationSettings, Settings
from common.errors import ConfigurationError, ThresherError, UpstreamError
from common.features import SceneCollection, SceneFeature
from common.payload import parse_payload
from common.times import to_utc
from tests.odata_replay import Fault, ODataReplay

Entry = dict[str, Any]
Server = Callable[..., ODataReplay]
HTML = Fault(200, {"Content-Type": "text/html"}, b"<html><body>Scheduled maintenance</body></html>")
DOWN = Fault(404, {}, b'{"detail": "Not Found"}')

DOCUMENTED: Entry = {
    "Id": "46577370-83b3-4410-89de-09b4bb23e5dd",
    "Name": "S1A-SLC-20240802T060723-15805-IW1-VH-040352",
    "ContentDate": {"Start": "2024-08-02T06:07:23.426535Z", "End": "2024-08-02T06:07:26.616535Z"},
    "Footprint": "geography'SRID=4326;POLYGON ((3.393735 51.141248, 2.762036 51.221625, 2.174971 51.293199, 2.114652 51.089904, "
    "2.700475 51.022923, 3.330851 50.947163, 3.393735 51.141248))'",
    "ParentProductName": "S1A_IW_SLC__1SDV_20240802T060719_20240802T060746_055030_06B44E_E7CC.SAFE",
    "ByteOffset": 138832827,
    "BurstId": 15805,
    "AbsoluteBurstId": 118199091,
    "AzimuthTime": "2024-08-02T06:07:22.288930Z",
    "AzimuthAnxTime": 2120.883319884,
    "ParentProductType": "IW_SLC__1S",
    "SwathIdentifier": "IW1",
    "RelativeOrbitNumber": 8,
    "OrbitDirection": "DESCENDING",
    "PlatformSerialIdentifier": "A",
    "PolarisationChannels": "VH",
    "OperationalMode": "IW",
    "DatatakeID": 40352,
    "Lines": 1508,
    "LinesPerBurst": 1508,
    "SamplesPerBurst": 22998,
    "BeginningDateTime": "2024-08-02T06:07:23.426535Z",
    "EndingDateTime": "2024-08-02T06:07:26.616535Z",
}
"""The entry that the documentation of the service shows."""

AREA = {
    "name": "s1",
    "type": "Polygon",
    "coordinates": [[[-132, 50], [-126, 50], [-126, 53], [-132, 53], [-132, 50]]],
    "start_time": "2014-01-01T00:00:00Z",
    "end_time": "2026-01-01T00:00:00Z",
    "scene_type": {"constellation": "sentinel1"},
    "scene_graph_name": "Pass",
    "tile_graph_name": "Pass",
}


@pytest.fixture
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        yield lambda entries, **manners: stack.enter_context(ODataReplay([], bursts=entries, **manners).running())


@cache
def _entries_of(data: Path, scene: str) -> list[Entry]:
    return [entry for file in annotations(data, scene) for entry in entries_of_annotation(scene, file)]


def entries(data: Path, *scenes: str) -> list[Entry]:
    """What the service lists of scenes of the test data."""
    return copy.deepcopy([entry for scene in scenes for entry in _entries_of(data, scene)])


def identity(scene: str, swath: str, polarisation: str, place: int) -> str:
    """The Id of an entry; `place` counts from 0."""
    return str(uuid5(UUID(int=0), f"{scene}{swath}{polarisation}{place}"))


def entries_of_annotation(scene: str, file: AnnotationFile) -> Iterator[Entry]:
    """The bursts of an annotation in the documented fields; footprints with a vertex in the middle of the long sides, as there."""
    root = ElementTree.fromstring(file.content)
    orbit = int(root.findtext("adsHeader/absoluteOrbitNumber", ""))
    swath, polarisation = root.findtext("adsHeader/swath", ""), root.findtext("adsHeader/polarisation", "")
    lines, samples = (int(root.findtext(f"swathTiming/{name}PerBurst", "")) for name in ("lines", "samples"))
    grid: dict[int, list[tuple[float, float]]] = {}
    for point in root.iterfind("geolocationGrid/geolocationGridPointList/geolocationGridPoint"):
        position = (float(point.findtext("longitude", "")), float(point.findtext("latitude", "")))
        grid.setdefault(int(point.findtext("line", "")), []).append(position)

    def row(line: int) -> list[tuple[float, float]]:
        points = next(grid[near] for near in (line, line - 1, line + 1) if near in grid)
        return [points[0], points[len(points) // 2], points[-1]]

    for number, burst in enumerate(root.iterfind("swathTiming/burstList/burst")):
        time = burst.findtext("azimuthTime", "") + "Z"
        written = burst.find("burstId")
        ring = [[round(x, 6), round(y, 6)] for x, y in [*row(number * lines), *reversed(row((number + 1) * lines))]]
        ring.append(ring[0])
        name = f"{scene[:3]}-SLC-{time[:19].replace('-', '').replace(':', '')}-{swath}-{polarisation}"
        yield {
            **DOCUMENTED,
            "Id": identity(scene, swath, polarisation, number),
            "Name": name,
            "ContentDate": {"Start": time, "End": time},
            "BeginningDateTime": time,
            "EndingDateTime": time,
            "Footprint": f"geography'SRID=4326;POLYGON (({', '.join(f'{x} {y}' for x, y in ring)}))'",
            "GeoFootprint": {"type": "Polygon", "coordinates": [ring]},
            "ParentProductName": f"{scene}.SAFE",
            "ByteOffset": int(burst.findtext("byteOffset", "")),
            "BurstId": int(written.text or "") if written is not None else None,
            "AbsoluteBurstId": int(written.get("absolute", "")) if written is not None else None,
            "AzimuthTime": time,
            "AzimuthAnxTime": float(burst.findtext("azimuthAnxTime", "")),
            "SwathIdentifier": swath,
            "RelativeOrbitNumber": (orbit - (73 if scene.startswith("S1A") else 27)) % 175 + 1,
            "OrbitDirection": root.findtext("generalAnnotation/productInformation/pass", "").upper(),
            "PlatformSerialIdentifier": scene[2],
            "PolarisationChannels": polarisation,
            "Lines": lines,
            "LinesPerBurst": lines,
            "SamplesPerBurst": samples,
        }


def service(replay: ODataReplay, **changes: Any) -> BurstService:
    return BurstService(replay.url, **{"timeout_s": 10.0, "retries": 2, **changes})


def scenes(*names: str, **tags: str) -> list[SceneFeature]:
    found = SceneCollection.model_validate(scenes_document(names)).scenes
    return [scene.model_copy(update={"tags": tags}) for scene in found]


async def ask(asked: BurstService, *names: str, **tags: str) -> dict[str, list[Burst] | ThresherError]:
    return {scene.source_id: bursts async for scene, bursts in asked.read_many(scenes(*names, **tags))}


async def refusal(asked: BurstService, name: str = PAIR[0]) -> str:
    """Why a scene's bursts are not known."""
    outcome = (await ask(asked, name))[name]
    assert isinstance(outcome, UpstreamError)
    return str(outcome)


async def no_others(_: Sequence[SeriesTile]) -> Sequence[SeriesTile]:
    return []


def zips(data: Path) -> AnnotationReader:
    """Of the annotations of the pair."""
    pattern = f"{data}/s1_slc/pair_T108_20250406_20250418/{{SCENE}}.SAFE.zip"
    return configured_reader(Settings(annotations=AnnotationSettings(urls=[pattern])))


async def tiles(reader: AnnotationReader, asked: BurstService | None) -> SceneCollection:
    return await find_tiles(parse_payload(AREA), SceneCollection(scenes=scenes(*PAIR)), reader, no_others, asked)


def facts(bursts: list[Burst] | ThresherError) -> list[tuple[Any, ...]]:
    """All but the footprint."""
    assert not isinstance(bursts, ThresherError), bursts
    return [(b.tile_id, b.swath, b.number, b.anx_time_ds, b.direction, b.relative_orbit, b.burst_id) for b in bursts]


def without_footprints(found: SceneCollection) -> Any:
    return [
        [scene.source_id, scene.data.tiles, scene.data.metadata, [tile.model_copy(update={"wkt": ""}) for tile in scene.tiles]]
        for scene in found.scenes
    ]


class TestSameAsAnnotations:
    async def test_bursts_of_six_scenes(self, server: Server, shared_data: Path) -> None:
        """Two tracks, two satellites, three processors, two of which wrote no burst ids."""
        names = (*PAIR, *SERIES)
        found = await ask(service(server(entries(shared_data, *names))), *names)
        for name in names:
            assert facts(found[name]) == facts(read_bursts(name, annotations(shared_data, name))), name

    async def test_footprints_cover_the_same_ground_in_the_same_manner(self, server: Server, shared_data: Path) -> None:
        found = (await ask(service(server(entries(shared_data, PAIR[0]))), PAIR[0]))[PAIR[0]]
        assert not isinstance(found, ThresherError)
        for ours, theirs in zip(found, read_bursts(PAIR[0], annotations(shared_data, PAIR[0])), strict=True):
            one, other = shapely.from_wkt(ours.wkt), shapely.from_wkt(theirs.wkt)
            assert one.intersection(other).area > 0.98 * one.union(other).area
            assert one.exterior.is_ccw == other.exterior.is_ccw
            assert one.exterior.coords[0] == other.exterior.coords[0]
            assert {*other.exterior.coords} < {*one.exterior.coords}
            assert ours.wkt.startswith("POLYGON((")

    async def test_tiles_with_their_places_and_links_need_no_product(self, server: Server, shared_data: Path) -> None:
        replay = server(entries(shared_data, *PAIR))
        found = await tiles(configured_reader(Settings()), service(replay))
        assert without_footprints(found) == without_footprints(await tiles(zips(shared_data), None))
        assert not found.notes
        assert [len(scene.tiles) for scene in found.scenes] == [27, 27]
        assert all(tile.previous and tile.previous.scene_id == PAIR[0] for tile in found.scenes[1].tiles)
        assert len(replay.urls) == 1

    async def test_without_ids_they_are_computed(self, server: Server, shared_data: Path) -> None:
        listed = entries(shared_data, PAIR[0])
        expected = await ask(service(server(listed)), PAIR[0])
        for value in (None, 0, "unknown"):
            found = await ask(service(server([entry | {"BurstId": value} for entry in listed])), PAIR[0])
            assert facts(found[PAIR[0]]) == facts(expected[PAIR[0]])

    async def test_what_the_catalogue_says_of_a_scene_counts(self, server: Server, shared_data: Path) -> None:
        found = await ask(service(server(entries(shared_data, PAIR[0]))), PAIR[0], orbitDirection="DESCENDING", relativeOrbit="7")
        assert {fact[0].split("_")[0] for fact in facts(found[PAIR[0]])} == {"D7"}

    async def test_the_documented_entry(self, server: Server) -> None:
        """The second burst of its sub-swath; the others of the scene are made like it."""
        name = DOCUMENTED["ParentProductName"].removesuffix(".SAFE")
        at = datetime.fromisoformat(DOCUMENTED["AzimuthTime"])
        listed = [
            DOCUMENTED
            | {
                "Id": f"{swath}{step}",
                "SwathIdentifier": swath,
                "AzimuthTime": (at + timedelta(seconds=step * BEAM_S)).isoformat(),
                "AzimuthAnxTime": DOCUMENTED["AzimuthAnxTime"] + step * BEAM_S,
                "BurstId": DOCUMENTED["BurstId"] + step,
                "ByteOffset": DOCUMENTED["ByteOffset"] + step * 4 * 1508 * 22998,
            }
            for swath in ("IW1", "IW2", "IW3")
            for step in range(-1, 8)
        ]
        listed[1] = DOCUMENTED
        found = (await ask(service(server(listed)), name))[name]
        assert facts(found)[1] == ("D8_IW1_21209", "IW1", 2, 21209, "D", 8, 15805)
        assert not isinstance(found, ThresherError)
        assert found[1].wkt.startswith("POLYGON((3.393735 51.141248, 3.330851 50.947163, ")
        assert [burst.burst_id for burst in found[:9]] == list(range(15804, 15813))

    async def test_over_the_node_bursts_are_numbered_by_time(self, server: Server, shared_data: Path) -> None:
        """Whether the times after the node run on or begin anew."""
        moved = entries(shared_data, PAIR[0])
        for entry in moved:
            entry["AzimuthAnxTime"] += 5924.57 - 848.0
        anew = [entry | {"AzimuthAnxTime": entry["AzimuthAnxTime"] % 5924} for entry in moved]
        found = [facts((await ask(service(server(listed)), PAIR[0]))[PAIR[0]]) for listed in (moved, anew)]
        assert [fact[:4] for fact in found[0]] == [fact[:4] for fact in found[1]]
        times = [fact[3] for fact in found[0][:9]]
        assert times != sorted(times)

    async def test_over_the_antimeridian(self, server: Server, shared_data: Path) -> None:
        listed = entries(shared_data, PAIR[0])
        west = min(x for entry in listed for x, _ in entry["GeoFootprint"]["coordinates"][0])
        for entry in listed:
            [ring] = entry["GeoFootprint"]["coordinates"]
            entry["GeoFootprint"]["coordinates"] = [[[(x - west + 179.5 + 180) % 360 - 180, y] for x, y in ring]]
        found = (await ask(service(server(listed)), PAIR[0]))[PAIR[0]]
        assert not isinstance(found, ThresherError)
        assert any(burst.wkt.startswith("MULTIPOLYGON(((") for burst in found)
        for burst in found:
            footprint = shapely.from_wkt(burst.wkt)
            assert footprint.is_valid
            assert footprint.area < 1


class TestRequests:
    async def test_pages(self, server: Server, shared_data: Path) -> None:
        replay = server(entries(shared_data, *PAIR))
        found = await ask(service(replay, page_size=25), *PAIR)
        assert [len(facts(bursts)) for bursts in found.values()] == [27, 27]
        assert len(replay.urls) == 5, "108 entries"
        assert parse_qs(urlsplit(replay.urls[1]).query)["$skip"] == ["25"]

    async def test_scenes_share_requests_as_long_as_the_url_can_carry_them(self, server: Server, shared_data: Path) -> None:
        first = to_utc(scenes(PAIR[0])[0].data.date)
        others = [scene_name(first, orbit=number, unique=f"{number:04X}") for number in range(1, 100)]
        replay = server(entries(shared_data, *PAIR), longest_url=2100)
        found = await ask(service(replay, max_url_length=2000), *others, *PAIR)
        assert {name for name, bursts in found.items() if not isinstance(bursts, ThresherError)} == {*PAIR}
        assert len(found) == 101
        assert 5 < len(replay.urls) < 12
        assert {*replay.statuses} == {200}

    async def test_other_processings_of_a_scene_are_not_mixed_in(self, server: Server, shared_data: Path) -> None:
        twin = f"{PAIR[0][:-4]}0000"
        replay = server(entries(shared_data, PAIR[0]) + [e | {"ParentProductName": f"{twin}.SAFE"} for e in entries(shared_data, PAIR[1])])
        assert len(facts((await ask(service(replay), PAIR[0]))[PAIR[0]])) == 27

    async def test_it_waits_as_long_as_it_is_asked_to(self, server: Server, shared_data: Path) -> None:
        refusals = [Fault(429, {"Retry-After": "0"}, b"{}"), Fault(503, {"Retry-After": "0"})]
        replay = server(entries(shared_data, PAIR[0]), faults=deque(refusals))
        assert len(facts((await ask(service(replay), PAIR[0]))[PAIR[0]])) == 27
        assert replay.statuses == [429, 503, 200]

    async def test_a_service_that_is_down_is_not_asked_for_every_scene(self, server: Server) -> None:
        first = to_utc(scenes(PAIR[0])[0].data.date)
        names = [scene_name(first, orbit=number, unique=f"{number:04X}") for number in range(1, 200)]
        replay = server([], every={1: DOWN})
        found = await ask(service(replay, parallel=2), *names)
        assert all("HTTP 404" in str(error) for error in found.values())
        assert len(found) == 199
        assert len(replay.urls) == 2

    async def test_pages_that_lead_nowhere_end(self, server: Server, shared_data: Path) -> None:
        replay = server(entries(shared_data, PAIR[0]), next_of=lambda url: url.split("%24skip")[0].rstrip("&"))
        assert "pages do not advance" in await refusal(service(replay, page_size=20))

    async def test_entries_given_twice_count_once(self, server: Server, shared_data: Path) -> None:
        listed = entries(shared_data, PAIR[0])
        again = [entry | {"Id": str(number)} for number, entry in enumerate(listed)]
        assert len(facts((await ask(service(server(listed + again)), PAIR[0]))[PAIR[0]])) == 27


class TestFallingBack:
    async def test_a_scene_that_is_not_listed_is_read_from_its_annotations(self, server: Server, shared_data: Path) -> None:
        found = await tiles(zips(shared_data), service(server(entries(shared_data, PAIR[1]))))
        assert without_footprints(found) == without_footprints(await tiles(zips(shared_data), None))
        assert [len(tile.wkt.split(",")) for scene in found.scenes for tile in scene.tiles[:1]] == [5, 7]
        assert not found.notes

    @pytest.mark.parametrize("fault", [HTML, DOWN, Fault(200, {}, b'{"value": {}}'), Fault(302, {"Location": "https://example.com/login"})])
    async def test_a_service_that_does_not_answer_as_it_should(self, server: Server, shared_data: Path, fault: Fault) -> None:
        replay = server(entries(shared_data, *PAIR), faults=deque([fault]))
        assert await tiles(zips(shared_data), service(replay)) == await tiles(zips(shared_data), None)

    async def test_where_both_fail_both_are_named(self, server: Server, shared_data: Path, tmp_path: Path) -> None:
        nowhere = configured_reader(Settings(annotations=AnnotationSettings(urls=[f"{tmp_path}/{{SCENE}}.zip"])))
        found = await tiles(nowhere, service(server(entries(shared_data, PAIR[1]))))
        assert [scene.source_id for scene in found.scenes] == [PAIR[1]]
        [note] = found.notes
        assert note.startswith(f"{PAIR[0]} is left out: ")
        assert "/odata/v1/Bursts" in note
        assert "no bursts of it are listed" in note
        assert f"{tmp_path}/{PAIR[0]}.zip" in note
        with pytest.raises(UpstreamError, match=r"not JSON but HTML.*Scheduled maintenance.*cannot be read"):
            await tiles(nowhere, service(server([], faults=deque([HTML]))))

    async def test_without_any_place_of_annotations_the_service_alone_is_named(self, server: Server, shared_data: Path) -> None:
        found = await tiles(configured_reader(Settings()), service(server(entries(shared_data, PAIR[1]))))
        [note] = found.notes
        assert note.endswith("no bursts of it are listed")


BROKEN: dict[str, tuple[Entry, str]] = {
    "no time after the node": ({"AzimuthAnxTime": None}, "has no AzimuthAnxTime"),
    "a time that is none": ({"AzimuthAnxTime": "soon"}, "has 'soon' as AzimuthAnxTime"),
    "a time that is not finite": ({"AzimuthAnxTime": float("nan")}, "has 'nan' as AzimuthAnxTime"),
    "no azimuth time": ({"AzimuthTime": None, "BeginningDateTime": None}, "has no AzimuthTime"),
    "no sub-swath": ({"SwathIdentifier": None}, "has no SwathIdentifier"),
    "a sub-swath of another mode": ({"SwathIdentifier": "EW1"}, "has 'EW1' as SwathIdentifier"),
    "no polarisation": ({"PolarisationChannels": None}, "has no PolarisationChannels"),
    "two polarisations": ({"PolarisationChannels": "VV&VH"}, "as PolarisationChannels"),
    "no direction": ({"OrbitDirection": None}, "has no OrbitDirection"),
    "no footprint": ({"GeoFootprint": None, "Footprint": None}, "GeoFootprint: it has no geometry"),
    "a footprint that is a line": ({"GeoFootprint": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}, "GeoFootprint: its geometry"),
    "lines that are none": ({"LinesPerBurst": 0}, "as LinesPerBurst"),
    "another place in the measurement": ({"ByteOffset": 0, "SamplesPerBurst": 1}, "lies at the place of burst 1"),
}


class TestBadEntries:
    @pytest.mark.parametrize("case", BROKEN)
    async def test_the_scene_and_the_field_are_named(self, server: Server, shared_data: Path, case: str) -> None:
        change, message = BROKEN[case]
        listed = entries(shared_data, *PAIR)
        [broken] = [e for e in listed if e["Id"] == identity(PAIR[0], "IW2", "VV", 4)]
        broken.update(change)
        found = await ask(service(server(listed)), *PAIR)
        assert isinstance(found[PAIR[0]], UpstreamError)
        assert PAIR[0] in str(found[PAIR[0]])
        assert message in str(found[PAIR[0]])
        assert len(facts(found[PAIR[1]])) == 27

    async def test_an_entry_of_no_product_may_be_of_any(self, server: Server, shared_data: Path) -> None:
        listed = entries(shared_data, PAIR[0])
        del listed[3]["ParentProductName"]
        answer = Fault(200, {}, json.dumps({"value": listed}).encode())
        message = await refusal(service(server([], faults=deque([answer]))))
        assert PAIR[0] in message
        assert "has no ParentProductName" in message

    @pytest.mark.parametrize("document", [None, 7, [], "burst", {}])
    async def test_what_is_no_entry(self, server: Server, document: Any) -> None:
        answer = Fault(200, {}, json.dumps({"value": [document]}).encode())
        assert "has no ParentProductName" in await refusal(service(server([], faults=deque([answer]))))

    @pytest.mark.parametrize(
        ("swaths", "place", "has_offsets"), [("1", 0, True), ("1", 4, True), ("1", 4, False), ("123", 0, False), ("123", 8, True)]
    )
    async def test_a_list_that_is_not_complete(
        self, server: Server, shared_data: Path, swaths: str, place: int, *, has_offsets: bool
    ) -> None:
        """Its numbers would be those of other bursts."""
        listed = entries(shared_data, PAIR[0])
        gone = {identity(PAIR[0], f"IW{swath}", polarisation, place) for swath in swaths for polarisation in ("VV", "VH")}
        kept = [entry if has_offsets else entry | {"ByteOffset": None} for entry in listed if entry["Id"] not in gone]
        assert len(kept) == 54 - len(gone)
        assert "bursts are missing" in await refusal(service(server(kept)))

    async def test_a_sub_swath_is_missing(self, server: Server, shared_data: Path) -> None:
        listed = [entry for entry in entries(shared_data, PAIR[0]) if entry["SwathIdentifier"] != "IW3"]
        assert "no bursts of IW3 are listed" in await refusal(service(server(listed)))

    async def test_polarisations_differ(self, server: Server, shared_data: Path) -> None:
        last = identity(PAIR[0], "IW2", "VV", 8)
        listed = [entry for entry in entries(shared_data, PAIR[0]) if entry["Id"] != last]
        assert "the bursts of IW2 are not the same in its polarisations: 8 and 9" in await refusal(service(server(listed)))

    async def test_names_that_are_no_products_are_not_asked_for(self, server: Server) -> None:
        replay = server([])
        [scene] = scenes(PAIR[0])
        [(_, error)] = [pair async for pair in service(replay).read_many([scene.model_copy(update={"source_id": "x' or Id ne '"})])]
        assert isinstance(error, ThresherError)
        assert not replay.urls


class TestConfiguration:
    @pytest.mark.parametrize(
        "url", ["ftp://example.com/odata", "example.com", "https://example.com/odata?x=1", "https://u:p@example.com/", "/a"]
    )
    def test_the_key_is_named(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"annotations\.bursts_url"):
            configured_burst_service(Settings(annotations=AnnotationSettings(bursts_url=url)))

    def test_by_default_there_is_none(self) -> None:
        assert configured_burst_service(Settings()) is None

    async def test_the_address_may_be_that_of_the_entity_set(self, server: Server, shared_data: Path) -> None:
        replay = server(entries(shared_data, PAIR[0]))
        for url in (replay.url, replay.url.rstrip("/"), f"{replay.url}Bursts", f"{replay.url}Bursts/"):
            asked = configured_burst_service(Settings(annotations=AnnotationSettings(bursts_url=url)))
            assert asked is not None
            assert len(facts((await ask(asked, PAIR[0]))[PAIR[0]])) == 27

    async def test_the_catalogue_asks_it(self, server: Server, shared_data: Path, catalogue_settings: Settings) -> None:
        replay = server(entries(shared_data, *PAIR))
        changes = {"annotations": AnnotationSettings(bursts_url=replay.url)}
        async with run_catalogue(catalogue_settings.model_copy(update=changes)) as catalogue:
            response = await catalogue.post("/catalog/tiles", area=json.dumps(AREA), scenes=json.dumps(scenes_document(PAIR)))
            assert response.status == 200, await response.text()
            listed = await response.json()
        assert [len(feature["properties"]["tiles"]) for feature in listed["features"]] == [27, 27]
        assert len(replay.urls) == 1
