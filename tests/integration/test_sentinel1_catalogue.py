"""Sentinel-1 scenes over HTTP: bursts listed from annotations on disk, posted now and later, and annotations that are broken."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures_services import RunningCatalogue, run_catalogue
from fixtures_workflow import VARIABLE, Broker
from jobs_by_hand import finish_jobs
from sentinel1_data import PAIR, SERIES, annotation, scene_name, scenes_document, write_zip

from common.config import AnnotationSettings, LimitSettings, Settings
from common.features import SceneCollection
from common.messages import JobKind

SWATHS = ("IW1", "IW2", "IW3")
START = datetime(2025, 1, 6, 2, 20, 9, tzinfo=UTC)
NAMES = [scene_name(START + timedelta(days=12 * number), orbit=57405 + 175 * number) for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the catalogue is configured to read annotations."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    return folder


@pytest.fixture
async def catalogue(catalogue_settings: Settings, folder: Path, shared_data: Path) -> AsyncIterator[RunningCatalogue]:
    changes = {
        "annotations": AnnotationSettings(urls=[f"{folder}/{{SCENE}}.zip"]),
        "limits": LimitSettings(allowed_urls=["https://", "s3://", f"{shared_data}/"]),
    }
    async with run_catalogue(catalogue_settings.model_copy(update=changes)) as running:
        async with running.http.put(f"{running.url}/cube/variables/v", json=VARIABLE) as response:
            assert response.status == 201
        yield running


def area(west: float = 9.0, south: float = 49.0, east: float = 12.0, north: float = 52.0, **more: Any) -> str:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return json.dumps(
        {
            "name": "s1",
            "type": "Polygon",
            "coordinates": [ring],
            "start_time": "2014-01-01T00:00:00Z",
            "end_time": "2026-01-01T00:00:00Z",
            "scene_type": {"constellation": "sentinel1"},
            "scene_graph_name": "Pass",
            "tile_graph_name": "Pass",
            "layers": {"layer": {"variable": "v", "instance": "i"}},
            **more,
        }
    )


def write_scene(folder: Path, scene: str, **more: Any) -> None:
    """A product of two bursts in each sub-swath."""
    write_zip(folder, scene, [annotation(swath, times=(836.1 + step, 838.9 + step), **more) for step, swath in enumerate(SWATHS)])


async def list_tiles(catalogue: RunningCatalogue, *names: str, over: str | None = None) -> dict[str, Any]:
    response = await catalogue.post("/catalog/tiles", area=over or area(), scenes=json.dumps(scenes_document(names)))
    assert response.status == 200, await response.text()
    document: dict[str, Any] = await response.json()
    return document


async def post(catalogue: RunningCatalogue, tiles: dict[str, Any], over: str | None = None) -> dict[str, Any]:
    response = await catalogue.http.post(
        f"{catalogue.url}/catalog/aoi", data={"area": over or area(), "tiles": json.dumps(tiles)}, headers={"Accept": "application/json"}
    )
    document: dict[str, Any] = await response.json()
    assert response.status == 200, document
    return document


async def chain(catalogue: RunningCatalogue, tile: str = "A108_IW1_8361") -> dict[str, tuple[str | None, str | None]]:
    """By date of each scene the dates its tile follows and refers to."""
    rows = await catalogue.database.fetch(
        """SELECT s.source_id AS scene, ps.source_id AS previous, rs.source_id AS reference FROM tile t JOIN scene s ON s.id = t.scene_id
           LEFT JOIN tile p ON p.id = t.previous_id LEFT JOIN scene ps ON ps.id = p.scene_id
           LEFT JOIN tile r ON r.id = t.reference_id LEFT JOIN scene rs ON rs.id = r.scene_id WHERE t.source_id = $1""",
        tile,
    )
    return {row["scene"]: (row["previous"], row["reference"]) for row in rows}


def expected(*names: str) -> dict[str, tuple[str | None, str | None]]:
    """The plain series of scenes by date."""
    return {name: (names[place - 1], names[0]) if place else (None, None) for place, name in enumerate(names)}


def shape(value: Any) -> Any:
    """Names of fields, at any depth; of lists those of the first element."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


