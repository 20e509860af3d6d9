"""The inventory of a payload: which catalogue answers, what is added to a scene, and the exact area."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from shapely import box

from catalogue.external import FoundScenes, SceneQuery
from catalogue.inventory import find_scenes
from common.errors import UpstreamError, UserError
from common.features import SceneData, SceneFeature
from common.geometry import split_at_antimeridian
from common.payload import Payload, parse_payload

RING = [[5.0, 51.0], [6.0, 51.0], [6.0, 52.0], [5.0, 52.0], [5.0, 51.0]]


def payload(ring: list[list[float]] = RING, **changes: Any) -> Payload:
    return parse_payload(
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "name": "area",
            "start_time": "2022-01-01T00:00:00Z",
            "end_time": "2022-12-31T00:00:00Z",
            "scene_type": {"constellation": "sentinel2", "parameters": {}},
            "scene_graph_name": "CopyProductToStorage",
            "tile_graph_name": "Extract",
            **changes,
        }
    )


def scene(name: str, day: int = 1, wkt: str = "", **tags: str) -> SceneFeature:
    data = SceneData(date=datetime(2022, 6, day, tzinfo=UTC))
    return SceneFeature(source_id=name, data=data, tags=tags, wkt=wkt or box(5.5, 51, 7, 52).wkt)


class Listing:
    """A catalogue that gives what it was made with."""

    def __init__(
        self, name: str, *scenes: SceneFeature, error: Exception | None = None, supported: bool = True, has_next: bool = False
    ) -> None:
        self.name = name
        self._found = FoundScenes(list(scenes), has_next=has_next, notes=(f"{name} says hello",))
        self._error = error
        self._supported = supported
        self.queries: list[SceneQuery] = []

    def supports(self, payload: Payload) -> bool:  # noqa: ARG002
        return self._supported

    async def search(self, query: SceneQuery) -> FoundScenes:
        self.queries.append(query)
        if self._error is not None:
            raise self._error
        return self._found


async def test_a_scene_gets_what_the_payload_says_of_all_its_scenes() -> None:
    asked = payload(
        graph_config={"resolution": 20},
        is_retriable=True,
        storage_uri="s3://bucket/x",
        record_tags={"area": "test", "satellite": "mine"},
        page=2,
        limit=7,
    )
    listing = Listing("one", scene("a", satellite="SENTINEL2A"), has_next=True)
    found = await find_scenes(asked, [listing])
    (only,) = found.scenes
    assert only.aoi == "area"
    assert only.data.graph_name == "CopyProductToStorage"
    assert only.data.graph_config == {"resolution": "20"}
    assert only.data.is_retriable
    assert only.data.storage_uri == "s3://bucket/x"
    assert only.tags == {"area": "test", "satellite": "SENTINEL2A"}
    assert found.has_next
    assert found.notes == ["one says hello"]
    (query,) = listing.queries
    assert (query.page, query.limit, query.area) == (2, 7, asked.area)
    assert (query.start.isoformat(), query.end.isoformat()) == ("2022-01-01T00:00:00+00:00", "2022-12-31T00:00:00+00:00")


async def test_scenes_come_by_date_then_name() -> None:
    found = await find_scenes(payload(), [Listing("one", scene("c", 3), scene("b", 1), scene("a", 3), scene("d", 2))])
    assert [one.source_id for one in found.scenes] == ["b", "d", "a", "c"]


async def test_the_next_catalogue_is_asked_when_one_fails_and_the_failure_is_told() -> None:
    second, third = Listing("second", scene("a")), Listing("third", scene("b"))
    found = await find_scenes(payload(), [Listing("first", error=UpstreamError("HTTP 503")), second, third])
    assert [one.source_id for one in found.scenes] == ["a"]
    assert found.notes == ["did not answer: first: HTTP 503", "second says hello"]
    assert not third.queries


async def test_an_empty_answer_is_an_answer() -> None:
    second = Listing("second", scene("a"))
    assert not (await find_scenes(payload(), [Listing("first"), second])).scenes
    assert not second.queries


async def test_when_all_fail_each_is_named_with_its_error() -> None:
    failing = [Listing("first", error=UpstreamError("HTTP 503")), Listing("second", error=TimeoutError("no answer"))]
    with pytest.raises(UpstreamError, match=r"first: HTTP 503; second: no answer"):
        await find_scenes(payload(), failing)


async def test_when_none_supports_the_constellation_is_named() -> None:
    for catalogues in ([], [Listing("first", supported=False)]):
        with pytest.raises(UserError, match="SENTINEL2") as raised:
            await find_scenes(payload(), catalogues)
        assert raised.value.field == "scene_type.constellation"


async def test_a_mistake_of_the_user_is_not_hidden_by_the_next_catalogue() -> None:
    with pytest.raises(UserError, match="too many"):
        await find_scenes(payload(), [Listing("first", error=UserError("too many", field="limit")), Listing("second", scene("a"))])


async def test_the_exact_area_counts_not_its_envelope() -> None:
    triangle = [[5.0, 51.0], [6.0, 51.0], [5.0, 52.0], [5.0, 51.0]]
    inside, corner = scene("inside", wkt=box(5.1, 51.1, 5.2, 51.2).wkt), scene("corner", wkt=box(5.8, 51.8, 5.9, 51.9).wkt)
    found = await find_scenes(payload(triangle), [Listing("one", inside, corner)])
    assert [one.source_id for one in found.scenes] == ["inside"]


async def test_the_exact_area_across_the_antimeridian() -> None:
    ring = [[179.0, -17.0], [181.0, -17.0], [181.0, -16.0], [179.0, -16.0], [179.0, -17.0]]
    east_of_it = scene("east", wkt=box(-179.9, -17, -179.5, -16).wkt)
    west_of_it = scene("west", wkt=box(179.5, -17, 179.9, -16).wkt)
    over_it = scene("over", wkt=split_at_antimeridian(box(179.8, -17, 180.2, -16)).wkt)
    far = scene("far", wkt=box(-1, -17, 1, -16).wkt)
    beyond = scene("beyond", wkt=box(-178.9, -17, -178, -16).wkt)
    found = await find_scenes(payload(ring), [Listing("one", east_of_it, west_of_it, over_it, far, beyond)])
    assert {one.source_id for one in found.scenes} == {"east", "west", "over"}


async def test_a_footprint_that_cannot_be_read_is_left_out_with_a_note() -> None:
    found = await find_scenes(payload(), [Listing("one", scene("good"), scene("bad", wkt="POLYGON EMPTY"))])
    assert [one.source_id for one in found.scenes] == ["good"]
    assert "bad is left out" in found.notes[-1]


async def test_an_unknown_parameter_is_told_before_anything_is_searched() -> None:
    listing = Listing("one")
    wrong = payload(scene_type={"constellation": "sentinel2", "parameters": {"cloudcover": "[0 TO 10]"}})
    with pytest.raises(UserError) as raised:
        await find_scenes(wrong, [listing])
    assert raised.value.field == "scene_type.parameters.cloudcover"
    assert not listing.queries
