"""Scenes made of items: names, tags, footprints, links and radiometry, for recorded items and for hostile ones."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import mapping

from catalogue.external.stac_item import BadItemError, StacItem
from catalogue.external.stac_scene import absolute, scene_of
from common.features import AssetLink, SceneFeature
from tests.stac_replay import Item, recorded

BANDS = {f"B{number:02d}" for number in range(1, 13)} - {"B10"} | {"B8A"}
SQUARE = {"type": "Polygon", "coordinates": [[[5.0, 51.0], [6.0, 51.0], [6.0, 52.0], [5.0, 52.0], [5.0, 51.0]]]}
L2A = "S2B_MSIL2A_20240710T071619_N0510_R006_T37MGP_20240710T103747"


def scene(item: Item, location: str = "") -> SceneFeature:
    return scene_of(StacItem.of(item), catalogue="test", location=location)


def made(assets: dict[str, Any] | None = None, **properties: Any) -> Item:
    """A Sentinel-2 L2A item that says no more than it must."""
    return {
        "type": "Feature",
        "id": L2A,
        "geometry": SQUARE,
        "properties": {"datetime": "2024-07-10T07:41:33Z", **properties},
        "assets": assets or {},
    }


def link(item: Item, layer: str) -> AssetLink:
    return scene(item).data.metadata.assets[layer]


def band(offset: float | None = None, scale: float | None = 0.0001) -> dict[str, Any]:
    raster = {"scale": scale, **({} if offset is None else {"offset": offset})} if scale is not None else {}
    return {"blue": {"href": "https://example.com/B02.tif", "raster:bands": [raster]}}


# --- Radiometry: the flag of the item, the offset it gives, the processing baseline -------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "offset_given", "expected"),
    [
        ({"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.10"}, -0.1, 0.0),
        ({"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.10"}, None, 0.0),
        ({"sentinel:boa_offset_applied": True}, -0.1, 0.0),
        ({"earthsearch:boa_offset_applied": False, "s2:processing_baseline": "05.10"}, -0.1, -0.1),
        ({"earthsearch:boa_offset_applied": False, "s2:processing_baseline": "05.10"}, None, -0.1),
        ({"s2:processing_baseline": "05.10"}, 0, 0.0),
        ({"s2:processing_baseline": "02.14"}, -0.1, -0.1),
        ({"s2:processing_baseline": "04.00"}, None, -0.1),
        ({"s2:processing_baseline": "03.01"}, None, 0.0),
        ({"processing:version": "05.00"}, None, -0.1),
        ({}, None, -0.1),
    ],
    ids=["flag", "flag-alone", "older-flag", "not-applied", "not-applied-alone", "zero", "own", "04.00", "03.01", "cdse", "name"],
)
def test_the_offset_of_sentinel2_is_decided_once(properties: dict[str, Any], offset_given: float | None, expected: float) -> None:
    assert link(made(band(offset_given), **properties), "B02").offset == expected


def test_a_product_name_before_04_00_has_no_offset() -> None:
    item = made(band()) | {"id": L2A.replace("N0510", "N0301")}
    assert (link(item, "B02").scale, link(item, "B02").offset) == (0.0001, 0.0)


def test_an_unknown_baseline_leaves_the_offset_open() -> None:
    item = made(band(), platform="sentinel-2a") | {"id": "my_scene"}
    assert (link(item, "B02").scale, link(item, "B02").offset) == (0.0001, None)


@pytest.mark.parametrize(
    ("file", "expected_scale", "expected_offset"),
    [
        ("stac/earthsearch_c1_l2a_item-collection.json", 0.0001, -0.1),
        ("stac/S2B_T37MGP_20240710T073012_L2A_C1.json", 0.0001, -0.1),
        ("stac/earth_search_search.json", 0.0001, -0.1),
        ("stac/S2A_T01LAC_20200717T221944_L1C.json", 0.0001, 0.0),
        ("stac/pc_100-sentinel-2-items.ndjson.gz", 0.0001, -0.1),
        ("stac/site2-2020_jun_jul-35MNM.geojson", 0.0001, 0.0),
        ("cdse_stac/search_s2search.json", 0.0001, -0.1),
    ],
)
def test_reflectance_of_every_recorded_sentinel2_item(shared_data: Path, file: str, expected_scale: float, expected_offset: float) -> None:
    for item in recorded(shared_data / file):
        assets = scene(item).data.metadata.assets
        l1c = "L1C" in file or item["properties"].get("s2:product_type") == "S2MSI1C"
        bands = BANDS | ({"B10"} if l1c else set())
        assert bands <= assets.keys()
        for name in bands:
            asset = assets[name]
            assert (asset.scale, asset.offset, asset.nodata) == (expected_scale, expected_offset, 0.0), (item["id"], name)
        if not l1c:
            assert (assets["SCL"].scale, assets["SCL"].offset) == (None, None)
            assert (assets["AOT"].scale, assets["AOT"].offset) == (0.001, 0.0)
            assert (assets["WVP"].scale, assets["WVP"].offset) == (0.001, 0.0)


@pytest.mark.parametrize(
    "file", ["stac/LC09_L2SP_010065_20220129_02_T1.json", "stac/landsat-c2-l2-pc.json", "stac/pc_landsat8_netherlands_page1.json.gz"]
)
def test_radiometry_of_every_recorded_landsat_item(shared_data: Path, file: str) -> None:
    temperatures = 0
    for item in recorded(shared_data / file):
        assets = scene(item).data.metadata.assets
        for number in range(1, 8):
            asset = assets[f"B{number:02d}"]
            assert (asset.scale, asset.offset, asset.nodata) == (0.0000275, -0.2, 0.0)
            assert asset.href.endswith(f"_SR_B{number}.TIF")
        assert assets["QA_PIXEL"].href.endswith("_QA_PIXEL.TIF")
        assert (assets["QA_PIXEL"].scale, assets["QA_PIXEL"].nodata) == (None, 1.0)
        if "B10" in assets:
            temperatures += 1
            assert (assets["B10"].scale, assets["B10"].offset, assets["B10"].nodata) == (0.00341802, 149.0, 0.0)
            assert assets["B10"].href.endswith("_ST_B10.TIF")
    assert temperatures


# --- Names of files -----------------------------------------------------------------------------------------------------------------


def test_every_band_of_sentinel2_is_the_file_of_that_band(shared_data: Path) -> None:
    for file in (
        "stac/earthsearch_c1_l2a_item-collection.json",
        "stac/earth_search_search.json",
        "stac/pc_100-sentinel-2-items.ndjson.gz",
        "cdse_stac/search_s2search.json",
    ):
        for item in recorded(shared_data / file):
            assets = scene(item).data.metadata.assets
            for name in BANDS | ({"SCL", "AOT", "WVP"} & assets.keys()):
                stem = assets[name].href.rsplit("/", 1)[1].rsplit(".", 1)[0]
                assert name in (stem, *stem.split("_")), assets[name].href
            assert {"granule_metadata"} <= assets.keys()


def test_the_finest_then_the_cloud_optimised_file_of_a_band_wins(shared_data: Path) -> None:
    (item, *_) = recorded(shared_data / "cdse_stac/search_s2search.json")
    assets = scene(item).data.metadata.assets
    assert [assets[name].key for name in ("B02", "B8A", "B09", "SCL")] == ["B02_10m", "B8A_20m", "B09_60m", "SCL_20m"]
    two = {
        "blue-jp2": {"href": "s3://bucket/B02.jp2", "type": "image/jp2", "gsd": 10},
        "blue": {"href": "https://example.com/B02.tif", "type": "image/tiff; application=geotiff", "gsd": 10},
    }
    assert link(made(two), "B02").key == "blue"


def test_pictures_are_no_bands() -> None:
    assets = {
        "thumbnail": {"href": "https://example.com/t.jpg", "roles": ["thumbnail"], "eo:bands": [{"name": "B04", "common_name": "red"}]},
        "visual": {"href": "https://example.com/TCI.tif", "eo:bands": [{"name": "B04"}, {"name": "B03"}, {"name": "B02"}]},
    }
    assert scene(made(assets)).data.metadata.assets.keys() == {"thumbnail", "TCI"}


def test_usgs_items_with_bands_by_position(shared_data: Path) -> None:
    folder = shared_data / "landsat" / "LC08_L2SP_005009_20150710"
    (item,) = recorded(next(folder.glob("*_SR_stac.json")))
    found = scene(item)
    assert found.source_id == "LC08_L2SP_005009_20150710_20200908_02_T2"
    assert found.data.date.isoformat() == "2015-07-10T00:00:00+00:00"
    assert found.tags == {
        "sourceID": "LC08_L2SP_005009_20150710_20200908_02_T2",
        "constellation": "LANDSAT",
        "satellite": "LANDSAT08",
        "ingestionDate": "2015-07-10",
        "productType": "L2SP",
        "cloudCoverPercentage": "54.65",
        "landCloudCoverPercentage": "54.67",
        "sunAzimuth": "177.8846007",
        "sunElevation": "40.0015903",
    }
    for number in range(1, 8):
        asset = found.data.metadata.assets[f"B{number:02d}"]
        assert asset.href.endswith(f"_SR_B{number}.TIF")
        assert (asset.scale, asset.offset) == (0.0000275, -0.2)


# --- Names of products --------------------------------------------------------------------------------------------------------------


def test_product_names_come_from_properties_ids_or_paths(shared_data: Path) -> None:
    names = {
        "stac/earth_search_search.json": "S2B_MSIL1C_20240206T131259_N0510_R081_T27VWK_20240206T133903",
        "stac/S1A_IW_GRDH_1SDV_20220428T034417_20220428T034442_042968_05213C.json": (
            "S1A_IW_GRDH_1SDV_20220428T034417_20220428T034442_042968_05213C_28ED"
        ),
        "stac/LC09_L2SP_010065_20220129_02_T1.json": "LC09_L2SP_010065_20220129_20220131_02_T1",
        "stac/landsat-c2-l2-pc.json": "LC09_L2SP_089090_20240417_20240418_02_T1",
        "cdse_stac/search_s2search.json": "S2B_MSIL2A_20200705T101559_N0500_R065_T32TNT_20230530T175912",
    }
    for file, name in names.items():
        assert scene(recorded(shared_data / file)[0]).source_id == name
    assert scene(made() | {"id": "anything_else"}).source_id == "anything_else"


# --- Footprints ---------------------------------------------------------------------------------------------------------------------


def test_a_footprint_is_cut_at_the_antimeridian() -> None:
    ring = [[179.5, -16.0], [-179.5, -16.0], [-179.5, -15.0], [179.5, -15.0], [179.5, -16.0]]
    footprint = scene(made() | {"geometry": {"type": "Polygon", "coordinates": [ring]}}).footprint()
    assert footprint.geom_type == "MultiPolygon"
    assert footprint.area == pytest.approx(1.0, rel=1e-4)
    assert sorted(part["coordinates"][0][0][0] > 0 for part in map(mapping, footprint.geoms)) == [False, True]


def test_a_footprint_in_three_dimensions_and_one_that_crosses_itself() -> None:
    flat = scene(made() | {"geometry": {"type": "Polygon", "coordinates": [[[*xy, 9.0] for xy in SQUARE["coordinates"][0]]]}})
    assert flat.wkt == "POLYGON ((5 51, 6 51, 6 52, 5 52, 5 51))"
    bow = [[0.0, 0.0], [2.0, 2.0], [2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]
    crossed = scene(made() | {"geometry": {"type": "Polygon", "coordinates": [bow]}}).footprint()
    assert crossed.is_valid
    assert crossed.area == pytest.approx(2.0)


# --- Odd and hostile items ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"geometry": None}, "no geometry"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "empty"),
        ({"geometry": {"type": "Polygon", "coordinates": [[["a", 1], [2, 3], [4, 5], ["a", 1]]]}}, "cannot be read"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [2, float("nan")], [4, 5], [0, 0]]]}}, "not finite"),
        ({"geometry": {"type": "Point", "coordinates": [1, 2]}}, "not an area"),
        ({"geometry": {"type": "Dodecahedron"}}, "cannot be read"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[0, 80], [2, 80], [2, 95], [0, 80]]]}}, "longitude and latitude"),
        ({"properties": {}}, "no datetime"),
        ({"properties": {"datetime": "yesterday"}}, "no datetime"),
        ({"properties": {"datetime": None}}, "no datetime"),
        ({"properties": []}, "no properties"),
        ({"id": ""}, "no id"),
        ({"id": "../../etc/passwd"}, "not usable as a name"),
        ({"id": "a\x00b"}, "not usable as a name"),
    ],
)
def test_items_that_cannot_be_scenes_say_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadItemError, match=reason):
        scene(made() | change)


@pytest.mark.parametrize("document", [None, [], "item", 7, True])
def test_what_is_no_object_is_no_item(document: Any) -> None:
    with pytest.raises(BadItemError, match="not a JSON object"):
        StacItem.of(document)


def test_a_recorded_item_of_the_wrong_types_still_is_an_item_or_says_why(shared_data: Path) -> None:
    """Every property and every field of every asset in turn of every wrong type: a scene or a BadItemError, nothing else."""
    (item, *_) = recorded(shared_data / "stac/earthsearch_c1_l2a_item-collection.json")
    scenes = 0
    for wrong in (None, True, "text", -1, 1e400, [], {}, [None], {"a": 1}):
        for key in [*item["properties"], "assets", "links", "bbox", "collection", "stac_version"]:
            changed = copy.deepcopy(item)
            (changed["properties"] if key in item["properties"] else changed)[key] = wrong
            try:
                scenes += bool(scene(changed).source_id)
            except BadItemError:
                continue
        for key in item["assets"]["blue"]:
            changed = copy.deepcopy(item)
            changed["assets"]["blue"][key] = wrong
            scenes += bool(scene(changed).source_id)
    assert scenes > 300


def test_links_are_absolute_and_never_lead_from_the_web_to_local_files() -> None:
    assert absolute("B02.tif", "https://example.com/a/item.json") == "https://example.com/a/B02.tif"
    assert absolute("../B02.tif", "file:///data/a/item.json") == "file:///data/B02.tif"
    assert absolute("/data/B02.tif", "file:///data/a/item.json") == "file:///data/B02.tif"
    assert absolute("B02.tif", "s3://bucket/a/item.json") == "s3://bucket/a/B02.tif"
    assert absolute("s3://bucket/B02.tif", "https://example.com/item.json") == "s3://bucket/B02.tif"
    assert absolute("file:///etc/passwd", "https://example.com/item.json") is None
    assert absolute("gs://bucket/B02.tif", "https://example.com/item.json") is None
    assert absolute("https://[broken/B02.tif", "https://example.com/item.json") is None
    item = made({"blue": {"href": "file:///etc/passwd"}, "red": {"href": "B04.tif"}})
    assets = scene(item, location="https://example.com/item.json").data.metadata.assets
    assert {name: asset.href for name, asset in assets.items()} == {"B04": "https://example.com/B04.tif"}


def test_a_zipped_product_is_the_download_link() -> None:
    item = made({"SAFE": {"href": "product.SAFE.zip", "type": "application/zip"}})
    found = scene(item, location="https://example.com/item.json")
    assert found.data.metadata.download_link == "https://example.com/product.SAFE.zip"
    assert found.tags["downloadURL"] == "https://example.com/product.SAFE.zip"