async def test_structure_of_the_recorded_answer(catalogue: RunningCatalogue, shared_data: Path) -> None:
    """A list of bursts has the fields that a recorded answer of the reference has, once both are written in its present names."""
    recorded = json.loads((shared_data / "payloads" / "DenmarkDemoS1.tiles.json").read_text())
    theirs = SceneCollection.model_validate(recorded).geojson()["features"][0]
    pattern = f"{shared_data}/s1_slc/pair_T108_20250406_20250418/{{SCENE}}.SAFE.zip"
    response = await catalogue.post(
        "/catalog/tiles", area=area(-132, 50, -126, 53, annotations_urls=[pattern]), scenes=json.dumps(scenes_document(PAIR))
    )
    assert response.status == 200, await response.text()
    ours = (await response.json())["features"][1]
    assert shape(ours["properties"]["tiles"]) == shape(theirs["properties"]["tiles"])
    assert ours["geometry"]["type"] == theirs["geometry"]["type"] == "MultiPolygon"
    assert len(ours["geometry"]["coordinates"]) == 1 + len(ours["properties"]["tiles"]) == 28
    assert ours["properties"].keys() == theirs["properties"].keys()
    assert {*ours["properties"]["data"]} | {"instances_id"} >= {*theirs["properties"]["data"]} - {"instances_id"}
    [*places] = ours["properties"]["data"]["tiles"].values()
    assert shape(places[0]) == {"swath_id": None, "tile_nr": None}
    ids = ours["properties"]["data"]["metadata"]["burst_ids"]
    assert sorted({ids[tile["SourceID"]] for tile in ours["properties"]["tiles"]}) == list(range(230131, 230141))


async def test_real_series_is_posted(catalogue: RunningCatalogue, shared_data: Path) -> None:
    """Four dates over shifted frames and three processors, listed and posted one by one, in an order that is not theirs."""
    pattern = f"{shared_data}/s1_slc/series_T117/{{SCENE}}_VV.xml.gz"
    over = area(9, 39, 16, 44, annotations_urls=[pattern])
    for name in (SERIES[2], SERIES[0], SERIES[3], SERIES[1]):
        await post(catalogue, await list_tiles(catalogue, name, over=over), over)
    rows = await catalogue.database.fetch(
        """SELECT t.place, s.source_id AS scene, ps.source_id AS previous, rs.source_id AS reference, p.place AS before
           FROM tile t JOIN scene s ON s.id = t.scene_id LEFT JOIN tile p ON p.id = t.previous_id LEFT JOIN scene ps ON ps.id = p.scene_id
           LEFT JOIN tile r ON r.id = t.reference_id LEFT JOIN scene rs ON rs.id = r.scene_id"""
    )
    assert len(rows) == 110
    golden = json.loads((shared_data / "golden" / "bursts_T117_four_dates.json").read_text())
    assert sorted((row["scene"], row["previous"] or "", row["reference"] or "") for row in rows) == sorted(
        (row["scene"], row["previous"] or "", row["reference"] or "") for row in golden
    )
    assert all(row["before"] == row["place"] for row in rows if row["previous"])
    assert {"117_249402_IW1", "117_249402_IW2", "117_249402_IW3"} <= {row["place"] for row in rows}


async def test_only_bursts_near_the_area_are_kept(catalogue: RunningCatalogue, folder: Path) -> None:
    """Within 0.05 degrees; a scene without any is left out."""
    write_scene(folder, NAMES[0])
    write_scene(folder, NAMES[1], origin=(60.0, 50.0))
    tiles = await list_tiles(catalogue, *NAMES[:2], over=area(10.2, 49.5, 10.4, 49.96))
    [scene] = tiles["features"]
    assert [tile["SourceID"] for tile in scene["properties"]["tiles"]] == ["A108_IW1_8361", "A108_IW2_8371", "A108_IW3_8381"]
    assert tiles["properties"]["notes"] == [f"{NAMES[1]} is left out: none of its bursts lies in the area"]
    assert (await list_tiles(catalogue, NAMES[0], over=area(10.2, 49.5, 10.4, 49.94)))["features"] == []


