"""Series of bursts under random listings, posts, results and changes by hand: beside the workflow's invariants, the rules of a series hold
in the database. A listing may be posted long after it was made, when it no longer knows of everything.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fixtures_workflow import payload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, rule, run_state_machine_as_test
from test_workflow_model import VARIABLE, Workflow

from catalogue.cube.variables import apply_variable
from catalogue.database import Connection, open_pool
from catalogue.graphs import GraphShelf
from catalogue.ingestion import ingest
from catalogue.sentinel1.burst_tiles import link_scenes
from catalogue.sentinel1.ingested import existing_bursts
from catalogue.sentinel1.series import SeriesTile, link
from common.features import SceneFeature
from common.payload import parse_payload

DAYS = st.integers(0, 9)
Chain = dict[int, tuple[int | None, int | None]]


def scene(day: int) -> SceneFeature:
    """One burst of one place; its time is rounded up or down; every third scene does not tell ESA's id."""
    tile = f"A108_IW1_{8361 + day % 2}"
    wkt = "POLYGON ((10 50, 11 50, 11 51, 10 51, 10 50))"
    date = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)).isoformat()
    return SceneFeature.model_validate(
        {
            "source_id": f"S1A_{day}",
            "aoi": "w",
            "data": {"date": date, "metadata": {"burst_ids": {tile: 230132} if day % 3 else {}}},
            "wkt": wkt,
            "tiles": [{"SourceID": tile, "SceneID": f"S1A_{day}", "Date": date, "data": {}, "wkt": wkt}],
        }
    )


async def list_scenes(connection: Connection, days: Sequence[int]) -> list[SceneFeature]:
    """As they would be listed now."""

    async def existing(tiles: Sequence[SeriesTile]) -> Sequence[SeriesTile]:
        return await existing_bursts(connection, "w", tiles)

    listed, _ = await link_scenes([scene(day) for day in days], existing)
    return listed


async def post(connection: Connection, scenes: Sequence[SceneFeature], **more: Any) -> None:
    document = json.loads(payload(**more))
    await ingest(connection, parse_payload(document), document, scenes, GraphShelf((), ["python"]))


async def chain(connection: Connection) -> Chain:
    rows = await connection.fetch(
        """SELECT s.source_id AS scene, ps.source_id AS previous, rs.source_id AS reference FROM tile t JOIN scene s ON s.id = t.scene_id
           LEFT JOIN tile p ON p.id = t.previous_id LEFT JOIN scene ps ON ps.id = p.scene_id
           LEFT JOIN tile r ON r.id = t.reference_id LEFT JOIN scene rs ON rs.id = r.scene_id"""
    )
    return {_day(row["scene"]) or 0: (_day(row["previous"]), _day(row["reference"])) for row in rows}


def _day(name: str | None) -> int | None:
    return None if name is None else int(name[4:])


class Series(Workflow):
    """Scenes of one place on days 0 to 9, listed and posted in any order between results."""

    listings = Bundle("listings")

    @rule(target=listings, days=st.sets(DAYS, min_size=1, max_size=3))
    def list(self, days: set[int]) -> list[SceneFeature]:
        return self.run(self._do(lambda connection: list_scenes(connection, sorted(days))))

    @rule(listing=listings, is_retriable=st.booleans(), retries=st.integers(0, 1))
    def post(self, listing: list[SceneFeature], is_retriable: bool, retries: int) -> None:
        before = self.run(self._links())
        self.run(self._do(lambda connection: post(connection, listing, is_retriable=is_retriable, retry_count=retries)))
        after = self.run(self._links())
        for tile, (status, *links) in before.items():
            assert status == "NEW" or after[tile][1:] == tuple(links), "a tile that is not NEW was changed"
        if listing:
            self.run(self._do(self._follows_the_rules))

    async def _links(self) -> dict[int, tuple[str, int | None, int | None]]:
        rows = await self.pool.fetch("SELECT id, status, previous_id, reference_id FROM tile")
        return {row["id"]: (row["status"], row["previous_id"], row["reference_id"]) for row in rows}

    async def _follows_the_rules(self, connection: Connection) -> None:
        """What is stored is what the rules give for it."""
        there = await existing_bursts(connection, "w", [tile for day in range(2) for tile in await _series_tiles(day)])
        if any(tile.name.scene in {f"S1A_{day}" for day in range(10)} for tile in there):
            decided = link(there)
            assert {tile.name: tile.links for tile in there if not tile.settled} == {
                tile.name: decided[tile.name] for tile in there if not tile.settled
            }


async def _series_tiles(day: int) -> Sequence[SeriesTile]:
    found: list[SeriesTile] = []

    async def existing(tiles: Sequence[SeriesTile]) -> Sequence[SeriesTile]:
        found.extend(tiles)
        return []

    await link_scenes([scene(day)], existing)
    return found


@pytest.fixture
def loop_and_pool(database_url: str) -> Any:
    loop = asyncio.new_event_loop()
    pool = loop.run_until_complete(open_pool(database_url, size=2))
    yield loop, pool
    loop.run_until_complete(pool.close())
    loop.close()


def test_rules_and_invariants_hold(loop_and_pool: Any) -> None:
    loop, pool = loop_and_pool
    run_state_machine_as_test(
        lambda: Series(loop, pool),
        settings=settings(
            max_examples=int(os.environ.get("THRESHER_EXAMPLES", "25")),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        ),
    )


@st.composite
def plans(draw: st.DrawFn) -> list[tuple[str, list[int]]]:
    """Five scenes in some order, in some posts, each listed at any time before it is posted."""
    order = draw(st.permutations(range(5)))
    cuts = sorted({0, 5, *draw(st.lists(st.integers(1, 4), max_size=4))})
    steps: list[tuple[str, list[int]]] = []
    for begin, end in itertools.pairwise(cuts):
        days = sorted(order[begin:end])
        steps.insert(draw(st.integers(0, len(steps))), ("list", days))
        steps.append(("post", days))
    return steps


def test_order_of_posting_before_processing_does_not_matter(loop_and_pool: Any) -> None:
    loop, pool = loop_and_pool

    async def carry_out(steps: list[tuple[str, list[int]]]) -> Chain:
        async with pool.acquire() as connection:
            await connection.execute("TRUNCATE aoi, record, variable, deletion RESTART IDENTITY CASCADE")
            await apply_variable(connection, VARIABLE)
            listings: dict[tuple[int, ...], list[SceneFeature]] = {}
            for action, days in steps:
                if action == "list":
                    listings[tuple(days)] = await list_scenes(connection, days)
                else:
                    await post(connection, listings[tuple(days)])
            return await chain(connection)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(plans())
    def check(steps: list[tuple[str, list[int]]]) -> None:
        assert loop.run_until_complete(carry_out(steps)) == {0: (None, None), **{day: (day - 1, 0) for day in range(1, 5)}}

    check()
