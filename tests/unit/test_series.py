"""Time series of bursts: the links of the reference where it is right, and the rules for all else, over any posts in any order."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentinel1_data import PAIR, SERIES, annotations

from catalogue.sentinel1.bursts import read_bursts
from catalogue.sentinel1.series import (
    NO_LINKS,
    Links,
    SeriesTile,
    TileName,
    by_place,
    is_burst,
    link,
    own_links,
    place_of_tile,
    repeats,
    series_tile,
)
from common.product_names import parse_product_name

PLACE = "108_230132_IW1"
START = datetime(2024, 1, 1, tzinfo=UTC)
TILE = "A108_IW1_8361"


def _name(day: int) -> TileName:
    return TileName(f"S1A_{day:03}", TILE)


def _tile(day: int, **more: object) -> SeriesTile:
    return series_tile(_name(day), START + timedelta(days=day), PLACE, **more)  # type: ignore[arg-type]


def _settled(day: int, previous: int | None = None, reference: int | None = None) -> SeriesTile:
    links = NO_LINKS if previous is None else Links(_name(previous), _name(previous if reference is None else reference))
    return _tile(day, settled=True, links=links)


def _days(tiles: list[SeriesTile]) -> dict[int, tuple[int | None, int | None]]:
    """By day of a tile the days of its previous and its reference."""

    def day(name: TileName | None) -> int | None:
        return None if name is None else int(name.scene[4:])

    return {int(name.scene[4:]): (day(links.previous), day(links.reference)) for name, links in link(tiles).items()}


@pytest.mark.parametrize(("golden", "scenes"), [("bursts_T108.json", PAIR), ("bursts_T117_four_dates.json", SERIES)])
def test_golden(shared_data: Path, golden: str, scenes: tuple[str, ...]) -> None:
    """Previous and reference of every burst, as the reference has them; also where only the times are known."""
    rows = {TileName(row["scene"], row["tile"]): row for row in json.loads((shared_data / "golden" / golden).read_text())}
    for with_ids in (True, False):
        tiles = [
            series_tile(
                TileName(scene, burst.tile_id),
                parse_product_name(scene).sensing_start,
                place_of_tile(burst.tile_id, burst.burst_id if with_ids else None),
            )
            for scene in scenes
            for burst in read_bursts(scene, annotations(shared_data, scene))
        ]
        ours = link(tiles)
        assert ours.keys() == rows.keys()
        for name, links in ours.items():
            assert tuple(target and target.scene for target in links) == (rows[name]["previous"], rows[name]["reference"]), name


def test_first_posts_in_any_order() -> None:
    expected = {0: (None, None), 12: (0, 0), 24: (12, 0), 36: (24, 0)}
    for order in itertools.permutations(expected):
        assert _days([_tile(day) for day in order]) == expected


def test_between_two_dates() -> None:
    """The later one follows the new one if it is still NEW, else it stays."""
    assert _days([_tile(0), _tile(24), _tile(12)])[24] == (12, 0)
    assert _days([_settled(0), _settled(24, 0), _tile(12)]) == {0: (None, None), 24: (0, 0), 12: (0, 0)}
    assert _days([_settled(0), _settled(24, 0), _tile(36), _tile(12)])[36] == (24, 0)


def test_older_than_the_root() -> None:
    """It becomes the root as long as none has begun, else a side branch that nothing follows."""
    assert _days([_tile(12), _tile(24), _tile(0)]) == {0: (None, None), 12: (0, 0), 24: (12, 0)}
    begun = [_settled(12), _tile(24)]
    assert _days([*begun, _tile(0)]) == {12: (None, None), 24: (12, 12), 0: (12, 12)}
    assert _days([*begun, _tile(0), _tile(6), _tile(18)]) == {12: (None, None), 18: (12, 12), 24: (18, 12), 0: (12, 12), 6: (12, 12)}
    assert _days([*begun, _settled(0, 12), _tile(6)])[6] == (12, 12)


def test_after_the_root_failed() -> None:
    """What had begun keeps its links; NEW tiles refer to what is left."""
    left = [_tile(12, settled=True, links=Links(_name(0), _name(0))), _tile(24)]
    assert _days(left) == {12: (0, 0), 24: (12, 12)}
    assert _days([*left, _tile(6)])[6] == (12, 12)


def test_two_series_of_a_place_stay_apart() -> None:
    """A tile refers to the root of the tile it follows."""
    assert _days([_settled(0), _settled(12, 0), _settled(24), _tile(36), _tile(18)]) == {
        0: (None, None),
        12: (0, 0),
        18: (12, 0),
        24: (None, None),
        36: (24, 24),
    }


def test_links_by_hand_stay() -> None:
    own = _tile(24, by_hand=True, links=Links(_name(0), None))
    assert _days([_tile(0), _tile(12), own, _tile(36)]) == {0: (None, None), 12: (0, 0), 24: (0, 0), 36: (24, 0)}


def test_a_link_that_only_repeats_the_rules_is_nobodys_own() -> None:
    first, middle, last = _tile(0), _tile(12), _tile(24)
    assert own_links([first, last], [], {last.name: Links(first.name, first.name)}) == set()
    assert own_links([first, last], [], {last.name: Links(first.name, None)}) == set()
    assert own_links([last], [first], {last.name: Links(first.name, first.name)}) == set()
    assert own_links([first, middle, last], [], {last.name: Links(first.name, first.name)}) == {last.name}
    assert own_links([first, middle, last], [], {last.name: Links(middle.name, middle.name)}) == {last.name}
    assert own_links([first, middle, last], [], {last.name: NO_LINKS}) == set()


def test_places_by_tolerance() -> None:
    """Without ids: less than 0.5 s above the lowest of the group, within one track and sub-swath."""
    names = ["A108_IW1_8361", "A108_IW1_8365", "A108_IW1_8366", "A108_IW2_8361", "D108_IW1_8361", "A18_IW1_8361"]
    tiles = [series_tile(TileName(f"S1A_{number}", name), START, name) for number, name in enumerate(names)]
    assert sorted(sorted(tile.name.tile for tile in group) for group in by_place(tiles)) == sorted(
        [names[:2], names[2:3], names[3:4], names[4:5], names[5:]]
    )


def test_a_tile_without_id_joins_the_known_place_near_it() -> None:
    known = _tile(0)
    loose = series_tile(TileName("S1A_012", "A108_IW1_8362"), START + timedelta(days=12), "A108_IW1_8362")
    far = series_tile(TileName("S1A_012", "A108_IW1_8389"), START + timedelta(days=12), "A108_IW1_8389")
    assert link([known, loose, far]) == {known.name: NO_LINKS, loose.name: Links(known.name, known.name), far.name: NO_LINKS}


@pytest.mark.parametrize(
    ("text", "burst"),
    [
        ("A108_IW1_8361", True),
        ("D7_EW5_0", True),
        ("A44_IW1_-1", True),
        ("T31UFU", False),
        ("S1A_IW_SLC__1SDV", False),
        ("A108_IW1_", False),
    ],
)
def test_ids_of_bursts(text: str, burst: bool) -> None:
    assert is_burst(text) is burst
    assert place_of_tile(text, 5) == ("1_5_" + text.split("_")[1] if burst else text)


def test_one_pass_gives_one_tile() -> None:
    """Of overlapping slices the one with more bursts; what exists is kept; another satellite or another day is another pass."""
    seconds = timedelta(seconds=24)
    first = series_tile(TileName("S1A_a", "A108_IW1_8361"), START, PLACE)
    second = series_tile(TileName("S1A_b", "A108_IW1_8362"), START + seconds, PLACE)
    more = series_tile(TileName("S1A_b", "A108_IW1_8389"), START + seconds, "108_230133_IW1")
    assert repeats([first, second]) == {second.name: first.name}
    assert repeats([first, second, more]) == {first.name: second.name}
    assert repeats([second, more], [first]) == {second.name: first.name}
    assert repeats([], [first, second]) == {}
    assert repeats([first, series_tile(TileName("S1C_a", "A108_IW1_8361"), START + seconds, PLACE)]) == {}
    assert repeats([_tile(0), _tile(1)]) == {}


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Posts of days and steps of processing, in any order."""
    return draw(
        st.lists(st.one_of(st.tuples(st.just("post"), st.integers(0, 20)), st.tuples(st.just("process"), st.integers(0, 5))), max_size=30)
    )