async def test_bursts_across_the_antimeridian(catalogue: RunningCatalogue, folder: Path) -> None:
    """The area ends just west of it, the bursts begin just east."""
    write_scene(folder, NAMES[0], origin=(-179.98, 50.0))
    over = area(179.0, 50.0, 179.99, 50.1)
    [scene] = (await list_tiles(catalogue, NAMES[0], over=over))["features"]
    assert len(scene["properties"]["tiles"]) == 3


async def test_later_posts_join_the_series(catalogue: RunningCatalogue, folder: Path, broker: Broker) -> None:
    for name in NAMES:
        write_scene(folder, name)
    first, second, third, fourth, fifth, sixth = NAMES
    await post(catalogue, await list_tiles(catalogue, third, fifth))
    # Between two dates, and before the first, while nothing has begun.
    tiles = await list_tiles(catalogue, fourth)
    assert {tile["previous"]["SceneID"] for tile in tiles["features"][0]["properties"]["tiles"]} == {third}
    await post(catalogue, tiles)
    await post(catalogue, await list_tiles(catalogue, second))
    assert await chain(catalogue) == expected(second, third, fourth, fifth)
    tags = json.loads(
        await catalogue.database.fetchval("SELECT tags ->> 'previous_scenes' FROM record WHERE name = $1", fifth),
    )
    assert tags == [fourth]
    # All done: what there is stays, what comes joins.
    await finish_jobs(catalogue)
    tiles = await list_tiles(catalogue, first, sixth)
    links = {
        feature["properties"]["source_id"]: {tile["previous"]["SceneID"] for tile in feature["properties"]["tiles"]}
        for feature in tiles["features"]
    }
    assert links == {first: {second}, sixth: {fifth}}, "a side branch of the root, and the end of the series"
    await post(catalogue, tiles)
    assert await chain(catalogue) == expected(second, third, fourth, fifth, sixth) | {first: (second, second)}
    assert await finish_jobs(catalogue) == 2 + 12
    assert await catalogue.database.fetchval("SELECT count(*) FROM tile WHERE status <> 'DONE'") == 0


async def test_a_tile_between_is_waited_for(catalogue: RunningCatalogue, folder: Path, broker: Broker) -> None:
    """The later tile is NEW although its scene is done: it follows the new one and runs after it."""
    for name in NAMES[:3]:
        write_scene(folder, name)
    first, second, third = NAMES[:3]
    await post(catalogue, await list_tiles(catalogue, first, third))
    jobs = {job.scene.source_id: (job, message) for job, message in [await broker.take(JobKind.SCENE) for _ in range(2)]}
    await broker.report(*jobs[third])
    async with asyncio.timeout(10):
        while await catalogue.database.fetchval("SELECT status FROM scene WHERE source_id = $1", third) != "DONE":
            await asyncio.sleep(0.01)
    await post(catalogue, await list_tiles(catalogue, second))
    assert await chain(catalogue) == expected(first, second, third)
    await broker.report(*jobs[first])
    await finish_jobs(catalogue)
    order = await catalogue.database.fetch(
        """SELECT s.source_id FROM job j JOIN tile t ON t.id = j.tile_id JOIN scene s ON s.id = t.scene_id
           WHERE t.source_id = 'A108_IW1_8361' ORDER BY j.seq"""
    )
    assert [row["source_id"] for row in order] == [first, second, third]


