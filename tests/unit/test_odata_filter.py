"""The text of an OData query: what a parser of the grammar reads in it, and that it asks for no less than is wanted."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odata_query import ast
from shapely.geometry import MultiPolygon, Polygon, box

from catalogue.external.filters import Interval, SceneFilter, filter_of
from catalogue.external.odata_area import area_condition
from catalogue.external.odata_filter import TimeSlice, encoded, filter_text, literal, time_slices
from catalogue.external.odata_product import ProductSource, scene_of_product
from common.errors import UserError
from common.geometry import as_multipolygon
from common.payload import SceneType
from common.product_names import Constellation
from tests.odata_replay import holds, parsed, recorded

SPAN = TimeSlice(datetime(2022, 1, 1, tzinfo=UTC), datetime(2022, 2, 10, tzinfo=UTC))
SOURCE = ProductSource("copernicus", "https://catalogue.dataspace.copernicus.eu/odata/v1/")
DENMARK = {"producttype": "SLC", "polarisationmode": "VV VH", "sensoroperationalmode": "IW", "relativeorbitnumber": "44"}


def wanted(constellation: str, **parameters: str) -> SceneFilter:
    return filter_of(SceneType.model_validate({"constellation": constellation, "parameters": parameters}))


def conditions(node: ast._Node) -> list[ast._Node]:
    """The parts of a conjunction."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return conditions(node.left) + conditions(node.right)
    return [node]


def product(name: str, start: str = "2022-01-05T17:01:23.133000Z", **attributes: Any) -> dict[str, Any]:
    kinds = {str: "String", int: "Integer", float: "Double"}
    return {
        "Id": "d82774b2-b84a-4a90-a499-94e68f92abeb",
        "Name": name,
        "ContentDate": {"Start": start},
        "GeoFootprint": {"type": "Polygon", "coordinates": [[[9, 54], [13, 54], [13, 56], [9, 56], [9, 54]]]},
        "Attributes": [
            {"@odata.type": f"#OData.CSC.{kinds[type(value)]}Attribute", "Name": key, "Value": value} for key, value in attributes.items()
        ],
    }


def asked(filter_: SceneFilter, constellation: Constellation, area: str = "") -> ast._Node:
    collection = {Constellation.SENTINEL1: "SENTINEL-1", Constellation.SENTINEL2: "SENTINEL-2"}[constellation]
    return parsed(filter_text([collection], constellation, filter_, SPAN, area))


# --- As it is written ---------------------------------------------------------------------------------------------------------------


def test_denmark_as_it_is_sent() -> None:
    area = MultiPolygon([box(9.75, 54.875, 10.0625, 55.0)])
    text = filter_text(
        ["SENTINEL-1"], Constellation.SENTINEL1, wanted("sentinel1", **DENMARK), SPAN, area_condition(area, room=3000, max_vertices=400)
    )

    def said(kind: str, name: str, value: str) -> str:
        return f"Attributes/OData.CSC.{kind}Attribute/any(att:att/Name eq '{name}' and att/OData.CSC.{kind}Attribute/Value eq {value})"

    polygon = "POLYGON((10.0625 54.875,10.0625 55,9.75 55,9.75 54.875,10.0625 54.875))"
    assert text.split(" and Attributes")[0] == (
        "Collection/Name eq 'SENTINEL-1' and ContentDate/Start ge 2022-01-01T00:00:00.000000Z"
        " and ContentDate/Start le 2022-02-10T00:00:00.000000Z"
        f" and ({said('String', 'productType', repr('SLC'))} or {said('String', 'productType', repr('IW_SLC__1S'))})"
    )
    assert f" and {said('String', 'operationalMode', repr('IW'))}" in text
    assert (
        f" and ({said('String', 'polarisationChannels', repr('VV&VH'))} or {said('String', 'polarisationChannels', repr('VH&VV'))})" in text
    )
    assert f" and {said('Integer', 'relativeOrbitNumber', '44')}" in text
    assert text.endswith(f" and OData.CSC.Intersects(area=geography'SRID=4326;{polygon}')")


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval(0, 20), ["le 20.0"]),
        (Interval(0.5, 100), ["ge 0.5"]),
        (Interval(0.00001, 99.5), ["ge 0.00001", "le 99.5"]),
        (Interval(0, 100), []),
    ],
)
def test_cloud_cover_is_a_double_without_exponent_and_only_bounds_that_exclude(interval: Interval, expected: list[str]) -> None:
    text = filter_text(["SENTINEL-2"], Constellation.SENTINEL2, SceneFilter(cloud_cover=interval), SPAN, "")
    assert re.findall(r"DoubleAttribute/Value (\w\w [\d.]+)\)", text) == expected
    assert text.count("cloudCover") == len(expected)


