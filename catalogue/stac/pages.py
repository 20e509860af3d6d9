"""Pages of a search: which items, in which order, and where the next page begins.

Rows are found by indexes and never counted past: `stac_item_aoi_time` and `stac_item_time` in the order of time, `stac_item_bbox` where few
items lie in the area, `stac_item_id` by name, `record_tags` by tag. Boxes are compared in the database, outlines here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import shapely
from shapely.geometry.base import BaseGeometry

from catalogue.database import Connection
from catalogue.places import bounding_box
from catalogue.stac.documents import STAMP, write_out
from catalogue.stac.filters import condition_of
from catalogue.stac.keyset import Order, Place, order_of, place_in, place_of
from catalogue.stac.search import ItemSearch, geometry_of
from catalogue.stac.statement import Statement

FEW = 5_000
"""Items of an area that are sorted rather than met in the order of time."""
_MOST_ROUNDS = 200
_LARGEST_BATCH = 2_000


@dataclass(frozen=True)
class Page:
    """Items as JSON with open addresses, and what asks for those that follow."""

    items: list[str]
    token: str | None


async def find_page(connection: Connection, search: ItemSearch) -> Page:
    """A page of what `search` asks for; raises UserError. Call it outside of a transaction."""
    query = _Query(search)
    async with connection.transaction():
        # A page is too little for several processes to share.
        await connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        if query.areas:
            await query.plan(connection)
        rows = await query.rows(connection)
        more = len(rows) > search.limit
        rows = rows[: search.limit]
        missing = [row["number"] for row in rows if row["document"] is None]
        made = await write_out(connection, missing) if missing else {}
    texts = [row["document"] or made.get(row["number"]) for row in rows]
    token = query.place(rows[-1]).token() if more and rows else None
    return Page([text for text in texts if text], token)


class _Query:
    """One search, as SQL."""

    def __init__(self, search: ItemSearch) -> None:
        self._search = search
        self._order: Order = order_of([(key.field, key.direction == "desc") for key in search.sortby])
        self._statement = Statement()
        self.areas: list[BaseGeometry] = []
        self._few = False
        self._conditions()
        self._start = place_in(search.token) if search.token else None

    def _conditions(self) -> None:
        search, statement = self._search, self._statement
        if len(search.collections) == 1:
            # Only so it is met in the order of time by the index.
            statement.where(f"i.aoi = {statement.bind(search.collections[0], 'text')}")
        elif search.collections:
            statement.where(f"i.aoi = ANY({statement.bind(search.collections, 'text[]')})")
        if search.ids:
            statement.where(f"i.id = ANY({statement.bind(search.ids, 'text[]')})")
        first, last = search.between
        if first is not None:
            statement.where(f"i.datetime >= {statement.bind(first, 'timestamptz')}")
        if last is not None:
            statement.where(f"i.datetime <= {statement.bind(last, 'timestamptz')}")
        area = search.area()
        if area is not None:
            self.areas.append(area)
        document = search.filter_document()
        if document is not None:
            condition = condition_of(document, statement)
            statement.where(condition.sql)
            self.areas += [geometry_of(geometry, "filter") for geometry in condition.geometries]

    async def plan(self, connection: Connection) -> None:
        """Begin with the area where few items lie in it; else with the order, skipping what lies elsewhere: both end soon.

        The planner cannot know: it takes every box for one two-hundredth of everything.
        """
        probe = Statement()
        touching = " AND ".join(f"i.bbox && {probe.bind(bounding_box(area), 'box')}" for area in self.areas)
        count = await connection.fetchval(
            f"SELECT count(*) FROM (SELECT FROM stac_item i WHERE {touching} LIMIT {FEW + 1}) AS near",  # noqa: S608 - values are bound
            *probe.values,
        )
        self._few = count <= FEW
        if not self._few:
            await connection.execute("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")

    async def rows(self, connection: Connection) -> list[asyncpg.Record]:
        """One more than the limit, where there are so many."""
        wanted = self._search.limit + 1
        found: list[asyncpg.Record] = []
        place, batch = self._start, wanted
        for _ in range(_MOST_ROUNDS):
            sql, values = self._page(place, batch)
            rows = await connection.fetch(sql, *values)
            found += self._touching(rows)
            if len(found) >= wanted or len(rows) < batch:
                break
            place, batch = self.place(rows[-1]), min(2 * batch, _LARGEST_BATCH)
        return found[:wanted]

    def _page(self, place: Place | None, count: int) -> tuple[str, list[object]]:
        """Which rows first, from indexes alone where they hold what is asked for; then the rows themselves, of this page only."""
        statement = Statement(list(self._statement.values), list(self._statement.conditions))
        near = ""
        if self.areas:
            touching = " AND ".join(f"i.bbox && {statement.bind(bounding_box(area), 'box')}" for area in self.areas)
            if self._few:
                near = f"near AS MATERIALIZED (SELECT i.number FROM stac_item i WHERE {touching}),"  # noqa: S608 - values are bound
                statement.where("i.number IN (SELECT number FROM near)")
            else:
                # As a test of truth it is no condition an index could be chosen for.
                statement.where(f"({touching}) IS TRUE")
        if place is not None:
            statement.where(self._order.after(place, statement))
        keys, clause = self._order.columns, statement.clause
        record = "JOIN record r ON r.id = i.record_id" if "r." in f"{keys} {clause}" else ""
        footprint = "i.footprint" if self.areas else "NULL::bytea"
        named = ", ".join(f"page.key_{number}" for number in range(len(self._order.keys)))
        sql = f"""WITH {near} page AS MATERIALIZED (
                SELECT i.number, {keys} FROM stac_item i {record} WHERE {clause} ORDER BY {self._order.sql} LIMIT {count})
            SELECT i.number, {footprint} AS footprint, {named}, CASE WHEN i.stamp = {STAMP} THEN i.document END AS document
            FROM page JOIN stac_item i ON i.number = page.number JOIN record r ON r.id = i.record_id
            ORDER BY {self._order.outer}"""  # noqa: S608 - values are bound
        return sql, statement.values

    def place(self, row: asyncpg.Record) -> Place:
        return place_of([row[f"key_{number}"] for number in range(len(self._order.keys))], row["number"])

    def _touching(self, rows: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
        """Those whose outline meets every area, not only its box."""
        if not self.areas or not rows:
            return list(rows)
        outlines = shapely.from_wkb([row["footprint"] for row in rows])
        meets = [True] * len(rows)
        for area in self.areas:
            shapely.prepare(area)
            meets = [before and bool(now) for before, now in zip(meets, shapely.intersects(area, outlines), strict=True)]
        return [row for row, met in zip(rows, meets, strict=True) if met]