@given(histories())
def test_any_history(history: list[tuple[str, int]]) -> None:
    """Posts between steps of processing: what has begun never changes, the rest hangs together as the rules say."""
    tiles: dict[int, SeriesTile] = {}
    for action, number in history:
        before = _as_links(tiles)
        if action == "post":
            if number in tiles:
                continue
            tiles[number] = _tile(number)
            decided = link(list(tiles.values()))
            tiles = {day: _tile(day, settled=tile.settled, links=decided[tile.name]) for day, tile in tiles.items()}
        else:
            ready = [day for day, tile in sorted(tiles.items()) if not tile.settled and _is_ready(tile, tiles)]
            if ready:
                day = ready[number % len(ready)]
                tiles[day] = _tile(day, settled=True, links=tiles[day].links)
        after = _as_links(tiles)
        assert all(after[day] == links for day, links in before.items() if tiles[day].settled)
        _check(tiles)


def _as_links(tiles: dict[int, SeriesTile]) -> dict[int, Links]:
    return {day: tile.links for day, tile in tiles.items()}


def _is_ready(tile: SeriesTile, tiles: dict[int, SeriesTile]) -> bool:
    previous = tile.links.previous
    return previous is None or tiles[int(previous.scene[4:])].settled


def _check(tiles: dict[int, SeriesTile]) -> None:
    """One root; its elders follow it; of the others each NEW one follows the nearest earlier; nothing waits for an elder."""
    if not tiles:
        return
    roots = [day for day, tile in tiles.items() if tile.links.previous is None]
    assert len(roots) == 1
    [root] = roots
    if not any(tile.settled for tile in tiles.values()):
        assert root == min(tiles)
    for day, tile in tiles.items():
        if day == root:
            continue
        assert tile.links.reference == _name(root)
        previous = int(tile.links.previous.scene[4:]) if tile.links.previous else None
        if day < root:
            assert previous == root
        elif not tile.settled:
            assert previous == max(other for other in tiles if root <= other < day)
        else:
            assert previous is not None
            assert root <= previous < day


@given(st.permutations(range(6)), st.lists(st.integers(1, 5), max_size=3), st.sets(st.integers(0, 5)))
def test_order_of_posting_does_not_matter(order: list[int], cuts: list[int], loose: set[int]) -> None:
    """Any number of posts of any scenes, some without burst ids, before processing starts."""

    def tile(day: int) -> SeriesTile:
        name = TileName(f"S1A_{day:03}", f"A108_IW1_{8361 + day % 2}")
        return series_tile(name, START + timedelta(days=day), name.tile if day in loose else PLACE)

    there: list[SeriesTile] = []
    for begin, end in itertools.pairwise(sorted({0, *cuts, len(order)})):
        there += [tile(day) for day in order[begin:end]]
        decided = link(there)
        there = [series_tile(each.name, each.date, each.place, links=decided[each.name]) for each in there]
    assert {each.name: each.links for each in there} == link([tile(day) for day in range(6)])
    assert sum(each.links.previous is None for each in there) == 1
