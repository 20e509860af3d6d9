"""Items written out as JSON, each once: the text is kept beside the row and holds as long as its stamp is the one of now.

A stamp is made of the program's format, the revision of the row (a trigger raises it with every change of its datasets), the version of
the record's tags, and the count of changes to variables. Addresses are left open: a service may be reached under several names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import shapely

from catalogue.database import Connection
from catalogue.stac.items import ROOT, ItemSource, Layer, item_of

FORMAT = 1
"""Raised with every change of what an item says."""

STAMP = f"('{FORMAT}.' || i.revision || '.' || r.version || '.' || (SELECT value FROM stac_epoch))"  # noqa: S608 - of constants
"""SQL of the stamp of now, over `stac_item i` and `record r`."""

_ROOT_IN_JSON = f'"{ROOT}/'


async def documents(connection: Connection, numbers: Sequence[int]) -> list[str]:
    """The items of these rows, in this order, as JSON with open addresses; those deleted in between are left out."""
    rows = await connection.fetch(
        f"""SELECT i.number, CASE WHEN i.stamp = {STAMP} THEN i.document END AS document
            FROM stac_item i JOIN record r ON r.id = i.record_id WHERE i.number = ANY($1)""",  # noqa: S608 - constants of this module
        numbers,
    )
    found: dict[int, str | None] = {row["number"]: row["document"] for row in rows}
    missing = [number for number, document in found.items() if document is None]
    if missing:
        found |= await write_out(connection, missing)
    return [document for number in numbers if (document := found.get(number)) is not None]


def addressed(text: str, root: str) -> str:
    """JSON with the addresses of the service at `root` (no slash at its end)."""
    return text.replace(_ROOT_IN_JSON, json.dumps(f"{root}/")[:-1])


async def write_out(connection: Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Make the documents of these rows and keep them; by number."""
    rows = await connection.fetch(_SOURCES, numbers)
    made = {row["number"]: json.dumps(item_of(_source(row)), allow_nan=False, separators=(",", ":")) for row in rows}
    await connection.execute(
        f"""WITH free AS (SELECT number FROM stac_item WHERE number = ANY($1) ORDER BY number FOR UPDATE SKIP LOCKED)
            UPDATE stac_item i SET document = n.document, stamp = n.stamp
            FROM unnest($1::bigint[], $2::text[], $3::text[]) AS n (number, document, stamp), record r, free f
            WHERE i.number = n.number AND f.number = i.number AND r.id = i.record_id AND n.stamp = {STAMP}""",  # noqa: S608 - as above
        list(made),
        list(made.values()),
        [row["stamp"] for row in rows],
    )
    return made


_SOURCES = f"""
SELECT i.number, i.id, i.aoi, i.tile, i.datetime, i.created, i.updated, i.footprint, i.source, r.name AS record, r.tags, {STAMP} AS stamp,
       d.layers
FROM stac_item i JOIN record r ON r.id = i.record_id
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_array(d.id, d.layer, v.name, n.name, v.description, v.unit, v.bands, d.uri, d.size, d.sha256, d.dtype,
                                       d.nodata::text, d.min_value::text, d.max_value::text, d.real_min::text, d.real_max::text,
                                       d.exponent::text, d.epsg, d.shape, d.transform, d.statistics, d.indexed_at::text)) AS layers
    FROM dataset d JOIN instance n ON n.id = d.instance_id JOIN variable v ON v.id = n.variable_id
    WHERE d.record_id = i.record_id AND d.tile = i.tile AND d.aoi || '' = i.aoi
) AS d
WHERE i.number = ANY($1)
"""  # noqa: S608 - constants of this module


def _source(row: Any) -> ItemSource:
    return ItemSource(
        id=row["id"],
        aoi=row["aoi"],
        record=row["record"],
        tile=row["tile"],
        time=row["datetime"],
        created=row["created"],
        updated=row["updated"],
        tags=row["tags"],
        footprint=shapely.from_wkb(row["footprint"]),
        layers=[_layer(values) for values in row["layers"] or ()],
        source=row["source"],
    )


def _layer(values: list[Any]) -> Layer:
    """In the order of `_SOURCES`; figures come as text, as JSON has no NaN."""
    key, layer, variable, instance, description, unit, bands, uri, size, sha256, dtype, *rest = values
    nodata, min_value, max_value, real_min, real_max, exponent = map(float, rest[:6])
    epsg, shape, transform, statistics, indexed_at = rest[6:]
    return Layer(
        id=key,
        layer=layer,
        variable=variable,
        instance=instance,
        description=description,
        unit=unit,
        bands=tuple(bands),
        uri=uri,
        size=size,
        sha256=sha256,
        dtype=dtype,
        nodata=nodata,
        min_value=min_value,
        max_value=max_value,
        real_min=real_min,
        real_max=real_max,
        exponent=exponent,
        epsg=epsg,
        shape=tuple(shape) if shape else None,
        transform=tuple(transform) if transform else None,
        statistics=tuple(statistics or ()),
        indexed_at=datetime.fromisoformat(indexed_at),
    )