async def test_overlapping_slices_give_each_burst_once(catalogue: RunningCatalogue, folder: Path) -> None:
    """The second slice begins with the last burst of the first; posted together or one after the other."""
    early, late = (scene_name(START + timedelta(seconds=seconds), unique=unique) for seconds, unique in ((0, "AAAA"), (25, "BBBB")))
    for name, times in ((early, (836.1, 838.9)), (late, (838.9, 841.6, 844.4))):
        write_zip(folder, name, [annotation(swath, times=[time + step for time in times]) for step, swath in enumerate(SWATHS)])
    tiles = await list_tiles(catalogue, early, late)
    counts = {feature["properties"]["source_id"]: len(feature["properties"]["tiles"]) for feature in tiles["features"]}
    assert counts == {early: 3, late: 9}
    [note] = tiles["properties"]["notes"]
    assert note == f"A108_IW1_8389, A108_IW2_8399, A108_IW3_8409 of {early} left out: {late} of the same pass holds the same bursts"
    [alone] = (await list_tiles(catalogue, early))["features"]
    assert len(alone["properties"]["tiles"]) == 6
    await post(catalogue, tiles)
    again = await list_tiles(catalogue, early)
    assert len(again["features"][0]["properties"]["tiles"]) == 3
    reprocessed = scene_name(START, unique="CCCC")
    write_scene(folder, reprocessed)
    assert (await list_tiles(catalogue, reprocessed))["features"] == []
    unaware = await list_tiles(catalogue, late)
    unaware["features"][0]["properties"]["source_id"] = reprocessed
    for tile in unaware["features"][0]["properties"]["tiles"]:
        tile["SceneID"] = reprocessed
    answer = await post(catalogue, unaware)
    assert (answer["scene_count"], answer["tile_count"]) == (0, 0)
    assert answer["notes"] == [
        f"{', '.join(sorted(tile['SourceID'] for tile in unaware['features'][0]['properties']['tiles']))} of {reprocessed} left out: "
        f"{late} of the same pass holds the same bursts"
    ]


async def test_a_slice_that_is_missing(catalogue: RunningCatalogue, folder: Path) -> None:
    """Frames with a gap between them, shifted from date to date: each place has its own series."""
    frames = {NAMES[0]: (836.1, 838.9), NAMES[1]: (841.6, 844.4), NAMES[2]: (836.1, 838.9, 841.6)}
    for name, times in frames.items():
        write_zip(folder, name, [annotation(swath, times=[time + step for time in times]) for step, swath in enumerate(SWATHS)])
    await post(catalogue, await list_tiles(catalogue, *frames))
    assert await chain(catalogue, "A108_IW1_8389") == expected(NAMES[0], NAMES[2])
    assert await chain(catalogue, "A108_IW1_8416") == expected(NAMES[1], NAMES[2])
    assert await chain(catalogue, "A108_IW1_8444") == expected(NAMES[1])


async def test_a_track_over_the_equator(catalogue: RunningCatalogue, folder: Path) -> None:
    """One date counts on past the node, the next begins behind it in the next relative orbit: the places are the same."""
    over, behind = scene_name(START, orbit=57405), scene_name(START + timedelta(days=12), orbit=57581)
    orbit_s = 12 * 24 * 3600 / 175
    times = [5921.0 + 2.758273 * number for number in range(3)]
    write_zip(folder, over, [annotation(swath, times=times, orbit=57405) for swath in SWATHS])
    write_zip(folder, behind, [annotation(swath, times=[time - orbit_s for time in times[2:]], orbit=57581) for swath in SWATHS])
    await post(catalogue, await list_tiles(catalogue, over, behind))
    rows = await catalogue.database.fetch(
        """SELECT t.source_id, t.place, p.source_id AS previous, p.place AS before FROM tile t JOIN scene s ON s.id = t.scene_id
           JOIN tile p ON p.id = t.previous_id WHERE s.source_id = $1 ORDER BY 1""",
        behind,
    )
    assert [(row["source_id"], row["previous"]) for row in rows] == [(f"A109_{swath}_19", f"A108_{swath}_25") for swath in SWATHS]
    assert all(row["place"] == row["before"] for row in rows)


