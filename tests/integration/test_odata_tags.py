"""Tags of scenes, value by value, against the products an OData catalogue has recorded, whole and odd."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fixtures_odata_search import GRD, PATAGONIA, WORLD, ODataServer, attributes, catalogue, deque_of, names, payload
from shapely.geometry import shape

from catalogue.inventory import find_scenes
from tests.odata_replay import Fault, Product, recorded, variant


@pytest.mark.parametrize("published", [False, True])
async def test_tags_of_sentinel1(shared_data: Path, odata_server: ODataServer, published: bool) -> None:
    recordings = recorded(shared_data / "cdse_odata")
    replay = odata_server(recordings)
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


async def test_tags_of_sentinel2(shared_data: Path, odata_server: ODataServer) -> None:
    replay = odata_server(recorded(shared_data / "cdse_odata"))
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


async def test_what_is_not_given_is_told(products: list[Product], odata_server: ODataServer) -> None:
    found = await find_scenes(payload("sentinel1", PATAGONIA), [catalogue(odata_server(products))])
    for name, value in [("producttype", "SLC"), ("sensoroperationalmode", "IW"), ("polarisationmode", "VV VH")]:
        assert f"copernicus: scene_type.parameters.{name} is not given; {value} is taken" in found.notes


async def test_names_without_safe_missing_attributes_and_offline_products(products: list[Product], odata_server: ODataServer) -> None:
    one = next(product for product in products if product["Name"].startswith("S1A_IW_GRDH_"))
    bare = variant(one, 1, (".SAFE", ""))
    poor = variant(one, 2, ("_7994", "_0000")) | {"Online": False}
    poor["ContentDate"] = {"Start": "2026-01-01T01:25:09.000000Z"}
    poor["Name"] = poor["Name"].replace("T012508", "T012509")
    poor["Attributes"] = [
        entry for entry in one["Attributes"] if entry["Name"] in ("productType", "operationalMode", "polarisationChannels")
    ]
    found = await find_scenes(payload("sentinel1", WORLD, GRD), [catalogue(odata_server([bare, poor]))])
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
    products: list[Product], odata_server: ODataServer, change: dict[str, Any], reason: str
) -> None:
    good, bad = (
        product for product in products if product["Name"].startswith("S1A_IW_GRDH_1SDV_20260101T") and "COG" not in product["Name"]
    )
    body = json.dumps({"value": [good, bad | change]}).encode()
    found = await find_scenes(payload("sentinel1", WORLD, GRD), [catalogue(odata_server([], faults=deque_of(Fault(200, body=body))))])
    assert names(found.scenes) == [good["Name"].removesuffix(".SAFE")]
    (note,) = [note for note in found.notes if "left out" in note]
    assert reason in note
