"""Static STAC catalogues, in a folder and over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures_stac_search import StacServer, moment, names, payload

from catalogue.external.offers import Offer
from catalogue.external.static_stac import StaticStacCatalogue
from catalogue.inventory import find_scenes
from common.errors import UpstreamError
from tests.stac_replay import Fault, Item, recorded

ANYTHING = Offer({})


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


async def test_a_static_catalogue_in_a_folder_and_over_http_give_the_same(
    shared_data: Path, stac_server: StacServer, tmp_path: Path
) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    documents = static_documents(items)
    folder = tmp_path / "my catalogue"
    for name, document in documents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(document))
    replay = stac_server([], static={f"/c/{name.replace(' ', '%20')}": document for name, document in documents.items()})
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


async def test_pages_of_a_static_catalogue(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    collection = {"type": "FeatureCollection", "features": items}
    replay = stac_server([], static={"/items.json": collection})
    catalogue = StaticStacCatalogue("static", f"{replay.root}/items.json", ANYTHING)
    pages = [await find_scenes(payload(items, "sentinel2", page=page, limit=5), [catalogue]) for page in range(3)]
    assert [(len(page.scenes), page.has_next) for page in pages] == [(5, True), (5, False), (0, False)]
    assert sorted({scene.data.date for page in pages for scene in page.scenes}) == [s.data.date for p in pages for s in p.scenes]


async def test_constellation_dates_and_area_are_filtered_in_a_static_catalogue(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    others = recorded(shared_data / "stac/landsat-c2-l2-pc.json")
    replay = stac_server([], static={"/items.json": {"type": "FeatureCollection", "features": [*items, *others]}})
    catalogue = StaticStacCatalogue("static", f"{replay.root}/items.json", ANYTHING)
    assert len((await find_scenes(payload(others, "landsat89"), [catalogue])).scenes) == len(others)
    assert not (await find_scenes(payload(others, "sentinel2"), [catalogue])).scenes
    moments = sorted(item["properties"]["datetime"] for item in items)
    some = payload(items, "sentinel2").model_copy(update={"start_time": moment(items[3]), "end_time": moment(items[1])})
    assert len((await find_scenes(some, [catalogue])).scenes) == 3
    assert moments == [item["properties"]["datetime"] for item in reversed(items)]
    assert not (await find_scenes(payload(items, "sentinel2", ring=[[0, 0], [1, 0], [1, 1], [0, 0]]), [catalogue])).scenes


async def test_a_static_item_that_is_missing_is_noted_and_a_missing_catalogue_is_an_error(
    shared_data: Path, stac_server: StacServer
) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    documents = {f"/c/{name.replace(' ', '%20')}": document for name, document in static_documents(items).items()}
    paths = [path for path in documents if path.endswith("item.json")]
    documents[paths[0]] = Fault(404, body=b"gone")
    documents[paths[1]] = b"<html>"
    documents[paths[2]] = {"hello": "world"}
    replay = stac_server([], static=documents)
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


async def test_a_web_catalogue_cannot_read_local_files(shared_data: Path, stac_server: StacServer, tmp_path: Path) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    secret = tmp_path / "item.json"
    secret.write_text(json.dumps(items[0]))
    links = [{"rel": rel, "href": href} for rel in ("item", "child") for href in (secret.as_uri(), str(secret), "gopher://x/y")]
    replay = stac_server(
        [], static={"/catalog.json": {"type": "Catalog", "id": "c", "links": links}, str(secret): {"type": "Catalog", "links": []}}
    )
    found = await find_scenes(payload(items, "sentinel2"), [StaticStacCatalogue("static", f"{replay.root}/catalog.json", ANYTHING)])
    assert not found.scenes


async def test_a_folder_without_a_catalogue_is_told(shared_data: Path, tmp_path: Path) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    with pytest.raises(UpstreamError, match=r"no catalog\.json or collection\.json"):
        await find_scenes(payload(items, "sentinel2"), [StaticStacCatalogue("static", str(tmp_path), ANYTHING)])
