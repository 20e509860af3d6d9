"""Documents nobody wrote in good faith: whatever they hold, they are read, or refused with the field that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from fixtures_workflow import payload, scenes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogue.ingestion import check_features
from common.errors import UserError
from common.features import SceneCollection, SceneData
from common.geometry import area_of_geojson, footprint_from_wkt
from common.payload import Payload, decode, parse_payload
from common.times import rfc3339

Value = TypeVar("Value")

EXAMPLES = settings(max_examples=200, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))

corners = st.tuples(st.sampled_from([-360, -270, -181, -180, -1, 0, 1, 179, 180, 181, 360]), st.sampled_from([-90, -1, 0, 1, 45, 90]))
numbers = st.one_of(st.floats(), st.integers(-(10**30), 10**30), st.none(), st.booleans(), st.text(max_size=2))
positions = st.one_of(corners.map(list), st.lists(numbers, max_size=4))
closed_rings = st.lists(corners.map(list), min_size=3, max_size=6).map(lambda ring: [*ring, ring[0]])
polygons = st.lists(st.one_of(closed_rings, st.lists(positions, max_size=5)), max_size=3)
words = st.sampled_from(["type", "geometry", "coordinates", "features", "geometries", "Polygon", "Feature", "GeometryCollection", "uuid"])
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(words, st.text(max_size=3)), inner, max_size=5)),
    max_leaves=15,
)


@EXAMPLES
@given(polygons)
def test_areas_are_valid_and_on_the_globe(rings: Any) -> None:
    area = read_or_refused(lambda: area_of_geojson({"type": "Polygon", "coordinates": rings}), "coordinates")
    if area is None:
        return
    west, south, east, north = area.bounds
    assert area.is_valid
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90


@EXAMPLES
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted({*Payload.model_fields, "type", "geometry", "coordinates"})), words), values, max_size=3
    )
)
def test_payloads_are_read_or_refused(changes: dict[str, Any]) -> None:
    read_or_refused(lambda: parse_payload(decode(json.dumps({**json.loads(payload()), **changes}))))


@EXAMPLES
@given(
    st.dictionaries(st.sampled_from(["source_id", "aoi", "id", "tags", "Tags", "wkt", "tiles", "data"]), values, max_size=1),
    st.dictionaries(st.sampled_from([*SceneData.model_fields, "uuid"]), values, max_size=3),
)
def test_reviewed_scenes_are_read_or_refused(changes: dict[str, Any], data: dict[str, Any]) -> None:
    document = json.loads(scenes(1))
    properties = document["features"][0]["properties"]
    properties.update({"data": {**properties["data"], **data}, **changes})

    def read() -> SceneCollection:
        found = SceneCollection.of_review(decode(json.dumps(document), where="tiles", within="tiles"), where="tiles")
        check_features(found.scenes, "tiles")
        return found

    found = read_or_refused(read, "tiles")
    if found is not None:
        json.dumps(found.geojson(), allow_nan=False)


def read_or_refused(read: Callable[[], Value], where: str = "") -> Value | None:
    """What `read` gives, or None where it refuses, naming a field below `where`; any other error is a defect."""
    try:
        return read()
    except UserError as error:
        refusal = error
    assert refusal.field
    assert refusal.field.startswith(where)
    return None


def test_holes_that_the_antimeridian_confuses() -> None:
    shell, hole = [[0, 0], [136, 0], [-45, 0], [0, 0]], [[-360, -90]] * 4
    with pytest.raises(UserError, match="antimeridian"):
        area_of_geojson({"type": "Polygon", "coordinates": [shell, hole]})


@pytest.mark.parametrize("kind", ["GEOMETRYCOLLECTION (", "POLYGON (", "MULTIPOLYGON ("])
def test_deep_wkt_does_not_end_the_process(kind: str) -> None:
    with pytest.raises(UserError):
        footprint_from_wkt(kind * 100_000)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"a": "\\u0000"}', "a"),
        ('{"a": {"b": ["x", "\\ud800"]}}', "a.b.1"),
        ('{"a\\u0000": 1}', "a\\x00"),
        ('{"a": 1e999}', "a"),
        ('{"a": [-1e999]}', "a.0"),
        ('{"a": 9223372036854775808}', "a"),
        ('{"a": ' + "[" * 64 + "]" * 64 + "}", "a" + ".0" * 15 + ".…"),
    ],
)
def test_what_cannot_be_kept(text: str, field: str) -> None:
    with pytest.raises(UserError) as caught:
        decode(text)
    assert caught.value.field == field


@pytest.mark.parametrize("text", ['{"a": "\\\\u0000"}', '{"a": "\\ud83d\\ude00"}', '{"a": -9223372036854775807, "b": 1e308}'])
def test_what_only_looks_like_it(text: str) -> None:
    assert decode(text) == json.loads(text)


@pytest.mark.parametrize("date", ["1900-01-01T00:00:00Z", "2024-05-31", "9999-12-31T23:59:59Z", "2024-05-31T01:00:00+02:00"])
def test_dates_go_round(date: str) -> None:
    moment = SceneData.model_validate({"date": date}).date
    assert SceneData.model_validate({"date": rfc3339(moment)}).date == moment
