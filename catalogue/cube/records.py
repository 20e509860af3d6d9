"""Records: what was taken. Unique by name, time and tags; reused by every payload that means the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import shapely
from pydantic import BaseModel, ConfigDict
from shapely.geometry.base import BaseGeometry

from catalogue.database import Connection
from catalogue.places import bounding_box, geojson_of
from common.errors import NotFoundError
from common.times import UtcDatetime

LINK_TAGS = ("previous_scenes", "reference_scenes")
"""Kept up to date as a series grows, so they are not part of what a record is."""
PROCESSING_DATE = "processingDate"


@dataclass(frozen=True)
class RecordSpec:
    """A record as a payload wants it."""

    name: str
    time: datetime
    tags: dict[str, str]
    footprint: BaseGeometry
    """EPSG:4326."""

    @property
    def identity(self) -> bytes:
        """SHA-256 of the tags, without those that change while the record stays the same."""
        tags = {key: value for key, value in self.tags.items() if key not in (*LINK_TAGS, PROCESSING_DATE)}
        return hashlib.sha256(json.dumps(tags, sort_keys=True).encode()).digest()


class Record(BaseModel):
    """A record as it is stored."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    name: str
    time: UtcDatetime
    tags: dict[str, str]
    footprint: dict[str, object]
    """GeoJSON geometry, EPSG:4326."""


async def reuse_or_create(connection: Connection, specs: Sequence[RecordSpec]) -> list[UUID]:
    """The id of the record of each spec, existing or new, in their order. Call it inside the transaction of the scenes."""
    wanted = {(spec.name, spec.time, spec.identity): spec for spec in specs}
    # Inserted in the order of the key, so that two posts of the same scenes wait for each other and never in a circle.
    rows = await connection.fetch(
        """INSERT INTO record (name, time, identity, tags, footprint, bbox)
           SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bytea[], $4::jsonb[], $5::bytea[], $6::box[])
               AS new (name, time, identity, tags, footprint, bbox)
           ORDER BY name, time, identity
           ON CONFLICT (name, time, identity) DO UPDATE SET tags = record.tags || jsonb_strip_nulls(jsonb_build_object(
               'previous_scenes', excluded.tags -> 'previous_scenes', 'reference_scenes', excluded.tags -> 'reference_scenes'))
           RETURNING id, name, time, identity""",
        [name for name, _, _ in wanted],
        [time for _, time, _ in wanted],
        [identity for _, _, identity in wanted],
        [spec.tags for spec in wanted.values()],
        [shapely.to_wkb(spec.footprint) for spec in wanted.values()],
        [bounding_box(spec.footprint) for spec in wanted.values()],
    )
    ids: dict[tuple[str, datetime, bytes], UUID] = {(row["name"], row["time"], row["identity"]): row["id"] for row in rows}
    return [ids[(spec.name, spec.time, spec.identity)] for spec in specs]


@dataclass(frozen=True)
class RecordQuery:
    """Which records are wanted; what is empty does not narrow them down."""

    name: str = ""
    """A name, or a pattern with `*` and `?`."""
    tags: dict[str, str] = field(default_factory=dict)
    """Tags they have, with these values."""
    first: datetime | None = None
    last: datetime | None = None
    """Their time lies between, both included."""
    area: BaseGeometry | None = None
    """EPSG:4326; their bounding box touches its bounding box."""


async def list_records(connection: Connection, query: RecordQuery = RecordQuery(), *, offset: int = 0, limit: int = 100) -> list[Record]:
    """By time and name. By the indexes record_name, record_tags, record_time and record_bbox."""
    conditions: list[str] = []
    values: list[object] = [offset, limit]

    def where(condition: str, value: object) -> None:
        values.append(value)
        conditions.append(condition.format(f"${len(values)}"))

    if "*" in query.name or "?" in query.name:
        where("name LIKE {}", _like(query.name))
    elif query.name:
        where("name = {}", query.name)
    if query.tags:
        where("tags @> {}::jsonb", query.tags)
    if query.first is not None:
        where("time >= {}", query.first)
    if query.last is not None:
        where("time <= {}", query.last)
    if query.area is not None:
        where("bbox && {}::box", bounding_box(query.area))
    rows = await connection.fetch(
        f"""SELECT id, name, time, tags, footprint FROM record WHERE {" AND ".join(conditions) or "true"}
            ORDER BY time, name, id OFFSET $1 LIMIT $2""",  # noqa: S608 - conditions of this function, values are bound
        *values,
    )
    return [_record(dict(row)) for row in rows]


def _like(pattern: str) -> str:
    """A pattern of `*` and `?` as one of LIKE."""
    plain = "".join(f"\\{character}" if character in "\\%_" else character for character in pattern)
    return plain.replace("*", "%").replace("?", "_")


async def get_record(connection: Connection, record_id: UUID) -> Record:
    """Raises NotFoundError."""
    row = await connection.fetchrow("SELECT id, name, time, tags, footprint FROM record WHERE id = $1", record_id)
    if row is None:
        raise NotFoundError(f"there is no record {record_id}", field="id")
    return _record(dict(row))


async def mark_processed(connection: Connection, record_ids: Sequence[UUID], moment: datetime) -> None:
    """Write the `processingDate` of the records, in their order."""
    await connection.execute(
        """UPDATE record SET tags = record.tags || jsonb_build_object($3::text, $2::text)
           FROM (SELECT id FROM record WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE) AS locked WHERE record.id = locked.id""",
        list(record_ids),
        moment.strftime("%Y-%m-%d %H:%M:%S"),
        PROCESSING_DATE,
    )


def _record(row: dict[str, Any]) -> Record:
    return Record.model_validate({**row, "footprint": geojson_of(row["footprint"])})
