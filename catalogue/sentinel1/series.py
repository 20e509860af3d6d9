"""Time series of bursts: which tile of a place follows which. Pure: from the tiles of an AOI, posted or there already, to their links.

A series is all live (not FAILED) tiles of one place, in the order of their dates. Its *root* is the tile that began it. The rules:

- Every tile follows the nearest earlier one of its series (`previous`); its `reference` is the reference of that one, in the end the
  root. Links are a function of the tiles and of their states, not of the order in which they were posted.
- A tile that is no longer NEW keeps its links for ever. One that comes between two dates follows the earlier; the later one follows it
  if that is still NEW, else it stays as it is.
- A tile older than the root becomes the root of the NEW tiles as long as none has begun. Once the root has begun, it joins as a side
  branch: its previous and its reference are the root, so that it has a coherence, in the geometry of the series. Nothing follows it.
- A person may set links of their own in what they post (to an earlier date); these stay. A link that only repeats what the rules say
  of the posted tiles is none of their own: it gives way to tiles that it did not know of.
- Two scenes of one pass that hold the same burst (slices that overlap, a product processed twice) give one tile.

A place is ESA's burst id and the sub-swath. Where the id cannot be known, tiles of one track and sub-swath belong together whose times
after the node lie less than 0.5 s above the lowest, as in the reference.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from catalogue.sentinel1.burst_ids import place_of

_TILE_ID = re.compile(r"(?P<track>[AD]\d{1,3}_(?P<swath>(?:IW|EW)\d))_(?P<anx>-?\d{1,5})")
_TOLERANCE_DS = 5
_ONE_PASS = timedelta(minutes=10)
"""Slices of one data take that share a burst follow each other within seconds; the next pass of a satellite is 12 days later."""


class TileName(NamedTuple):
    """A tile, within an AOI."""

    scene: str
    tile: str


class Links(NamedTuple):
    """What a tile follows."""

    previous: TileName | None = None
    reference: TileName | None = None


NO_LINKS = Links()


@dataclass(frozen=True)
class SeriesTile:
    """A live tile, as far as its series is concerned."""

    name: TileName
    date: datetime
    place: str
    """The key of a known place, else the tile's id."""
    track: str
    """Direction, relative orbit and sub-swath: `A108_IW1`."""
    anx_time_ds: int
    settled: bool = False
    """No longer NEW: its links stay."""
    by_hand: bool = False
    """A person gave its links: they stay."""
    links: Links = NO_LINKS
    """Those it has; of a posted tile those given by hand."""


def is_burst(tile_id: str) -> bool:
    """Whether a tile's id is that of a burst: `A108_IW1_8361`."""
    return _TILE_ID.fullmatch(tile_id) is not None


def place_of_tile(tile_id: str, burst_id: int | None) -> str:
    """The key of the place of a tile: of its burst where ESA's id is known, else the tile's id itself."""
    match = _TILE_ID.fullmatch(tile_id)
    return place_of(burst_id, match["swath"]) if match and burst_id is not None else tile_id


def series_tile(
    name: TileName,
    date: datetime,
    place: str,
    *,
    settled: bool = False,
    by_hand: bool = False,
    links: Links | None = None,
) -> SeriesTile:
    """The burst `name`; raises ValueError if its id is not that of a burst."""
    match = _TILE_ID.fullmatch(name.tile)
    if match is None:
        raise ValueError(f"{name.tile} is not the id of a burst")
    return SeriesTile(name, date, place, match["track"], int(match["anx"]), settled, by_hand, links or NO_LINKS)


def link(tiles: Iterable[SeriesTile]) -> dict[TileName, Links]:
    """The links of all tiles, of any places; each series must be whole."""
    return {name: links for series in by_place(tiles) for name, links in link_series(series).items()}


def link_series(series: Sequence[SeriesTile]) -> dict[TileName, Links]:
    """The links of the tiles of one place."""
    if not series:
        return {}
    ordered = sorted(series, key=_order)
    root = _root(ordered)
    trunk = [tile for tile in ordered if tile.date >= root.date]
    dates = [tile.date for tile in trunk]
    links: dict[TileName, Links] = {}
    # The root first: older tiles refer to it.
    for tile in [root, *(tile for tile in ordered if tile is not root)]:
        if tile.settled:
            links[tile.name] = tile.links
            continue
        previous = tile.links.previous if tile.by_hand else None
        reference = tile.links.reference if previous is not None else None
        if previous is None:
            if tile is root:
                links[tile.name] = NO_LINKS
                continue
            earlier = bisect_left(dates, tile.date)
            previous = trunk[earlier - 1].name if earlier else root.name
        if reference is None:
            inherited = links.get(previous, NO_LINKS).reference
            reference = inherited if inherited in links else previous
        links[tile.name] = Links(previous, reference)
    return links