async def test_links_of_a_person_are_kept(catalogue: RunningCatalogue, folder: Path) -> None:
    """Another previous than the nearest; later posts do not change it, but what follows it goes on from there."""
    for name in NAMES:
        write_scene(folder, name)
    tiles = await list_tiles(catalogue, *NAMES[:3])
    [first, _, last] = tiles["features"]
    for tile in last["properties"]["tiles"]:
        tile["previous"] = {key: value for key, value in tile.items() if key == "SourceID"} | {
            "SceneID": first["properties"]["source_id"],
            "Date": first["properties"]["data"]["date"],
        }
    await post(catalogue, tiles)
    await post(catalogue, await list_tiles(catalogue, NAMES[3]))
    assert await chain(catalogue) == expected(*NAMES[:4]) | {NAMES[2]: (NAMES[0], NAMES[0])}


async def test_a_scene_deleted_in_the_review(catalogue: RunningCatalogue, folder: Path) -> None:
    """The next date follows the one before it, and the answer says so."""
    for name in NAMES:
        write_scene(folder, name)
    tiles = await list_tiles(catalogue, *NAMES[:3])
    del tiles["features"][1]
    answer = await post(catalogue, tiles)
    assert await chain(catalogue) == expected(NAMES[0], NAMES[2])
    assert len(answer["notes"]) == 6
    assert (
        f"A108_IW1_8361 of {NAMES[2]} follows the nearest earlier date: A108_IW1_8361 of {NAMES[1]} is not there or not earlier"
        in answer["notes"]
    )


async def test_a_burst_that_failed_is_passed_over(catalogue: RunningCatalogue, folder: Path) -> None:
    for name in NAMES:
        write_scene(folder, name)
    await post(catalogue, await list_tiles(catalogue, *NAMES[:2]))
    tiles = await list_tiles(catalogue, NAMES[2])
    for row in await catalogue.database.fetch(
        "SELECT t.id FROM tile t JOIN scene s ON s.id = t.scene_id WHERE s.source_id = $1 ORDER BY t.id", NAMES[1]
    ):
        async with catalogue.http.put(f"{catalogue.url}/tile/{row['id']}/force/FAILED") as response:
            assert response.status == 200
    await post(catalogue, tiles)
    assert (await chain(catalogue))[NAMES[2]] == (NAMES[0], NAMES[0])


@pytest.mark.parametrize(
    ("ids", "field"),
    [
        ([1], "burst_ids"),
        ({"A108_IW1_8361": "230132"}, "burst_ids.A108_IW1_8361"),
        ({"A108_IW1_8361": 0}, "burst_ids.A108_IW1_8361"),
        ({"A108_IW1_8361": 10**9}, "burst_ids.A108_IW1_8361"),
    ],
)
async def test_bad_burst_ids_are_refused(catalogue: RunningCatalogue, folder: Path, ids: Any, field: str) -> None:
    write_scene(folder, NAMES[0])
    tiles = await list_tiles(catalogue, NAMES[0])
    tiles["features"][0]["properties"]["data"]["metadata"]["burst_ids"] = ids
    response = await catalogue.post("/catalog/aoi", area=area(), tiles=json.dumps(tiles))
    assert response.status == 400
    assert (await response.json(content_type=None))["field"] == f"tiles.features.0.properties.data.metadata.{field}"
    assert await catalogue.count("scene") == 0


