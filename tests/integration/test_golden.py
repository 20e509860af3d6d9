"""The answers of the reference, recorded from a running instance, against ours.

Deliberate differences, each asserted below:
- JSON is labelled application/json.
- An AOI that does not exist is 404, not a summary of nothing; a bad name is 400, not 500.
- The scene within a list of tiles has its name, AOI and date; the reference leaves them empty.
- A single scene or tile also lists its attempts.
- The ids of records and instances are ours; `From`/`To` without tiles is `-`.
- Tiles are listed by sub-swath and burst, not in random order; the scene's metadata also holds ESA's burst ids, the answer `properties`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures_services import RunningCatalogue, run_catalogue
from jobs_by_hand import finish_jobs

from common.config import LimitSettings, Settings

VARIABLE = {
    "name": "bench",
    "dtype": "float32",
    "nodata": 0,
    "min_value": 0,
    "max_value": 1,
    "instances": [{"name": "raw"}],
}


@pytest.fixture
def golden(shared_data: Path) -> Path:
    return shared_data / "golden"


@pytest.fixture
async def posted(catalogue: RunningCatalogue, golden: Path) -> RunningCatalogue:
    """The catalogue after the golden tiles have been posted."""
    await put_variable(catalogue)
    answer = await post_golden(catalogue, golden)
    assert answer.startswith("Ingestion of 2 scenes and 4 tiles in progress (")
    return catalogue


async def put_variable(catalogue: RunningCatalogue) -> None:
    async with catalogue.http.put(f"{catalogue.url}/cube/variables/bench", json=VARIABLE) as response:
        assert response.status == 201, await response.text()


async def post_golden(catalogue: RunningCatalogue, golden: Path) -> str:
    response = await catalogue.post(
        "/catalog/aoi", area=(golden / "request.area.json").read_text(), tiles=(golden / "catalog_tiles.json").read_text()
    )
    text = await response.text()
    assert response.status == 200, text
    return text


async def get_json(catalogue: RunningCatalogue, path: str) -> Any:
    response = await catalogue.get(path)
    assert response.status == 200, await response.text()
    assert response.content_type == "application/json"
    return await response.json()


def load(golden: Path, name: str) -> Any:
    return json.loads((golden / name).read_text())


def comparable(value: Any) -> Any:
    """Without what is deliberately different: ids of the cube, attempts, and the emptied scenes of the reference's lists of tiles."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: comparable(item) for key, item in value.items() if key not in ("record_id", "instances_id", "attempts")}
    if "scene" in kept and "status" in kept and value["scene"]["data"].get("graph_name", "") == "":
        kept["scene"] = {"id": kept["scene"]["id"]}
    return kept


async def test_pending(posted: RunningCatalogue, golden: Path) -> None:
    for path, recorded in (
        ("/aoi/golden/scenes/PENDING", "aoi_scenes_pending.json"),
        ("/aoi/golden/tiles/NEW", "aoi_tiles_new.json"),
    ):
        assert comparable(await get_json(posted, path)) == comparable(load(golden, recorded))


async def test_done(posted: RunningCatalogue, golden: Path) -> None:
    assert await finish_jobs(posted) == 6
    for path, recorded in (
        ("/aoi/golden/scenes", "aoi_scenes.json"),
        ("/aoi/golden/scenes/DONE", "aoi_scenes_done.json"),
        ("/aoi/golden/tiles/DONE", "aoi_tiles_done.json"),
        ("/aoi/golden/roottiles", "aoi_roottiles.json"),
        ("/aoi/golden/leaftiles", "aoi_leaftiles.json"),
        ("/scene/1", "scene.json"),
        ("/scene/1/tiles", "scene_tiles.json"),
        ("/tile/1", "tile.json"),
        ("/aoi/", "aoi_list.json"),
        ("/aoi/gold*", "aoi_pattern.json"),
    ):
        assert comparable(await get_json(posted, path)) == comparable(load(golden, recorded)), path
    for path, recorded in (("/aoi/golden", "aoi_status.txt"), ("/aoi/golden/dot", "aoi.dot"), ("/", "root.txt")):
        response = await posted.get(path)
        assert (response.status, await response.text()) == (200, (golden / recorded).read_text()), path