def by_place(tiles: Iterable[SeriesTile]) -> list[list[SeriesTile]]:
    """The tiles as series, one a place."""
    known: defaultdict[str, list[SeriesTile]] = defaultdict(list)
    loose: list[SeriesTile] = []
    for tile in tiles:
        if tile.place == tile.name.tile:
            loose.append(tile)
        else:
            known[tile.place].append(tile)
    if not loose:
        return list(known.values())
    near = {(tile.track, tile.anx_time_ds): tile.place for series in known.values() for tile in series}
    steps = sorted(range(1 - _TOLERANCE_DS, _TOLERANCE_DS), key=abs)
    groups: list[list[SeriesTile]] = []
    for tile in sorted(loose, key=lambda tile: (tile.track, tile.anx_time_ds, _order(tile))):
        place = next((near[key] for step in steps if (key := (tile.track, tile.anx_time_ds + step)) in near), None)
        if place is not None:
            known[place].append(tile)
        elif groups and groups[-1][0].track == tile.track and tile.anx_time_ds < groups[-1][0].anx_time_ds + _TOLERANCE_DS:
            groups[-1].append(tile)
        else:
            groups.append([tile])
    return [*known.values(), *groups]


def repeats(new: Sequence[SeriesTile], existing: Sequence[SeriesTile] = ()) -> dict[TileName, TileName]:
    """The new tiles of a place and pass that have one already, each with the tile that is kept.

    One that exists is kept; of new ones that of the scene with the most bursts, so that fewer scenes are fetched, then the earliest.
    """
    bursts = Counter(tile.name.scene for tile in new)
    there = {tile.name for tile in existing}

    def worth(tile: SeriesTile) -> tuple[bool, int, tuple[datetime, TileName]]:
        return tile.name not in there, -bursts[tile.name.scene], _order(tile)

    dropped: dict[TileName, TileName] = {}
    for series in by_place([*existing, *new]):
        for taken in _passes(series):
            best = min(taken, key=worth)
            dropped.update((tile.name, best.name) for tile in taken if tile is not best and tile.name not in there)
    return dropped


def own_links(posted: Collection[SeriesTile], named: Collection[SeriesTile], stated: Mapping[TileName, Links]) -> set[TileName]:
    """The posted tiles whose stated links are a person's own: other than the rules give for what was posted together with it and the
    existing tiles that it names. No link at all says nothing.
    """
    plain = link([*posted, *named])

    def is_own(tile: SeriesTile) -> bool:
        previous, reference = stated.get(tile.name, NO_LINKS)
        rule = plain[tile.name]
        return previous is not None and (previous != rule.previous or reference not in (None, rule.reference))

    return {tile.name for tile in posted if is_own(tile)}


def _root(ordered: Sequence[SeriesTile]) -> SeriesTile:
    """The tile that began the series; the earliest as long as none has begun."""
    settled = [tile for tile in ordered if tile.settled]
    if not settled:
        return ordered[0]
    begun = next((tile for tile in settled if tile.links.previous is None), None)
    if begun is not None:
        return begun
    # Its root failed, or was set back by hand.
    return next((tile for tile in ordered if tile.name == settled[0].links.reference), settled[0])


def _passes(series: Iterable[SeriesTile]) -> list[list[SeriesTile]]:
    """The tiles of a series that one satellite took at one time, together."""
    passes: list[list[SeriesTile]] = []
    for tile in sorted(series, key=lambda tile: (_satellite(tile), _order(tile))):
        first = passes[-1][0] if passes else None
        if first is not None and _satellite(first) == _satellite(tile) and tile.date - first.date <= _ONE_PASS:
            passes[-1].append(tile)
        else:
            passes.append([tile])
    return passes


def _satellite(tile: SeriesTile) -> str:
    return tile.name.scene[:3]


def _order(tile: SeriesTile) -> tuple[datetime, TileName]:
    return tile.date, tile.name
