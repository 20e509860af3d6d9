"""The parts of the STAC API that need no database: filters, places of pages, searches, items of every kind, pictures."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from offline_schemas import validate_item
from PIL import Image
from rasterio.transform import from_origin
from shapely.geometry import MultiPolygon, Polygon, box

from catalogue.cube.pictures import NoPictureError, colours, picture
from catalogue.stac.filters import condition_of, parse_text
from catalogue.stac.items import ROOT, ItemSource, Layer, bbox_of, item_of
from catalogue.stac.keyset import Place, order_of, place_in, place_of
from catalogue.stac.properties import hyphenated, properties_of
from catalogue.stac.search import area_of_bbox, interval, search_of_query
from catalogue.stac.statement import Statement
from common.errors import UserError
from common.storage.links import StoredLink

MOMENT = datetime(2024, 5, 14, 10, 46, 19, 24000, tzinfo=UTC)


def sql(text: str) -> tuple[str, list[object]]:
    statement = Statement()
    return condition_of(parse_text(text), statement).sql, statement.values


def test_filters_bind_every_value() -> None:
    condition, values = sql("tag:a = '''; DROP TABLE record; --' AND eo:cloud_cover < 20")
    assert "DROP" not in condition
    assert values == [{"a": "'; DROP TABLE record; --"}, 20.0]
    condition, values = sql("20 > eo:cloud_cover")
    assert condition.endswith(" < $1::double precision")
    assert values == [20.0]
    condition, values = sql("datetime = DATE('2024-05-14')")
    assert values == [datetime(2024, 5, 14, tzinfo=UTC)]


def test_geometry_of_a_filter_is_handed_on() -> None:
    condition = condition_of(parse_text("id = 'x' AND S_INTERSECTS(geometry, POINT(1 2))"), Statement())
    assert condition.geometries == [{"type": "Point", "coordinates": [1, 2]}]


@pytest.mark.parametrize(
    "document",
    [
        {"op": "="},
        {"op": "=", "args": [1, 2]},
        {"op": "and", "args": [True]},
        {"op": "not", "args": []},
        {"op": "in", "args": [{"property": "id"}, []]},
        {"op": "between", "args": [{"property": "datetime"}, "x", "y"]},
        {"op": ["="], "args": []},
        "text",
        None,
        [],
    ],
    ids=str,
)
def test_what_is_no_filter_is_refused(document: object) -> None:
    with pytest.raises(UserError) as refused:
        condition_of(document, Statement())
    assert refused.value.field == "filter"


def test_deep_filters_are_refused() -> None:
    document: object = True
    for _ in range(10_000):
        document = {"op": "not", "args": [document]}
    with pytest.raises(UserError, match="nested"):
        condition_of(document, Statement())


def test_places_survive_as_tokens() -> None:
    place = place_of([MOMENT, 3.5, "ü'x"], 17)
    assert place_in(place.token()) == place == Place((MOMENT.isoformat(), 3.5, "ü'x"), 17)
    infinite = place_of([-math.inf], 1)
    assert place_in(infinite.token()) == infinite


@pytest.mark.parametrize("token", ["", "x", "AAAA", "W10", "WyJhIl0", "WzEsIHRydWVd", "Wy0xXQ", "é" * 10, "A" * 5000])
def test_tokens_of_nobody_are_refused(token: str) -> None:
    with pytest.raises(UserError) as refused:
        place_in(token)
    assert refused.value.field == "token"


def test_an_order_in_both_directions_is_spelled_out() -> None:
    statement = Statement()
    order = order_of([("collection", False), ("datetime", True)])
    condition = order.after(Place(("a", MOMENT.isoformat()), 3), statement)
    assert condition == (
        "i.aoi >= $1::text AND ((i.aoi > $1::text) OR (i.aoi = $1::text AND i.datetime < $2::timestamptz)"
        " OR (i.aoi = $1::text AND i.datetime = $2::timestamptz AND i.number < $3::bigint))"
    )
    assert statement.values == ["a", MOMENT, 3]
    with pytest.raises(UserError):
        order.after(Place(("a",), 3), Statement())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-14T10:46:19.024Z", (MOMENT, MOMENT)),
        ("2024-05-14T12:46:19.024+02:00/..", (MOMENT, None)),
        ("/2024-05-14t10:46:19.024z", (None, MOMENT)),
    ],
)
def test_intervals(text: str, expected: tuple[datetime | None, datetime | None]) -> None:
    assert interval(text) == expected


@pytest.mark.parametrize(
    "text", ["", "/", "../..", "2024", "2024-05-14", "a/b/c", "2024-13-01T00:00:00Z", "2024-05-14T10:46:19", "2024-05-14T1:2:3Z"]
)
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(UserError) as refused:
        interval(text)
    assert refused.value.field == "datetime"


def test_a_bbox_across_the_antimeridian_is_two() -> None:
    area = area_of_bbox([170, -20, -170, -10])
    assert [part.bounds for part in area.geoms] == [(170, -20, 180, -10), (-180, -20, -170, -10)]
    assert area_of_bbox([1, 2, 0, 3, 4, 100]).bounds == (1, 2, 3, 4)


def test_query_of_a_get() -> None:
    search = search_of_query(
        {"collections": "a,b", "bbox": "1,2,3,4", "sortby": "-datetime,+id", "fields": "id,-links", "limit": "5000", "filter": "a = 1"}
    )
    assert (search.collections, search.bbox, search.limit) == (["a", "b"], [1, 2, 3, 4], 1000)
    assert [(key.field, key.direction) for key in search.sortby] == [("datetime", "desc"), ("id", "asc")]
    assert search.fields is not None
    assert (search.fields.include, search.fields.exclude) == (["id"], ["links"])
    assert search.filter_document() == {"op": "=", "args": [{"property": "a"}, 1]}


def test_words_of_stac() -> None:
    words = ["SENTINEL2A", "SENTINEL1", "LANDSAT08", "LANDSAT", "PHR1A", "SPOT7"]
    assert [hyphenated(word) for word in words] == ["sentinel-2a", "sentinel-1", "landsat-8", "landsat", "phr-1a", "spot-7"]
    assert properties_of({"cloudCoverPercentage": "many", "relativeOrbit": "7.5", "orbitDirection": "UP", "x": "1"}) == {
        "tag:cloudCoverPercentage": "many",
        "tag:orbitDirection": "UP",
        "tag:relativeOrbit": "7.5",
        "tag:x": "1",
    }
    assert properties_of({"cloudCoverPercentage": "101"}) == {"tag:cloudCoverPercentage": "101"}


def layer(name: str, **more: object) -> Layer:
    values: dict[str, object] = {
        "id": "0f0f0f0f-0000-0000-0000-000000000000",
        "layer": name,
        "variable": name,
        "instance": "i",
        "description": "",
        "unit": "",
        "bands": ("",),
        "uri": f"s3://b/{name}.tif",
        "size": 1,
        "sha256": "a" * 64,
        "dtype": "float32",
        "nodata": math.nan,
        "min_value": 0.0,
        "max_value": 1.0,
        "real_min": 0.0,
        "real_max": 1.0,
        "exponent": 1.0,
        "epsg": 32601,
        "shape": (10, 20),
        "transform": (10.0, 0.0, 1.0, 0.0, -10.0, 2.0),
        "statistics": (),
        "indexed_at": MOMENT,
    }
    return Layer(**{**values, **more})  # type: ignore[arg-type]


def burst(footprint: object, layers: list[Layer], **source: str) -> ItemSource:
    name = "S1A_IW_SLC__1SDV_20250406T054143_20250406T054211_058632_0742B0_A1B2"
    tags = {
        "constellation": "SENTINEL1",
        "satellite": "SENTINEL1A",
        "polarisationMode": "VV VH",
        "orbitDirection": "ASCENDING",
        "orbit": "58632",
    }
    return ItemSource("an id", "A:b", name, "T@A:b", MOMENT, MOMENT, MOMENT, tags, footprint, layers, source)  # type: ignore[arg-type]


def test_item_of_a_burst_is_valid_also_across_the_antimeridian() -> None:
    footprint = MultiPolygon([box(179, 10, 180, 11), box(-180, 10, -179.5, 11)])
    layers = [
        layer("sigma0_VV"),
        layer("slc", dtype="complex64", bands=("VV", "VH"), exponent=0.5),
        layer("mask", dtype="uint8", nodata=math.nan, epsg=None, shape=None, transform=None, sha256="00"),
        layer("all", uri="/x/all.zip"),
    ]
    item = json.loads(json.dumps(item_of(burst(footprint, layers, scene="S", download_link="https://u:p@host/x"))))
    validate_item(item)
    assert item["bbox"] == [179, 10, -179.5, 11]
    properties = item["properties"]
    assert (properties["sar:instrument_mode"], properties["sar:polarizations"]) == ("IW", ["VH", "VV"])
    assert properties["sat:absolute_orbit"] == 58632
    assert item["assets"]["sigma0_VV"]["bands"] == [{"name": "sigma0_VV", "data_type": "float32", "nodata": "nan"}]
    assert [band["name"] for band in item["assets"]["slc"]["bands"]] == ["VV", "VH"]
    assert item["assets"]["mask"]["bands"] == [{"name": "mask", "data_type": "uint8"}]
    assert "bands" not in item["assets"]["all"]
    # A link that holds a password is shown to nobody.
    assert not any(link["rel"] == "derived_from" for link in item["links"])
    assert item["links"][0]["href"] == f"{ROOT}/stac/collections/A%3Ab/items/an%20id"


def test_bbox_of_what_reaches_around_the_world() -> None:
    assert bbox_of(box(-180, -10, 180, 10)) == [-180, -10, 180, 10]
    assert bbox_of(Polygon([(1, 2), (3, 2), (2, 4)])) == [1, 2, 3, 4]


def test_which_layers_make_a_picture() -> None:
    layers = {name: name.lower() for name in ("B02", "B03", "B04", "SCL")}
    assert colours(layers) == ["b04", "b03", "b02"]
    assert colours({"TCI": "t", **layers}) == ["t"]
    assert colours({"SCL": "s", "NDVI": "n"}) == ["n"]
    assert colours({}) == []


def write(path: Path, values: np.ndarray, **more: object) -> StoredLink:
    profile = {"driver": "GTiff", "dtype": values.dtype, "count": 1, "width": values.shape[1], "height": values.shape[0]}
    with rasterio.open(path, "w", crs="EPSG:32631", transform=from_origin(0, 0, 10, 10), **{**profile, **more}) as raster:
        raster.write(values, 1)
    return StoredLink(path=path)


def test_pictures_of_all_kinds_of_pixels(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64, dtype="float32")[None, :].repeat(32, axis=0)
    ramp[:, :8] = np.nan
    content = picture([write(tmp_path / "float.tif", ramp)], 512)
    grey, alpha = (np.asarray(band) for band in Image.open(io.BytesIO(content)).split())
    assert (grey.shape, alpha[0, 7], alpha[0, 8]) == ((32, 64), 0, 255)
    assert np.all(np.diff(grey[0, 8:].astype(int)) >= 0)
    assert (grey[0, 9], grey[0, -1]) == (0, 255)
    for name, values in (
        ("complex", (ramp[:, 8:] * (1 + 1j)).astype("complex64")),
        ("flat", np.full((32, 64), 7, dtype="uint8")),
        ("empty", np.full((32, 64), np.nan, dtype="float32")),
    ):
        content = picture([write(tmp_path / f"{name}.tif", values)], 16)
        assert max(Image.open(io.BytesIO(content)).size) == 16
    with pytest.raises(NoPictureError):
        picture([StoredLink(path=tmp_path / "none.tif")], 16)


def test_a_huge_raster_without_overviews_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    options = {"width": 20_000, "height": 20_000, "count": 1, "dtype": "uint8", "sparse_ok": True, "tiled": True}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32631", transform=from_origin(0, 0, 10, 10), **options):
        pass
    with pytest.raises(NoPictureError, match="without overviews"):
        picture([StoredLink(path=path)], 512)