async def test_posted_without_ids(catalogue: RunningCatalogue, folder: Path) -> None:
    """Saved by an older version, or stripped: the times after the node tell the place."""
    for name, shift in ((NAMES[0], 0.0), (NAMES[1], 0.1)):
        write_zip(folder, name, [annotation(swath, times=(836.1 + step + shift, 838.9 + step)) for step, swath in enumerate(SWATHS)])
    tiles = await list_tiles(catalogue, *NAMES[:2])
    for feature in tiles["features"]:
        del feature["properties"]["data"]["metadata"]["burst_ids"]
        for tile in feature["properties"]["tiles"]:
            tile["previous"] = tile["reference"] = None
    await post(catalogue, tiles)
    row = await catalogue.database.fetchrow(
        """SELECT t.place, p.source_id AS previous FROM tile t JOIN tile p ON p.id = t.previous_id WHERE t.source_id = 'A108_IW1_8362'"""
    )
    assert dict(row) == {"place": "A108_IW1_8362", "previous": "A108_IW1_8361"}


def _bomb(folder: Path, name: str) -> None:
    write_scene(folder, name)
    _edit(folder, name, b"<product>", b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><product>')


def _without_bursts(folder: Path, name: str) -> None:
    write_zip(folder, name, [annotation("IW1", times=()), annotation("IW2"), annotation("IW3")])


def _without_swath(folder: Path, name: str) -> None:
    write_zip(folder, name, [annotation("IW1"), annotation("IW3")])


def _truncated(folder: Path, name: str) -> None:
    write_scene(folder, name)
    path = folder / f"{name}.zip"
    path.write_bytes(path.read_bytes()[:-200])


def _damaged(folder: Path, name: str) -> None:
    write_scene(folder, name)
    path = folder / f"{name}.zip"
    content = bytearray(path.read_bytes())
    content[200:300] = bytes(100)
    path.write_bytes(content)


def _other_product(folder: Path, name: str) -> None:
    write_scene(folder, name)
    _edit(folder, name, b"<productType>SLC", b"<productType>GRD")


def _absent(folder: Path, name: str) -> None:
    pass


def _edit(folder: Path, name: str, old: bytes, new: bytes) -> None:
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content.replace(old, new))


BROKEN = {
    "bomb": (_bomb, "iw1-slc-vv", "declares a document type"),
    "no bursts": (_without_bursts, "iw1-slc-vv", "lists no bursts"),
    "no swath": (_without_swath, "", "the annotation of IW2 is missing"),
    "truncated": (_truncated, ".zip", "is no zip, or one cut short"),
    "damaged": (_damaged, "iw1-slc-vv", "is broken"),
    "other product": (_other_product, "iw1-slc-vv", "is of a GRD product"),
    "absent": (_absent, ".zip", ""),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_broken_annotations(catalogue: RunningCatalogue, folder: Path, case: str) -> None:
    """The scene is left out, the answer names it, the member and the reason; the other is listed. Of broken scenes alone: 502."""
    write, member, reason = BROKEN[case]
    write(folder, NAMES[0])
    write_scene(folder, NAMES[1])
    tiles = await list_tiles(catalogue, *NAMES[:2])
    [listed] = tiles["features"]
    assert listed["properties"]["source_id"] == NAMES[1]
    assert len(listed["properties"]["tiles"]) == 6
    [note] = tiles["properties"]["notes"]
    assert note.startswith(f"{NAMES[0]} is left out: ")
    assert member in note
    assert reason in note
    response = await catalogue.post("/catalog/tiles", area=area(), scenes=json.dumps(scenes_document(NAMES[:1])))
    assert response.status == 502
    problem = await response.json(content_type=None)
    assert NAMES[0] in problem["detail"]
    assert reason in problem["detail"]


async def test_scenes_are_posted_with_the_bursts_found(catalogue: RunningCatalogue, folder: Path) -> None:
    """POST of scenes: bursts are listed on the way; what is left out is told."""
    write_scene(folder, NAMES[0])
    response = await catalogue.http.post(
        f"{catalogue.url}/catalog/aoi",
        data={"area": area(), "scenes": json.dumps(scenes_document(NAMES[:2]))},
        headers={"Accept": "application/json"},
    )
    answer = await response.json()
    assert (answer["scene_count"], answer["tile_count"]) == (1, 6)
    assert [note.split()[0] for note in answer["notes"]] == [NAMES[1]]