async def test_data_keys_are_those_of_the_reference(posted: RunningCatalogue, golden: Path) -> None:
    ours, theirs = await get_json(posted, "/scene/1"), load(golden, "scene.json")
    assert set(ours) - {"attempts"} == set(theirs)
    assert set(ours["data"]) == set(theirs["data"])
    assert set(ours["data"]["instances_id"]) == {"bench"}


async def test_lists_of_tiles_name_their_scene(posted: RunningCatalogue) -> None:
    [first, *_] = await get_json(posted, "/aoi/golden/tiles/NEW")
    assert first["scene"]["source_id"].startswith("S1A_IW_SLC__1SDV_20250406")
    assert first["scene"]["aoi"] == "golden"
    assert first["scene"]["data"]["date"] == "2025-04-06T02:20:08Z"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/scene/999", 404),
        ("GET", "/scene/abc", 400),
        ("GET", "/tile/999", 404),
        ("GET", "/aoi/nosuch", 404),
        ("GET", "/aoi/nosuch/scenes", 404),
        ("GET", "/aoi/golden/scenes/WHATEVER", 400),
        ("PUT", "/scene/1/retry", 403),
        ("PUT", "/tile/1/fail", 403),
        ("PUT", "/aoi/golden/retry", 204),
        ("POST", "/aoi/golden", 409),
        ("POST", "/aoi/golden2", 204),
        ("DELETE", "/aoi/golden", 204),
        ("PUT", "/tile/1/force/RETRY", 200),
    ],
)
async def test_status_codes(posted: RunningCatalogue, method: str, path: str, status: int) -> None:
    await finish_jobs(posted)
    async with posted.http.request(method, posted.url + path) as response:
        text = await response.text()
        assert response.status == status, text
        if status >= 400:
            assert response.content_type == "application/problem+json"
            assert json.loads(text)["status"] == status


async def test_force_then_retry(posted: RunningCatalogue, golden: Path) -> None:
    await finish_jobs(posted)
    async with posted.http.put(f"{posted.url}/tile/1/force/RETRY") as response:
        assert response.status == 200
    assert comparable(await get_json(posted, "/tile/1")) == comparable(load(golden, "tile_after_force_retry.json"))
    async with posted.http.put(f"{posted.url}/tile/1/retry") as response:
        assert response.status == 200
    assert (await get_json(posted, "/tile/1"))["status"] == "PENDING"


async def test_posting_again_creates_nothing(posted: RunningCatalogue, golden: Path) -> None:
    before = [await posted.count(table) for table in ("record", "scene", "tile", "job")]
    assert (await post_golden(posted, golden)).startswith("Ingestion of 0 scenes and 0 tiles in progress (")
    assert [await posted.count(table) for table in ("record", "scene", "tile", "job")] == before


async def test_tiles_of_reviewed_scenes(catalogue: RunningCatalogue, golden: Path) -> None:
    """The scenes of the reference are read, and written again as they were."""
    area = json.loads((golden / "request.area.json").read_text())
    area["scene_graph_name"] = "CopyProductToStorage"
    response = await catalogue.post("/catalog/tiles", area=json.dumps(area), scenes=(golden / "request.scenes.json").read_text())
    assert response.status == 200, await response.text()
    ours = await response.json()
    for got, sent in zip(ours["features"], load(golden, "request.scenes.json")["features"], strict=True):
        [tile] = got["properties"].pop("tiles")
        assert tile["SourceID"] == tile["SceneID"] == sent["properties"]["source_id"]
        got["properties"]["data"].pop("tiles")
        sent["properties"]["data"].pop("tiles")
        assert got["properties"] == sent["properties"]


