"""The STAC API over a cube filled with simulated layers: items, searches, pages, and that what is read is what was indexed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import odc.stac
import pystac
import pystac_client
import pytest
from cube_by_hand import HandTile, fill, pixels
from fixtures_services import RunningCatalogue
from offline_schemas import problems_of, validate_item

TESTS = Path(__file__).resolve().parents[1]
CORE = "https://schemas.stacspec.org/v1.1.0/"


@pytest.fixture
async def cube(catalogue: RunningCatalogue) -> RunningCatalogue:
    """Seven days in the AOI Example, one of another place in the AOI Other."""
    tiles = [HandTile("Example", day, size=60) for day in range(7)]
    tiles.append(HandTile("Other", 3, bands=("B02", "B03", "B04"), west=700_000, size=60, tags={"orbitDirection": "ASCENDING"}))
    await fill(catalogue.database, Path(catalogue.settings.storage), tiles)
    return catalogue


async def search(cube: RunningCatalogue, **body: Any) -> dict[str, Any]:
    async with cube.http.post(f"{cube.url}/stac/search", json=body) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/geo+json"
        return await response.json(content_type=None)


async def days(cube: RunningCatalogue, **body: Any) -> list[int]:
    """The days of January the items found are of."""
    found = await search(cube, limit=100, **body)
    return [int(item["properties"]["datetime"][8:10]) for item in found["features"]]


async def get(cube: RunningCatalogue, path: str, status: int = 200) -> dict[str, Any]:
    response = await cube.get(path)
    assert response.status == status, await response.text()
    return await response.json(content_type=None)


async def test_an_item_tells_its_layers_and_is_valid(cube: RunningCatalogue) -> None:
    tile = HandTile("Example", 4, size=60)
    item = await get(cube, f"/stac/collections/Example/items/{tile.scene}")
    await asyncio.to_thread(validate_item, item)
    assert item["id"] == tile.scene
    properties = item["properties"]
    assert (properties["constellation"], properties["platform"], properties["instruments"]) == ("sentinel-2", "sentinel-2a", ["msi"])
    assert (properties["eo:cloud_cover"], properties["sat:orbit_state"], properties["sat:relative_orbit"]) == (4, "descending", 51)
    assert properties["tag:orbitDirection"] == "DESCENDING"
    asset = item["assets"]["B08"]
    assert (asset["proj:code"], asset["proj:shape"]) == ("EPSG:32631", [60, 60])
    assert asset["proj:transform"] == [100, 0, 500_000, 0, -100, 5_800_000]
    (band,) = asset["bands"]
    valid = pixels(tile, "B08")[1:]
    assert band["statistics"]["mean"] == pytest.approx(valid.mean())
    assert (band["statistics"]["minimum"], band["statistics"]["maximum"]) == (valid.min(), valid.max())
    assert (band["raster:scale"], band["raster:offset"], band["nodata"], band["data_type"]) == (0.0001, -0.1, 0, "uint16")
    links = {link["rel"]: link["href"] for link in item["links"]}
    # The item of the source scene, without what may be a signature.
    assert links["derived_from"] == f"https://example.org/stac/items/{tile.scene}"
    assert links["self"].startswith(cube.url)
    west, _, _, north = item["bbox"]
    assert (west, north) == (pytest.approx(3.0, abs=1e-3), pytest.approx(52.35, abs=1e-2))


async def test_file_is_the_one_that_was_indexed(cube: RunningCatalogue) -> None:
    item = (await search(cube, limit=1))["features"][0]
    asset = item["assets"]["B04"]
    async with cube.http.get(asset["href"]) as response:
        content = await response.read()
        assert response.status == 200
        assert response.headers["Content-Type"] == asset["type"]
    assert len(content) == asset["file:size"]
    assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    async with cube.http.get(asset["href"], headers={"Range": "bytes=10-19"}) as response:
        assert (response.status, await response.read()) == (206, content[10:20])
        assert response.headers["Content-Range"] == f"bytes 10-19/{len(content)}"
    async with cube.http.head(asset["href"]) as response:
        assert (response.status, int(response.headers["Content-Length"])) == (200, len(content))
    async with cube.http.get(asset["href"], headers={"Range": f"bytes={len(content)}-"}) as response:
        assert response.status == 416
    async with cube.http.get(asset["href"].replace("B04.tif", "B04.tif.aux.xml")) as response:
        assert response.status == 404


async def test_collections_and_landing_are_valid(cube: RunningCatalogue) -> None:
    landing = await get(cube, "/stac")
    assert problems_of(landing, f"{CORE}catalog-spec/json-schema/catalog.json") == []
    found = (await get(cube, "/stac/collections"))["collections"]
    assert [collection["id"] for collection in found] == ["Example", "Other"]
    for collection in found:
        assert problems_of(collection, f"{CORE}collection-spec/json-schema/collection.json") == []
    assert found[0]["extent"]["temporal"]["interval"] == [["2024-01-01T10:50:00Z", "2024-01-07T10:50:00Z"]]
    assert sorted(found[1]["item_assets"]) == ["B02", "B03", "B04"]
    assert await get(cube, "/stac/collections/Example") == found[0]
    assert (await get(cube, "/stac/collections/Nowhere", 404))["field"] == "collection"
    assert (await get(cube, "/stac/collections/Nowhere/items", 404))["field"] == "collection"
    assert (await get(cube, "/stac/collections/Example/items/none", 404))["field"] == "item"


async def test_stac_api_validator_finds_no_error(cube: RunningCatalogue) -> None:
    area = {"type": "Polygon", "coordinates": [[[3, 52.3], [3.05, 52.3], [3.05, 52.35], [3, 52.35], [3, 52.3]]]}
    classes = ["core", "collections", "features", "item-search", "filter"]
    arguments = [argument for each in classes for argument in ("--conformance", each)]
    arguments += ["--root-url", f"{cube.url}/stac", "--collection", "Example", "--geometry", json.dumps(area)]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", str(TESTS / "offline_schemas.py"), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await child.communicate())[0].decode()
    assert "Errors: none" in output, output[-3000:]
    assert child.returncode == 0
    for conformance in ("Core", "Collections", "Features", "Item Search", "Item Search - Filter Extension - Basic CQL2"):
        assert f"Validating STAC API - {conformance} conformance class" in output


@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")
async def test_cube_is_loaded_with_pystac_client_and_odc_stac(cube: RunningCatalogue) -> None:
    def load() -> Any:
        client = pystac_client.Client.open(f"{cube.url}/stac")
        items = client.search(collections=["Example"], datetime="2024-01-02/2024-01-04", limit=2).item_collection()
        return odc.stac.load(items, bands=["B04", "B08"], chunks=None), items

    data, items = await asyncio.to_thread(load)
    assert all(isinstance(item, pystac.Item) for item in items)
    assert data.odc.crs == "EPSG:32631"
    assert data.sizes == {"time": 3, "y": 60, "x": 60}
    for index, day in enumerate((1, 2, 3)):
        for band in ("B04", "B08"):
            np.testing.assert_array_equal(data[band].isel(time=index).values, pixels(HandTile("Example", day, size=60), band))


async def test_search_narrows_down(cube: RunningCatalogue) -> None:
    assert await days(cube, collections=["Example"]) == [7, 6, 5, 4, 3, 2, 1]
    assert await days(cube, datetime="2024-01-03T00:00:00Z/2024-01-04T10:50:00Z", collections=["Example"]) == [4, 3]
    assert await days(cube, datetime="../2024-01-02T10:50:00Z") == [2, 1]
    assert await days(cube, datetime="2024-01-05T10:50:00Z") == [5]
    assert await days(cube, ids=[HandTile("Example", 1).scene], collections=["Example"]) == [2]
    assert await days(cube, bbox=[5, 51, 7, 53]) == [4]
    assert await days(cube, bbox=[170, 51, -170, 53]) == []
    assert await days(cube, intersects={"type": "Point", "coordinates": [3.01, 52.33]}) == [7, 6, 5, 4, 3, 2, 1]
    # Within the box of the item, beyond its outline, which is not quite upright.
    assert await days(cube, intersects={"type": "Point", "coordinates": [3.08806, 52.2965]}) == []


FILTERS = [
    ("eo:cloud_cover < 2", [2, 1]),
    ("eo:cloud_cover BETWEEN 2 AND 3 AND collection = 'Example'", [4, 3]),
    ("tag:orbitDirection = 'ASCENDING'", [4]),
    ("orbitDirection <> 'DESCENDING'", [4]),
    ("sat:orbit_state = 'ascending' OR datetime > TIMESTAMP('2024-01-06T00:00:00Z')", [7, 6, 4]),
    ("NOT (collection = 'Example')", [4]),
    ("id LIKE 'S2A_MSIL2A_20240105%'", [5]),
    ("tag:cloudCoverPercentage >= 5", [7, 6]),
    ("eo:cloud_cover IN (0, 6)", [7, 1]),
    ("tag:nothing IS NULL AND eo:cloud_cover = 6", [7]),
    ("constellation = 'sentinel-2' AND platform = 'sentinel-2a' AND eo:cloud_cover = 0", [1]),
    ("S_INTERSECTS(geometry, POLYGON((5 51, 7 51, 7 53, 5 53, 5 51)))", [4]),
    ("tag:satellite = 'it''s; DROP TABLE record'", []),
]


async def test_filters(cube: RunningCatalogue) -> None:
    for condition, expected in FILTERS:
        assert await days(cube, filter=condition, **{"filter-lang": "cql2-text"}) == expected, condition
        found = await get(cube, f"/stac/search?limit=100&filter={quote(condition)}")
        assert [int(item["properties"]["datetime"][8:10]) for item in found["features"]] == expected, condition


async def test_pages_hold_every_item_once_in_order(cube: RunningCatalogue) -> None:
    for sortby in ("", "-eo:cloud_cover", "collection,-id", "tag:orbitDirection", "+datetime"):
        await _check_pages(cube, sortby)


async def _check_pages(cube: RunningCatalogue, sortby: str) -> None:
    whole = (await get(cube, f"/stac/search?limit=100&sortby={quote(sortby)}"))["features"]
    url: str | None = f"{cube.url}/stac/search?limit=3&sortby={quote(sortby)}"
    found: list[str] = []
    while url:
        async with cube.http.get(url) as response:
            page = await response.json(content_type=None)
        found += [item["id"] + item["collection"] for item in page["features"]]
        url = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert found == [item["id"] + item["collection"] for item in whole]
    assert len(set(found)) == 8


async def test_a_page_is_not_moved_by_what_comes_before_it(cube: RunningCatalogue) -> None:
    first = await search(cube, collections=["Example"], limit=3)
    (following,) = [link for link in first["links"] if link["rel"] == "next"]
    await fill(cube.database, Path(cube.settings.storage), [HandTile("Example", 20, size=60)])
    second = await search(cube, **following["body"])
    assert [item["properties"]["datetime"][:10] for item in second["features"]] == ["2024-01-04", "2024-01-03", "2024-01-02"]


async def test_fields(cube: RunningCatalogue) -> None:
    (item,) = (await search(cube, limit=1, fields={"include": ["properties.eo:cloud_cover", "assets"]}))["features"]
    assert sorted(item) == ["assets", "collection", "id", "properties"]
    assert item["properties"] == {"eo:cloud_cover": 6}
    (item,) = (await get(cube, "/stac/search?limit=1&fields=-links,-properties.created"))["features"]
    assert "links" not in item
    assert "assets" in item
    assert "created" not in item["properties"]


async def test_items_follow_what_changes(cube: RunningCatalogue) -> None:
    tile = HandTile("Example", 0, size=60)
    path = f"/stac/collections/Example/items/{tile.scene}"
    before = await get(cube, path)
    await cube.database.execute("""UPDATE record SET tags = tags || '{"season": "winter"}' WHERE name = $1""", tile.scene)
    assert (await get(cube, path))["properties"]["tag:season"] == "winter"
    await cube.database.execute("UPDATE variable SET unit = 'percent' WHERE name = 'B04'")
    assert (await get(cube, path))["assets"]["B04"]["bands"][0]["unit"] == "percent"
    await cube.database.execute("DELETE FROM dataset WHERE aoi = 'Example' AND layer = 'B08' AND uri LIKE '%20240101%'")
    changed = await get(cube, path)
    assert sorted(changed["assets"]) == ["B04", "thumbnail"]
    assert changed["links"] == before["links"]
    # A deleted AOI leaves its layers, and these what they were made of.
    await cube.database.execute("DELETE FROM aoi WHERE name = 'Example'")
    assert (await get(cube, path))["links"] == before["links"]
    await cube.database.execute("DELETE FROM dataset WHERE aoi = 'Example' AND uri LIKE '%20240101%'")
    await get(cube, path, 404)
    assert await days(cube, collections=["Example"]) == [7, 6, 5, 4, 3, 2]


async def test_layers_of_one_name_and_two_records_of_one_name_stay_apart(catalogue: RunningCatalogue) -> None:
    tile = HandTile("Example", 0, size=60)
    other = HandTile("Example", 0, size=60, tags={"productType": "other"}, tile="T2")
    again = HandTile("Example", 0, size=60, tags={"productType": "third"}, tile=tile.scene + "@Example")
    await fill(catalogue.database, Path(catalogue.settings.storage), [tile])
    await catalogue.database.execute("UPDATE dataset SET layer = 'same', indexed_at = now()")
    await catalogue.database.execute("DELETE FROM aoi")
    await fill(catalogue.database, Path(catalogue.settings.storage), [other])
    await catalogue.database.execute("DELETE FROM aoi")
    await fill(catalogue.database, Path(catalogue.settings.storage), [again])
    found = (await search(catalogue))["features"]
    ids = sorted(item["id"] for item in found)
    assert len(set(ids)) == 3
    assert ids[:1] == [tile.scene]
    assert f"{tile.scene}_T2" in ids
    (first,) = [item for item in found if item["id"] == tile.scene]
    assert sorted(first["assets"]) == ["same_B04_l2a", "same_B08_l2a", "thumbnail"]
    for item in found:
        await asyncio.to_thread(validate_item, item)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"bbox": [1, 2, 3]}, "bbox"),
    ({"bbox": [0, 10, 5, 5]}, "bbox"),
    ({"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}}, "bbox"),
    ({"intersects": {"type": "Point", "coordinates": [0, 100]}}, "intersects"),
    ({"intersects": {"type": "Nothing"}}, "intersects"),
    ({"datetime": "2024-01-01"}, "datetime"),
    ({"datetime": "2024-01-02T00:00:00Z/2024-01-01T00:00:00Z"}, "datetime"),
    ({"limit": 0}, "limit"),
    ({"token": "x"}, "token"),
    ({"token": "WyJhIiwgMV0", "sortby": [{"field": "datetime"}]}, "token"),
    ({"token": "WzFd"}, "token"),
    ({"sortby": [{"field": "no:such"}]}, "sortby"),
    ({"filter": {"op": "like", "args": [{"property": "id"}, "\\"]}}, "filter"),
    ({"filter": {"op": "pg_sleep", "args": [1]}}, "filter"),
    ({"filter": {"op": "=", "args": [{"property": "x'; DROP TABLE record; --"}, 1]}}, "filter"),
    ({"filter": {"op": "=", "args": [{"property": "eo:cloud_cover"}, "much"]}}, "filter"),
    ({"filter": "a = = 1", "filter-lang": "cql2-text"}, "filter"),
    ({"filter": "(" * 5000, "filter-lang": "cql2-text"}, "filter"),
    ({"filter": "NOT " * 1000 + "a = 1", "filter-lang": "cql2-text"}, "filter"),
    ({"filter": {"op": "not", "args": [{"op": "s_intersects", "args": [{"property": "geometry"}, {}]}]}}, "filter"),
]


async def test_what_cannot_be_meant_is_refused(catalogue: RunningCatalogue) -> None:
    for body, field in REFUSED:
        async with catalogue.http.post(f"{catalogue.url}/stac/search", json=body) as response:
            problem = await response.json(content_type=None)
            assert (response.status, problem.get("field")) == (400, field), (body, problem)
    assert await catalogue.count("record") == 0


async def test_records_are_searched(cube: RunningCatalogue) -> None:
    async def names(query: str) -> list[str]:
        return [record["time"][8:10] for record in (await get(cube, f"/cube/records?{query}"))["records"]]

    assert await names("name=S2A_MSIL2A_2024010[12]*") == []
    assert await names("name=S2A_MSIL2A_2024010?T*&datetime=2024-01-06T00:00:00Z/..") == ["06", "07"]
    assert await names("tags=orbitDirection=ASCENDING") == ["04"]
    assert await names("bbox=5,51,7,53") == ["04"]
    assert await names("tags=orbitDirection=ASCENDING,satellite=none") == []
    assert (await get(cube, "/cube/records?bbox=1,2", 400))["field"] == "bbox"
    assert (await get(cube, "/cube/records?tags=x", 400))["field"] == "tags"
