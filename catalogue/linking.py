"""What posted tiles follow, and which tiles that are there already follow them from now on.

`plan_links` locks and decides, `apply_links` writes. Bursts follow the rules of their series (`catalogue.sentinel1.series`); the
tiles of other sensors follow what the post says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from catalogue.cube.records import LINK_TAGS
from catalogue.database import Connection
from catalogue.sentinel1.burst_tiles import burst_places, repeat_notes, without_tiles
from catalogue.sentinel1.ingested import IngestedTile, read_series, series_ids
from catalogue.sentinel1.series import NO_LINKS, Links, SeriesTile, TileName, by_place, link_series, own_links, repeats, series_tile
from catalogue.workflow.status import Status
from catalogue.workflow.transitions import make_ready
from common.errors import UserError
from common.features import SceneFeature, TileFeature


@dataclass(frozen=True)
class LinkPlan:
    """What is to be created, and how it hangs together."""

    scenes: list[SceneFeature]
    """Without the bursts that another scene of the same pass holds."""
    links: dict[TileName, Links]
    """Of every new tile."""
    places: dict[TileName, str]
    """Of the new tiles."""
    by_hand: frozenset[TileName] = frozenset()
    relinked: dict[int, Links] = field(default_factory=dict)
    """Tiles that are there, still NEW, by id, with their new links."""
    existing: dict[TileName, int] = field(default_factory=dict)
    """Ids of the tiles that are there already, as far as links lead to them."""
    notes: list[str] = field(default_factory=list)


async def plan_links(connection: Connection, aoi_id: int, scenes: Sequence[SceneFeature], fields: Mapping[str, str]) -> LinkPlan:
    """Decide the links of the tiles of new scenes; `fields` says where each scene stands in its document. Raises UserError.

    The caller holds the lock of the AOI. The tiles that are there and may be concerned are locked until the end of the transaction.
    """
    places = {
        TileName(scene.source_id, name): place for scene in scenes for name, place in burst_places(scene, fields[scene.source_id]).items()
    }
    posted = [
        series_tile(name, scene.data.date, places[name])
        for scene in scenes
        for tile in scene.tiles
        if (name := TileName(scene.source_id, tile.source_id)) in places
    ]
    stated = {TileName(scene.source_id, tile.source_id): _stated(tile) for scene in scenes for tile in scene.tiles}
    there = await _lock(connection, aoi_id, posted, stated)
    dropped = repeats(posted, [found.tile for found in there.bursts if found.alive])
    dates = {TileName(scene.source_id, tile.source_id): scene.data.date for scene in scenes for tile in scene.tiles}
    post = _Post({name: date for name, date in dates.items() if name not in dropped}, stated, there, dropped)
    links, by_hand, relinked = _link_bursts(post, [tile for tile in posted if tile.name not in dropped])
    for scene in scenes:
        for number, tile in enumerate(scene.tiles):
            name = TileName(scene.source_id, tile.source_id)
            if name not in places:
                links[name] = post.told(name, f"{fields[scene.source_id]}.tiles.{number}")
                places[name] = tile.source_id
    remaining = [without_tiles(scene, dropped) for scene in scenes]
    return LinkPlan(
        scenes=[scene for scene in remaining if scene.tiles],
        links=links,
        places=places,
        by_hand=frozenset(by_hand),
        relinked=relinked,
        existing=there.ids,
        notes=[*repeat_notes(dropped), *post.notes],
    )


async def apply_links(connection: Connection, plan: LinkPlan, ids: Mapping[TileName, int]) -> None:
    """Write the links, once the new tiles have their `ids`; a tile that waits for nothing any more becomes ready."""
    every = {**plan.existing, **ids}
    wanted = {**{ids[name]: plan.links[name] for name in ids if plan.links[name].previous}, **plan.relinked}
    if not wanted:
        return

    def target(name: TileName | None) -> int | None:
        return None if name is None else every[name]

    await connection.execute(
        """UPDATE tile SET previous_id = new.previous_id, reference_id = new.reference_id
           FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS new (id, previous_id, reference_id) WHERE tile.id = new.id""",
        list(wanted),
        [target(links.previous) for links in wanted.values()],
        [target(links.reference) for links in wanted.values()],
    )
    await _retag(connection, list(plan.relinked))
    await make_ready(connection, list(plan.relinked))


@dataclass(frozen=True)
class _There:
    """The tiles of the AOI that may be concerned, locked."""

    bursts: list[IngestedTile]
    ids: dict[TileName, int]
    dates: dict[TileName, datetime]
    heirs: dict[TileName, TileName | None]
    """Of each tile: itself, or, if it failed, the next live one that it followed."""


@dataclass
class _Post:
    """A post and what is there, to look links up in."""

    dates: Mapping[TileName, datetime]
    """Of the posted tiles."""
    stated: Mapping[TileName, Links]
    there: _There
    dropped: Mapping[TileName, TileName]
    notes: list[str] = field(default_factory=list)

    def told(self, name: TileName, where: str) -> Links:
        """The links of a tile that is no burst, as the post says; raises UserError."""
        stated = self.stated[name]
        previous = self._told(stated.previous, self.dates[name], f"{where}.previous")
        if previous is None:
            return NO_LINKS
        # A series whose root failed has its reference where its first tile now is.
        return Links(previous, self._told(stated.reference, self.dates[name], f"{where}.reference") or previous)

    def own(self, name: TileName) -> Links | None:
        """The links a person gave a burst; None, with a note, if they lead to no earlier tile."""
        stated = self.stated[name]
        previous = self._earlier(stated.previous, self.dates[name])
        if previous is None:
            assert stated.previous is not None
            target = f"{stated.previous.tile[:100]} of {stated.previous.scene[:100]}"
            self.notes.append(f"{name.tile} of {name.scene} follows the nearest earlier date: {target} is not there or not earlier")
            return None
        return Links(previous, self._earlier(stated.reference, self.dates[name]))

    def _earlier(self, link: TileName | None, date: datetime) -> TileName | None:
        if link is None:
            return None
        link = self.dropped.get(link, link)
        found = self.dates.get(link) or self.there.dates.get(link)
        return None if found is None or found >= date else self._heir(link)

    def _told(self, link: TileName | None, date: datetime, where: str) -> TileName | None:
        if link is None:
            return None
        found = self.dates.get(link) or self.there.dates.get(link)
        if found is None:
            raise UserError(f"tile '{link.tile[:100]}' of '{link.scene[:100]}' is neither posted nor in the AOI", field=where)
        if found >= date:
            raise UserError(f"scene '{link.scene[:100]}' is not earlier than this one", field=where)
        return self._heir(link)

    def _heir(self, link: TileName) -> TileName | None:
        return link if link in self.dates else self.there.heirs[link]


def _link_bursts(post: _Post, kept: Sequence[SeriesTile]) -> tuple[dict[TileName, Links], set[TileName], dict[int, Links]]:
    """The links of the posted bursts, which of them a person gave, and the links of the bursts there that change."""
    named = {name for tile in kept for name in post.stated[tile.name] if name is not None}
    own: dict[TileName, Links] = {}
    for name in sorted(own_links(kept, [found.tile for found in post.there.bursts if found.tile.name in named], post.stated)):
        links = post.own(name)
        if links is not None:
            own[name] = links
    live = {found.tile.name: found for found in post.there.bursts if found.alive}
    new = [replace(tile, by_hand=tile.name in own, links=own.get(tile.name, NO_LINKS)) for tile in kept]
    decided: dict[TileName, Links] = {}
    relinked: dict[int, Links] = {}
    for series in by_place([*(found.tile for found in live.values()), *new]):
        if all(tile.name in live for tile in series):
            continue
        for name, links in link_series(series).items():
            if name not in live:
                decided[name] = links
            elif links != live[name].tile.links:
                relinked[live[name].id] = links
    return decided, set(own), relinked


async def _lock(connection: Connection, aoi_id: int, bursts: Sequence[SeriesTile], stated: Mapping[TileName, Links]) -> _There:
    """Lock, then read, the tiles that links may lead to, those they followed in their turn, and the series of the bursts."""
    named = {name for links in stated.values() for name in links if name is not None} - stated.keys()
    chains = """WITH RECURSIVE chain AS (
                    SELECT t.id, t.previous_id FROM unnest($2::text[], $3::text[]) AS named (scene, tile)
                    JOIN scene s ON s.aoi_id = $1 AND s.source_id = named.scene
                    JOIN tile t ON t.scene_id = s.id AND t.source_id = named.tile
                    UNION
                    SELECT p.id, p.previous_id FROM chain c JOIN tile p ON p.id = c.previous_id
                ) SELECT id FROM chain"""
    chained = await connection.fetch(chains, aoi_id, [name.scene for name in named], [name.tile for name in named])
    ids = sorted({*(row["id"] for row in chained), *await series_ids(connection, aoi_id, bursts)})
    await connection.execute("SELECT FROM tile WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", ids)
    rows = await connection.fetch(
        """SELECT t.id, t.previous_id, t.source_id AS tile, s.source_id AS scene, s.date, t.status FROM tile t
           JOIN scene s ON s.id = t.scene_id WHERE t.id = ANY($1)""",
        ids,
    )
    names = {row["id"]: TileName(row["scene"], row["tile"]) for row in rows}
    failed = {row["id"]: row["previous_id"] for row in rows if row["status"] == Status.FAILED}

    def heir(tile: int | None) -> TileName | None:
        while tile in failed:
            tile = failed[tile]
        return None if tile is None else names.get(tile)

    return _There(
        bursts=await read_series(connection, ids) if bursts else [],
        ids={name: number for number, name in names.items()},
        dates={names[row["id"]]: row["date"] for row in rows},
        heirs={name: heir(number) for number, name in names.items()},
    )


async def _retag(connection: Connection, tiles: Sequence[int]) -> None:
    """Bring the records of relinked tiles up to date: which scenes theirs follow and refer to."""
    if not tiles:
        return
    rows = await connection.fetch(
        """SELECT s.record_id, array_remove(array_agg(DISTINCT ps.source_id), NULL) AS previous,
                  array_remove(array_agg(DISTINCT rs.source_id), NULL) AS reference
           FROM tile t JOIN scene s ON s.id = t.scene_id
           LEFT JOIN tile p ON p.id = t.previous_id LEFT JOIN scene ps ON ps.id = p.scene_id
           LEFT JOIN tile r ON r.id = t.reference_id LEFT JOIN scene rs ON rs.id = r.scene_id
           WHERE s.record_id IN (SELECT o.record_id FROM scene o JOIN tile c ON c.scene_id = o.id WHERE c.id = ANY($1))
             AND t.aoi_id = (SELECT aoi_id FROM tile WHERE id = $2)
           GROUP BY s.record_id""",
        list(tiles),
        tiles[0],
    )
    await connection.execute(
        """UPDATE record SET tags = record.tags || new.tags
           FROM (SELECT r.id, n.tags FROM unnest($1::uuid[], $2::jsonb[]) AS n (id, tags) JOIN record r ON r.id = n.id
                 ORDER BY r.id FOR NO KEY UPDATE OF r) AS new
           WHERE record.id = new.id""",
        [row["record_id"] for row in rows],
        [dict(zip(LINK_TAGS, map(scene_list, (row["previous"], row["reference"])), strict=True)) for row in rows],
    )


def scene_list(scenes: Iterable[str]) -> str:
    """Scenes as a tag lists them."""
    return json.dumps(sorted(set(scenes)))


def _stated(tile: TileFeature) -> Links:
    previous, reference = (TileName(link.scene_id, link.source_id) if link else None for link in (tile.previous, tile.reference))
    return Links(previous, reference)
