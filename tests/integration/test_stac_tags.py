"""Tags of scenes, value by value, against the recorded items of Earth Search, CDSE, Planetary Computer and LandsatLook."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from fixtures_stac_search import StacServer, api, moment, names, payload
from shapely.geometry import shape

from catalogue.inventory import find_scenes
from common.features import SceneFeature
from tests.stac_replay import CQL2, Item, recorded


async def test_earth_search_sentinel2(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    found = await find_scenes(payload(items, "sentinel2"), [api("earth-search", stac_server(items, manner="post-body"), page_size=4)])
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


async def test_cdse_sentinel2(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "cdse_stac/search_s2search.json")
    found = await find_scenes(payload(items, "sentinel2"), [api("cdse", stac_server(items, manner="post-body"), page_size=3)])
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


async def test_planetary_computer_sentinel2(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/pc_100-sentinel-2-items.ndjson.gz")
    replay = stac_server(items, manner="post-body", conformance=(CQL2,))
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


async def test_planetary_computer_sentinel1(shared_data: Path, stac_server: StacServer) -> None:
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
    replay = stac_server(items)
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


async def test_planetary_computer_landsat(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/landsat-c2-l2-pc.json")
    older = copy.deepcopy(items[0])
    older["id"], older["properties"]["platform"] = "LE07_L2SP_089090_20240417_02_T1", "landsat-7"
    found = await find_scenes(payload(items, "landsat89"), [api("planetary-computer", stac_server([*items, older]))])
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


async def test_landsatlook(shared_data: Path, stac_server: StacServer) -> None:
    (path,) = (shared_data / "landsat/LC08_L2SP_005009_20150710").glob("*_SR_stac.json")
    (item,) = recorded(path)
    item = {**item, "id": item["id"] + "_SR", "collection": "landsat-c2l2-sr"}
    item["properties"] = {**item["properties"], "platform": "LANDSAT_8", "datetime": "2015-07-10T14:34:36.164868Z"}
    replay = stac_server([item], manner="post-merge")
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


async def test_earth_search_l1c_by_product_type(shared_data: Path, stac_server: StacServer) -> None:
    items = recorded(shared_data / "stac/earth_search_search.json")
    replay = stac_server(items)
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