@pytest.mark.parametrize("mode", ["IW' or '1' eq '1", "I", "IWX", "1W", "IW)"])
def test_modes_that_are_none_are_refused(mode: str) -> None:
    with pytest.raises(UserError, match="is not a mode such as IW") as raised:
        wanted("sentinel1", sensoroperationalmode=mode)
    assert raised.value.field == "scene_type.parameters.sensoroperationalmode"


def test_several_collections_are_alternatives() -> None:
    text = filter_text(["S'1", "B"], Constellation.SENTINEL1, SceneFilter(), SPAN, "")
    assert text.startswith("(Collection/Name eq 'S''1' or Collection/Name eq 'B') and ContentDate/Start ge ")


@pytest.mark.parametrize(
    "file", ["terradue_odata_s1grd_20.json", "cop_dataspace_search.json", *(f"aux_pages/odata_page_{page}.json" for page in range(1, 5))]
)
def test_the_replaying_server_judges_as_the_service_did(shared_data: Path, file: str) -> None:
    """Each recorded answer holds the query it came from, and only products that match it."""
    answer = json.loads((shared_data / "cdse_odata" / file).read_text())
    condition = parsed(dict(parse_qsl(urlsplit(answer["@odata.nextLink"]).query))["$filter"])
    assert answer["value"]
    assert all(holds(condition, found) for found in answer["value"])
    assert not any(
        holds(condition, found) for found in recorded(shared_data / "cdse_odata") if found["Name"][:2] not in collections(answer)
    )


def collections(answer: dict[str, Any]) -> set[str]:
    return {found["Name"][:2] for found in answer["value"]}


# --- Quoting ------------------------------------------------------------------------------------------------------------------------


@given(st.text(max_size=60))
def test_a_literal_is_read_back_as_it_was(text: str) -> None:
    node = parsed(f"Name eq {literal(text)}")
    assert isinstance(node, ast.Compare)
    assert node.right == ast.String(text)


HOSTILE = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["' or Name ne '", "x') or (Name ne 'x", "'", "''", "*' or 1 eq 1 or '*", "a&$top=1000000", "%27", "#", "+", "a;b", "\\'"]
    ),
    st.text(alphabet="'*?()%&+ ;#ab", max_size=40),
)


@given(HOSTILE)
def test_a_name_pattern_can_only_narrow_the_query(text: str) -> None:
    """Whatever stands in it, the filter is the one without it, and conditions on the name."""
    pattern = wanted("sentinel1", filename=text).filename
    plain = wanted("sentinel1", **DENMARK)
    with_name = asked(SceneFilter(**{**vars(plain), "filename": pattern}), Constellation.SENTINEL1, "Name ne 'last'")
    expected = conditions(asked(plain, Constellation.SENTINEL1))
    parts = conditions(with_name)
    assert parts[: len(expected)] == expected
    assert parts[-1] == parsed("Name ne 'last'")
    for part in parts[len(expected) : -1]:
        for call in (part.left, part.right) if isinstance(part, ast.BoolOp) else (part,):
            assert isinstance(call, ast.Call)
            assert call.func.name in ("contains", "startswith", "endswith")
            name, value = call.args
            assert name == ast.Identifier("Name")
            assert value.val.removesuffix(".SAFE") in (pattern or "") or value.val in (pattern or "")