async def test_bursts_of_reviewed_scenes(catalogue_settings: Settings, golden: Path, shared_data: Path) -> None:
    """The whole answer of the reference, from the same annotations; and what is posted of it is what the recorded answer gives."""
    folder = shared_data / "s1_slc" / "pair_T108_20250406_20250418"
    area = (golden / "request.area.json").read_text().replace("{ANNOTATIONS}/{SCENE}.zip", f"{folder}/{{SCENE}}.SAFE.zip")
    limits = LimitSettings(allowed_urls=[f"{folder}/"])
    async with run_catalogue(catalogue_settings.model_copy(update={"limits": limits})) as catalogue:
        response = await catalogue.post("/catalog/tiles", area=area, scenes=(golden / "request.scenes.json").read_text())
        assert response.status == 200, await response.text()
        ours = await response.json()
        assert ours.pop("properties") == {"next": "false"}
        for feature, ids in zip(ours["features"], ({"8361": 230132, "8389": 230133}, {"8361": 230132, "8389": 230133}), strict=True):
            given = feature["properties"]["data"]["metadata"].pop("burst_ids")
            assert given == {f"A108_IW1_{anx}": number for anx, number in ids.items()}
        assert in_order(ours) == in_order(load(golden, "catalog_tiles.json"))
        await put_variable(catalogue)
        posted = await catalogue.post("/catalog/aoi", area=area, tiles=json.dumps(ours))
        assert (await posted.text()).startswith("Ingestion of 2 scenes and 4 tiles in progress (")
        for path, recorded in (
            ("/aoi/golden/scenes/PENDING", "aoi_scenes_pending.json"),
            ("/aoi/golden/tiles/NEW", "aoi_tiles_new.json"),
        ):
            assert comparable(await get_json(catalogue, path)) == comparable(load(golden, recorded))


def in_order(collection: dict[str, Any]) -> dict[str, Any]:
    """Tiles and their outlines in one order."""
    for feature in collection["features"]:
        feature["properties"]["tiles"].sort(key=lambda tile: tile["SourceID"])
        scene, *tiles = feature["geometry"]["coordinates"]
        feature["geometry"]["coordinates"] = [scene, *sorted(tiles)]
    return collection


async def test_recorded_tiles_of_an_older_version_are_accepted(catalogue: RunningCatalogue, shared_data: Path) -> None:
    payload = json.loads((shared_data / "payloads" / "DenmarkDemoS1.json").read_text())
    tiles = json.loads((shared_data / "payloads" / "DenmarkDemoS1.tiles.json").read_text())
    payload |= {"scene_graph_name": "Pass", "tile_graph_name": "Pass", "layers": {"bench": {"variable": "bench", "instance": "raw"}}}
    for feature in tiles["features"]:
        feature["properties"]["data"]["graph_name"] = "Pass"
        for tile in feature["properties"]["Tiles"]:
            tile["Data"]["graph_name"] = "Pass"
    await put_variable(catalogue)
    response = await catalogue.post("/catalog/aoi", area=json.dumps(payload), tiles=json.dumps(tiles))
    assert (await response.text()).startswith("Ingestion of 3 scenes and 9 tiles in progress (")
    assert await finish_jobs(catalogue) == 12
    linked = await catalogue.database.fetchval("SELECT count(*) FROM tile WHERE previous_id IS NOT NULL AND reference_id IS NOT NULL")
    assert linked == 6


async def test_bad_requests(catalogue: RunningCatalogue, golden: Path) -> None:
    area = json.loads((golden / "request.area.json").read_text()) | {"name": "a b"}
    for path, text, field in (("/catalog/aoi", json.dumps(area), "name"), ("/catalog/scenes", "{", "area")):
        response = await catalogue.post(path, area=text)
        assert (response.status, (await response.json(content_type=None))["field"]) == (400, field)
