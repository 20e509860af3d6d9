"""A STAC Collection for each AOI with layers: where, when and what there is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from catalogue.database import Connection
from catalogue.stac.items import GEOTIFF, ROOT, STAC_VERSION, media_type
from common.errors import NotFoundError
from common.times import rfc3339

_SHARE = 20
"""An answer is kept for so many times the time it took, so that asking again and again costs a twentieth of the database."""
_NONE_BELOW_S = 0.02
"""An answer that comes so soon is not kept at all."""
QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"


@dataclass(frozen=True)
class LayerKind:
    """A layer that items of a collection have."""

    layer: str
    variable: str
    instance: str
    description: str
    uri: str
    """Of one of them."""


@dataclass(frozen=True)
class CollectionFacts:
    """What is known of the items of an AOI."""

    aoi: str
    bbox: tuple[float, float, float, float]
    first: datetime
    last: datetime
    layers: Sequence[LayerKind] = ()
    summaries: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Collections:
    """The collections, kept for as long as it is cheap to be a little late."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._facts: dict[str, CollectionFacts] = {}
        self._until = 0.0

    async def all(self, connection: Connection) -> list[CollectionFacts]:
        """By name."""
        async with self._lock:
            begun = time.monotonic()
            if begun >= self._until:
                self._facts = {facts.aoi: facts for facts in await _read(connection)}
                now = time.monotonic()
                self._until = now + _SHARE * (now - begun) if now - begun > _NONE_BELOW_S else 0.0
            return list(self._facts.values())

    async def one(self, connection: Connection, aoi: str) -> CollectionFacts:
        """Raises NotFoundError."""
        found = next((facts for facts in await self.all(connection) if facts.aoi == aoi), None)
        if found is None:
            raise NotFoundError(f"there is no collection '{aoi[:100]}': no AOI of this name has layers", field="collection")
        return found


async def exists(connection: Connection, aoi: str) -> None:
    """Raise NotFoundError unless the collection is there."""
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM stac_item WHERE aoi = $1)", aoi):
        raise NotFoundError(f"there is no collection '{aoi[:100]}': no AOI of this name has layers", field="collection")


def collection_of(facts: CollectionFacts) -> dict[str, Any]:
    """The collection as JSON; its links begin with `ROOT`."""
    here = f"{ROOT}/stac/collections/{quote(facts.aoi, safe='')}"
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": facts.aoi,
        "title": facts.aoi,
        "description": f"Layers of the area of interest {facts.aoi}: an item for each scene, or burst, and its layers as assets.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [list(facts.bbox)]},
            "temporal": {"interval": [[rfc3339(facts.first), rfc3339(facts.last)]]},
        },
        "summaries": {key: list(values) for key, values in facts.summaries.items()},
        "item_assets": {kind.layer: _item_asset(kind) for kind in facts.layers},
        "links": [
            {"rel": "self", "type": "application/json", "href": here},
            {"rel": "parent", "type": "application/json", "href": f"{ROOT}/stac"},
            {"rel": "root", "type": "application/json", "href": f"{ROOT}/stac"},
            {"rel": "items", "type": "application/geo+json", "href": f"{here}/items"},
            {"rel": QUERYABLES, "type": "application/schema+json", "href": f"{here}/queryables"},
        ],
    }


def _item_asset(kind: LayerKind) -> dict[str, Any]:
    described = {"description": kind.description} if kind.description else {}
    return {"title": f"{kind.variable} ({kind.instance})", **described, "type": media_type(kind.uri) or GEOTIFF, "roles": ["data"]}


async def _read(connection: Connection) -> list[CollectionFacts]:
    rows = await connection.fetch(
        """SELECT aoi, min((bbox[1])[0]) AS west, min((bbox[1])[1]) AS south, max((bbox[0])[0]) AS east, max((bbox[0])[1]) AS north,
                  min(datetime) AS first, max(datetime) AS last
           FROM stac_item GROUP BY aoi ORDER BY aoi"""
    )
    kinds = await connection.fetch(
        """SELECT f.aoi, f.layer, v.name AS variable, n.name AS instance, v.description, f.uri
           FROM (SELECT aoi, layer, instance_id, min(uri) AS uri FROM dataset GROUP BY aoi, layer, instance_id) AS f
           JOIN instance n ON n.id = f.instance_id JOIN variable v ON v.id = n.variable_id
           ORDER BY f.aoi, f.layer, v.name, n.name"""
    )
    layers: dict[str, list[LayerKind]] = {}
    for row in kinds:
        kind = LayerKind(row["layer"], row["variable"], row["instance"], row["description"], row["uri"])
        layers.setdefault(row["aoi"], []).append(kind)
    return [
        CollectionFacts(
            aoi=row["aoi"],
            bbox=(row["west"], row["south"], row["east"], row["north"]),
            first=row["first"],
            last=row["last"],
            layers=layers.get(row["aoi"], []),
        )
        for row in rows
    ]