@given(HOSTILE)
def test_a_query_survives_the_url(text: str) -> None:
    assume(not any("\ud800" <= character <= "\udfff" for character in text))
    url = f"$filter={encoded(text)}&$top=1"
    assert parse_qsl(url, keep_blank_values=True) == [("$filter", text), ("$top", "1")]
    assert not re.search(r"[\s\"<>#&;+]", encoded(text))


# --- No less than is wanted ---------------------------------------------------------------------------------------------------------

LETTERS = "S1AIW_5F.-"


@given(st.text(alphabet=LETTERS, max_size=12), st.text(alphabet=LETTERS + "*?*?", max_size=8))
def test_every_name_that_matches_is_asked_for(name: str, pattern: str) -> None:
    usable = f"S1{name.strip('. ')}".replace(" ", "-")
    made = wanted("sentinel1", filename=pattern)
    for written in (usable, f"{usable}.SAFE"):
        scene = scene_of_product(product(written), SOURCE)
        if made.refusal(scene) is None:
            assert holds(asked(made, Constellation.SENTINEL1), product(written))


RADAR_NAMES = {
    "IW_SLC__1S": "S1A_IW_SLC__1SDV_20220105T170123_20220105T170150_041324_04E9BB_D5BE",
    "SLC": "S1A_IW_SLC__1SDV_20220105T170123_20220105T170150_041324_04E9BB_D5BE.SAFE",
    "IW_GRDH_1S": "S1A_IW_GRDH_1SDV_20220105T170123_20220105T170150_041324_04E9BB_D5BE.SAFE",
    "EW_GRDM_1S": "S1A_EW_GRDM_1SDH_20220105T170123_20220105T170150_041324_04E9BB_D5BE.SAFE",
    "S3_SLC__1S": "S1A_S3_SLC__1SSV_20220105T170123_20220105T170150_041324_04E9BB_D5BE.SAFE",
    "WV_SLC__1S": "S1A_WV_SLC__1SSV_20220105T170123_20220105T170150_041324_04E9BB_D5BE.SAFE",
}
RADAR_FILTERS = st.builds(
    SceneFilter,
    product_type=st.sampled_from(["SLC", "GRD"]),
    polarisations=st.sampled_from([None, frozenset({"VV", "VH"}), frozenset({"VV"}), frozenset({"HH", "HV"})]),
    sensor_mode=st.sampled_from([None, "IW", "EW", "WV", "SM", "S3", "S4"]),
    relative_orbit=st.sampled_from([None, 44, 45]),
    orbit_direction=st.sampled_from([None, "ASCENDING", "DESCENDING"]),
)


@given(
    RADAR_FILTERS,
    st.sampled_from(sorted(RADAR_NAMES)),
    st.sampled_from(["VV&VH", "VH&VV", "VV", "HH&HV"]),
    st.sampled_from([44, 45]),
    st.sampled_from(["ASCENDING", "DESCENDING"]),
)
def test_radar_products_that_agree_are_those_that_are_asked_for(
    made: SceneFilter, kind: str, channels: str, orbit: int, direction: str
) -> None:
    """The server's conditions and the check of its answer are two ways of saying the same."""
    name = RADAR_NAMES[kind]
    mode = "SM" if "_S3_" in name else name[4:6]
    found = product(
        name,
        productType=kind,
        polarisationChannels=channels,
        operationalMode=mode,
        relativeOrbitNumber=orbit,
        orbitDirection=direction,
        orbitNumber=41324,
    )
    assert holds(asked(made, Constellation.SENTINEL1), found) is (made.refusal(scene_of_product(found, SOURCE)) is None)


