"""The simulated region: the same every time, sound as a STAC catalogue and as rasters, honest about what it is."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rio_cogeo.cogeo import cog_validate

from common.config import load_settings
from common.payload import parse_payload
from common.product_names import Constellation, parse_product_name
from thresher.demo.kinds import OPTICAL, configuration
from thresher.demo.landscape import SceneClass
from thresher.demo.region import OFFSET, SCALE, Region, make_region
from thresher.demo.server import FolderServer


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return make_region(tmp_path_factory.mktemp("region"))


@pytest.fixture(scope="module")
def items(region: Region) -> list[pystac.Item]:
    return list(pystac.Catalog.from_file(str(region.folder / region.catalog)).get_items(recursive=True))


def read(item: pystac.Item, key: str) -> np.ndarray:
    with rasterio.open(item.assets[key].get_absolute_href()) as raster:
        pixels: np.ndarray = raster.read(1)
        return pixels


def test_two_tiles_on_four_dates(region: Region, items: list[pystac.Item]) -> None:
    assert len(items) == len(region.scenes) == 8
    assert {(item.properties["grid:code"], item.datetime and item.datetime.month) for item in items} == {
        (f"MGRS-{tile}", month) for tile in ("31UES", "31UET") for month in (3, 5, 7, 9)
    }


def test_names_are_those_of_products(items: list[pystac.Item]) -> None:
    for item in items:
        name = parse_product_name(item.properties["s2:product_uri"])
        assert name.text == item.id
        assert name.constellation is Constellation.SENTINEL2
        assert name.parts["PRODUCT_LEVEL"] == "L2A"
        assert name.parts["PDGS"] == item.properties["s2:processing_baseline"].replace(".", "") == "0510"
        assert name.parts["TILE"] == "T" + item.properties["grid:code"].removeprefix("MGRS-")
        assert name.parts["ORBIT"] == f"{item.properties['sat:relative_orbit']:03d}"
        # Sentinel-2 repeats after 143 orbits; the first of a cycle differs from satellite to satellite.
        orbit, satellite = item.properties["sat:absolute_orbit"], name.parts["MISSION_VERSION"]
        assert (orbit + (2 if satellite == "A" else -27)) % 143 + 1 == 51
        assert item.properties["platform"] == f"sentinel-2{satellite.lower()}"


def test_every_item_says_that_it_is_simulated(items: list[pystac.Item]) -> None:
    for item in items:
        assert item.properties["thresher:simulated"] is True
        assert "SIMULATED" in item.properties["description"]
        with rasterio.open(item.assets["red"].get_absolute_href()) as raster:
            assert "SIMULATED" in raster.tags()["TIFFTAG_IMAGEDESCRIPTION"]


def test_files_are_what_the_items_say(items: list[pystac.Item]) -> None:
    for item in items:
        assert set(item.assets) == {"blue", "green", "red", "nir", "scl"}
        for asset in item.assets.values():
            path, fields = Path(asset.get_absolute_href() or ""), asset.extra_fields
            content = path.read_bytes()
            assert fields["file:size"] == len(content)
            assert fields["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
            with rasterio.open(path) as raster:
                assert raster.crs.to_epsg() == 32631
                # What pystac makes of `proj:epsg`.
                assert item.properties["proj:code"] == "EPSG:32631"
                assert list(raster.shape) == fields["proj:shape"]
                assert list(raster.transform)[:6] == fields["proj:transform"]
                assert raster.nodata == fields["raster:bands"][0]["nodata"] == 0
                assert raster.dtypes[0] == fields["raster:bands"][0]["data_type"]
                to_degrees = Transformer.from_crs(raster.crs, 4326, always_xy=True)
                corner = shapely.Point(to_degrees.transform(*raster.transform @ (0, 0)))
                # The raster and the footprint are the whole tile of 109.8 km.
                assert corner.distance(shapely.geometry.shape(item.geometry or {})) < 1e-6
                assert raster.bounds[2] - raster.bounds[0] == raster.bounds[3] - raster.bounds[1] == 109_800


def test_rasters_are_cloud_optimised(items: list[pystac.Item]) -> None:
    for key in ("red", "scl"):
        valid, errors, _ = cog_validate(items[0].assets[key].get_absolute_href() or "", strict=True)
        assert valid, errors


def test_reflectance_is_plausible_through_scale_and_offset(items: list[pystac.Item]) -> None:
    for item in items:
        raster_bands = item.assets["red"].extra_fields["raster:bands"][0]
        assert (raster_bands["scale"], raster_bands["offset"]) == (SCALE, OFFSET)
        classes = read(item, "scl").repeat(2, 0).repeat(2, 1)
        red = read(item, "red") * SCALE + OFFSET
        nir = read(item, "nir") * SCALE + OFFSET
        assert np.median(red[classes == SceneClass.WATER]) < 0.05
        assert np.median(nir[classes == SceneClass.WATER]) < 0.05
        assert np.median(red[classes == SceneClass.CLOUD_HIGH]) > 0.5
        lit, dark = red[classes == SceneClass.NOT_VEGETATED], red[classes == SceneClass.CLOUD_SHADOW]
        assert np.median(dark) < np.median(lit)
        green = classes == SceneClass.VEGETATION
        assert np.median((nir[green] - red[green]) / (nir[green] + red[green])) > 0.5
        assert "scale" not in item.assets["scl"].extra_fields["raster:bands"][0]


def test_fields_turn_green_and_back(items: list[pystac.Item]) -> None:
    vegetation = {
        item.datetime.month: item.properties["s2:vegetation_percentage"] for item in items if item.id.find("T31UES") > 0 and item.datetime
    }
    assert vegetation[5] > vegetation[3] * 1.5
    assert vegetation[5] > vegetation[9] * 1.5


def test_cloud_cover_is_that_of_the_classification(items: list[pystac.Item]) -> None:
    covers = []
    for item in items:
        clouds = np.isin(read(item, "scl"), (SceneClass.CLOUD_MEDIUM, SceneClass.CLOUD_HIGH, SceneClass.CIRRUS))
        covers.append(item.properties["eo:cloud_cover"])
        assert covers[-1] == pytest.approx(100 * clouds.mean(), abs=0.5)
    assert min(covers) < 10
    assert max(covers) > 40


def test_neighbours_agree_where_they_overlap(items: list[pystac.Item]) -> None:
    north, south = (next(item for item in items if tile in item.id and "20240514" in item.id) for tile in ("31UET", "31UES"))
    # 97.8 rows of 100 m; the grids differ by a fifth of a pixel, which is neglected.
    assert np.array_equal(read(north, "red")[1000:], read(south, "red")[:98])


def test_the_same_every_time(region: Region, items: list[pystac.Item], tmp_path: Path) -> None:
    again = make_region(tmp_path)
    assert [scene.product for scene in again.scenes] == [scene.product for scene in region.scenes]
    for scene, other in zip(region.scenes, again.scenes, strict=True):
        assert json.loads(scene.item.read_text()) == json.loads(other.item.read_text())


def test_payload_of_the_demonstration_asks_for_all_of_it(items: list[pystac.Item]) -> None:
    payload = parse_payload(OPTICAL.document())
    footprints = [shapely.geometry.shape(item.geometry or {}) for item in items]
    assert shapely.union_all(footprints).covers(payload.area)
    assert all(footprint.intersects(payload.area) for footprint in footprints)
    assert not any(footprint.covers(payload.area) for footprint in footprints)
    assert all(item.datetime and payload.start_time < item.datetime < payload.end_time for item in items)


def test_configuration_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "thresher.toml"
    file.write_text(configuration("http://127.0.0.1:4321"))
    settings = load_settings(file)
    assert settings.catalogues["demo"].type == "static-stac"
    assert settings.catalogues["demo"].url == "http://127.0.0.1:4321/catalog.json"
    assert settings.limits.allowed_urls == ["http://127.0.0.1:4321/"]
    assert settings.providers["demo"].type == "stac-asset"


def test_server_gives_ranges_and_counts(region: Region) -> None:
    name = f"/{region.scenes[0].item.parent.relative_to(region.folder)}/B04.tif"
    whole = (region.folder / name[1:]).read_bytes()
    with FolderServer(region.folder) as server:
        request = urllib.request.Request(server.url + name, headers={"Range": "bytes=100-199"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 206
            assert answer.read() == whole[100:200]
        with urllib.request.urlopen(server.url + name) as answer:
            assert answer.read() == whole
        for outside in ("/none.json", "/../secret", "/%2e%2e/secret"):
            with pytest.raises(urllib.error.HTTPError, match=r"404|403"):
                urllib.request.urlopen(server.url + outside)
        assert server.requests[name] == 2
        url = server.url
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url + name)
