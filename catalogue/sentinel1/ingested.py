"""The bursts an AOI has already, as the series that new ones may join."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from catalogue.database import Connection
from catalogue.sentinel1.series import Links, SeriesTile, TileName, is_burst, series_tile
from catalogue.workflow.status import Status


@dataclass(frozen=True)
class IngestedTile:
    """A burst as it is stored."""

    id: int
    tile: SeriesTile
    alive: bool
    """Not FAILED."""


async def series_ids(connection: Connection, aoi_id: int, tiles: Collection[SeriesTile]) -> list[int]:
    """The ids of the stored tiles that may belong to the series of `tiles`, ascending; also of the FAILED ones."""
    known = {tile.place for tile in tiles if tile.place != tile.name.tile}
    loose = {tile.track for tile in tiles if tile.place == tile.name.tile}
    # The first arm uses tile_place. The others find tiles whose place is known on one side only.
    rows = await connection.fetch(
        """SELECT id FROM tile WHERE aoi_id = $1 AND place = ANY($2)
           UNION
           SELECT id FROM tile WHERE aoi_id = $1 AND place = source_id AND regexp_replace(source_id, '_-?[0-9]+$', '') = ANY($3)
           UNION
           SELECT id FROM tile WHERE aoi_id = $1 AND cardinality($4::text[]) > 0
             AND regexp_replace(source_id, '_-?[0-9]+$', '') = ANY($4)
           ORDER BY id""",
        aoi_id,
        sorted(known),
        sorted({tile.track for tile in tiles}),
        sorted(loose),
    )
    return [row["id"] for row in rows]


async def read_series(connection: Connection, ids: Sequence[int]) -> list[IngestedTile]:
    """Those of the tiles that are bursts."""
    rows = await connection.fetch(
        """SELECT t.id, t.source_id AS tile, s.source_id AS scene, s.date, t.place, t.status, t.linked_by_hand,
                  p.source_id AS previous_tile, ps.source_id AS previous_scene,
                  r.source_id AS reference_tile, rs.source_id AS reference_scene
           FROM tile t JOIN scene s ON s.id = t.scene_id
           LEFT JOIN tile p ON p.id = t.previous_id LEFT JOIN scene ps ON ps.id = p.scene_id
           LEFT JOIN tile r ON r.id = t.reference_id LEFT JOIN scene rs ON rs.id = r.scene_id
           WHERE t.id = ANY($1) ORDER BY t.id""",
        list(ids),
    )
    return [
        IngestedTile(
            row["id"],
            series_tile(
                TileName(row["scene"], row["tile"]),
                row["date"],
                row["place"],
                settled=row["status"] != Status.NEW,
                by_hand=row["linked_by_hand"],
                links=Links(_name(row["previous_scene"], row["previous_tile"]), _name(row["reference_scene"], row["reference_tile"])),
            ),
            row["status"] != Status.FAILED,
        )
        for row in rows
        if is_burst(row["tile"])
    ]


async def existing_bursts(connection: Connection, aoi: str, tiles: Collection[SeriesTile]) -> list[SeriesTile]:
    """The live tiles of the AOI `aoi`, if there is one, that may belong to the series of `tiles`."""
    aoi_id = await connection.fetchval("SELECT id FROM aoi WHERE name = $1", aoi)
    if aoi_id is None:
        return []
    return [found.tile for found in await read_series(connection, await series_ids(connection, aoi_id, tiles)) if found.alive]


def _name(scene: str | None, tile: str | None) -> TileName | None:
    return None if scene is None or tile is None else TileName(scene, tile)