@given(
    st.builds(
        SceneFilter,
        product_type=st.sampled_from(["S2MSI1C", "S2MSI2A"]),
        cloud_cover=st.none() | st.tuples(st.floats(0, 100), st.floats(0, 100)).map(lambda pair: Interval(min(pair), max(pair))),
        relative_orbit=st.sampled_from([None, 8, 51]),
    ),
    st.sampled_from(["1C", "2A"]),
    st.floats(0, 100),
    st.sampled_from([8, 51]),
)
def test_optical_products_that_agree_are_those_that_are_asked_for(made: SceneFilter, level: str, cloud_cover: float, orbit: int) -> None:
    found = product(
        f"S2A_MSIL{level}_20220105T103421_N0301_R008_T32UNF_20220105T124118.SAFE",
        productType=f"S2MSI{level}",
        cloudCover=cloud_cover,
        relativeOrbitNumber=orbit,
    )
    assert holds(asked(made, Constellation.SENTINEL2), found) is (made.refusal(scene_of_product(found, SOURCE)) is None)


# --- Dates --------------------------------------------------------------------------------------------------------------------------

MOMENTS = st.integers(0, 30 * 366 * 86_400_000_000).map(lambda us: datetime(2010, 1, 1, tzinfo=UTC) + timedelta(microseconds=us))


def inside(span: TimeSlice, moment: datetime) -> bool:
    return span.start <= moment < span.end or (span.closed and moment == span.end)


@given(MOMENTS, MOMENTS, st.integers(1, 4000), st.floats(0, 1))
def test_every_moment_is_in_exactly_one_slice(one: datetime, other: datetime, days: int, share: float) -> None:
    start, end = min(one, other), max(one, other)
    spans = time_slices(start, end, timedelta(days=days))
    assert len(spans) <= 64
    for moment in (start, start + (end - start) * share, end, *(span.start for span in spans)):
        if moment >= datetime(2014, 4, 1, tzinfo=UTC):
            assert sum(inside(span, moment) for span in spans) == 1
    if (end - start) / timedelta(days=days) < 64:
        assert all(span.end - span.start <= timedelta(days=days) for span in spans)


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=4000)), st.booleans(), st.floats(0, 1))
def test_halves_are_the_whole(start: datetime, length: timedelta, closed: bool, share: float) -> None:
    span = TimeSlice(start, start + length, closed)
    halves = span.halves()
    assert (halves is None) == (length < timedelta(seconds=1))
    for moment in (start, start + length * share, start + length):
        if halves is not None:
            assert sum(inside(half, moment) for half in halves) == inside(span, moment)


# --- Area ---------------------------------------------------------------------------------------------------------------------------


def polygons_of(text: str) -> list[Polygon]:
    node = parsed(text)
    calls: list[Any] = []

    def walk(part: Any) -> None:
        if isinstance(part, ast.BoolOp):
            assert isinstance(part.op, ast.Or)
            walk(part.left)
            walk(part.right)
        else:
            calls.append(part)

    walk(node)
    return [shapely.from_wkt(call.args[0].param.val.removeprefix("SRID=4326;")) for call in calls]


def star(x: float, y: float, radius: float, spikes: int, depth: float, digits: int, hole: bool) -> Polygon:
    points = []
    for index in range(2 * spikes):
        distance = radius * (1.0 if index % 2 else 1 - depth)
        angle = math.pi * index / spikes
        points.append((round(x + distance * math.cos(angle), digits), round(y + distance * math.sin(angle), digits)))
    inner = radius * (1 - depth) / 4
    return Polygon(points, [list(box(x - inner, y - inner, x + inner, y + inner).exterior.coords)] if hole else [])


STARS = st.builds(
    star,
    x=st.floats(-180, 180),
    y=st.floats(-90, 90),
    radius=st.floats(0.01, 30),
    spikes=st.integers(3, 120),
    depth=st.floats(0.01, 0.9),
    digits=st.sampled_from([4, 7, 15]),
    hole=st.booleans(),
)


@st.composite
def areas(draw: st.DrawFn) -> MultiPolygon:
    """One to three outlines, with holes, at the poles or on both sides of the antimeridian, as a payload's area is: valid, within ±180°."""
    shapes = draw(st.lists(STARS, min_size=1, max_size=3))
    if draw(st.booleans()):
        shapes = [shapely.affinity.translate(one, 180 - one.centroid.x, 0) for one in shapes]
    pieces = [shapely.affinity.translate(one, shift, 0).intersection(box(-180, -90, 180, 90)) for one in shapes for shift in (-360, 0, 360)]
    area = as_multipolygon(shapely.union_all([shapely.make_valid(piece) for piece in pieces]))
    assume(not area.is_empty and area.is_valid and area.area > 1e-6)
    return area


@settings(deadline=None, max_examples=60)
@given(areas(), st.sampled_from([300, 600, 1500, 4000]), st.sampled_from([20, 100, 400]))
def test_the_area_that_is_asked_for_covers_the_one_that_is_wanted(area: MultiPolygon, room: int, max_vertices: int) -> None:
    text = area_condition(area, room=room, max_vertices=max_vertices)
    found = polygons_of(text)
    assert all(isinstance(polygon, Polygon) and polygon.is_valid for polygon in found)
    assert shapely.union_all(found).buffer(1e-12).covers(area)
    assert len(encoded(text)) <= room
    west, south, east, north = shapely.union_all(found).bounds
    assert west >= -180
    assert east <= 180
    assert south >= -90
    assert north <= 90
    if area.bounds[2] - area.bounds[0] > 180 and (gap := widest_gap(area))[1] - gap[0] > 1:
        # Parts on either side of the antimeridian must not be joined around the globe.
        middle = sum(gap) / 2
        assert not any(polygon.intersects(shapely.LineString([(middle, -90), (middle, 90)])) for polygon in found)


def widest_gap(area: MultiPolygon) -> tuple[float, float]:
    """The longest range of longitudes between two parts that holds nothing of it."""
    spans = sorted(part.bounds[0::2] for part in area.geoms)
    reach, best = spans[0][1], (0.0, 0.0)
    for west, east in spans[1:]:
        if west - reach > best[1] - best[0]:
            best = (reach, west)
        reach = max(reach, east)
    return best


def test_a_short_area_is_sent_as_it_is() -> None:
    hole = list(box(10.1, 55.1, 10.2, 55.2).exterior.coords)
    area = MultiPolygon([Polygon(box(10, 55, 11, 56).exterior.coords, [hole]), box(-180, -90, -179.123456789, -89)])
    found = polygons_of(area_condition(area, room=4000, max_vertices=400))
    assert MultiPolygon(found).equals_exact(area, 0)


def test_a_hole_is_kept_only_as_long_as_there_is_room() -> None:
    ring = Polygon(shapely.Point(10, 55).buffer(2, quad_segs=200).exterior.coords, [list(box(9.5, 54.5, 10.5, 55.5).exterior.coords)])
    area = MultiPolygon([ring])
    (long,) = polygons_of(area_condition(area, room=8000, max_vertices=1000))
    (short,) = polygons_of(area_condition(area, room=200, max_vertices=1000))
    assert long.interiors
    assert not short.interiors
    assert short.covers(area)


def test_islands_on_both_sides_of_the_antimeridian_end_as_two_boxes() -> None:
    area = MultiPolygon([box(-179 + index, index, -178.5 + index, index + 0.5) for index in range(9)] + [box(178, -5, 180, 5)])
    found = polygons_of(area_condition(area, room=300, max_vertices=400))
    assert len(found) == 2
    assert sum(polygon.area for polygon in found) < 200
