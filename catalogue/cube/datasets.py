"""Datasets: a layer's file indexed under (record, instance) for one tile. The row names the file that counts.

A layer cut to an AOI is a piece of the tile, `{tile}@{aoi}`: two AOIs that share a record keep one each. Of whole tiles the latest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import shapely
from pydantic import BaseModel, ConfigDict

from catalogue.cube.variables import Number
from catalogue.database import Connection
from catalogue.places import bounding_box, geojson_of
from common.errors import NotFoundError
from common.messages import DatasetReport, LayerStatistics
from common.times import UtcDatetime


@dataclass(frozen=True)
class IndexedLayer:
    """A reported layer together with what only the catalogue knows of it."""

    report: DatasetReport
    job_id: UUID


class RecordName(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: UUID
    name: str
    time: UtcDatetime


class Dataset(BaseModel):
    """A dataset as it is listed. Real = (real_max - real_min) * ((v - min) / (max - min)) ** exponent + real_min."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    aoi: str
    record: RecordName
    variable: str
    instance: str
    tile: str
    layer: str
    uri: str
    size: int
    sha256: str
    dtype: str
    nodata: Number
    min_value: Number
    max_value: Number
    real_min: Number
    real_max: Number
    exponent: float
    bands: int
    epsg: int | None
    shape: list[int] | None
    transform: list[float] | None
    statistics: list[LayerStatistics] = []
    """One a band, of the pixels as they are stored; empty where they are not known."""
    footprint: dict[str, object] | None
    indexed_at: UtcDatetime


async def index_layers(connection: Connection, layers: Sequence[IndexedLayer]) -> list[str]:
    """Write the dataset rows of finished tiles; the URIs of files they replace. Call it inside the transaction that finishes them."""
    if not layers:
        return []
    replaced = await connection.fetch(
        """SELECT d.uri FROM unnest($1::bigint[], $2::uuid[], $3::text[]) AS new (tile_id, instance_id, uri)
           JOIN tile t ON t.id = new.tile_id JOIN scene s ON s.id = t.scene_id JOIN aoi a ON a.id = t.aoi_id
           JOIN dataset d ON d.record_id = s.record_id AND d.instance_id = new.instance_id AND d.uri <> new.uri
               AND d.tile = t.source_id || CASE WHEN s.clip IS NULL THEN '' ELSE '@' || a.name END""",
        [layer.report.tile_id for layer in layers],
        [UUID(layer.report.instance_id) for layer in layers],
        [layer.report.file.uri for layer in layers],
    )
    await connection.executemany(_UPSERT, [_row(layer) for layer in layers])
    return [row["uri"] for row in replaced]


_UPSERT = """
INSERT INTO dataset (record_id, instance_id, tile, tile_id, aoi, job_id, layer, uri, size, sha256, dtype, nodata, min_value, max_value,
                     real_min, real_max, exponent, bands, epsg, shape, transform, footprint, bbox,
                     statistics)
SELECT s.record_id, $2, t.source_id || CASE WHEN s.clip IS NULL THEN '' ELSE '@' || a.name END, t.id, a.name,
       $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21
FROM tile t JOIN scene s ON s.id = t.scene_id JOIN aoi a ON a.id = t.aoi_id WHERE t.id = $1
ON CONFLICT (record_id, instance_id, tile) DO UPDATE SET
    tile_id = excluded.tile_id, aoi = excluded.aoi, job_id = excluded.job_id, layer = excluded.layer, uri = excluded.uri,
    size = excluded.size, sha256 = excluded.sha256, dtype = excluded.dtype, nodata = excluded.nodata, min_value = excluded.min_value,
    max_value = excluded.max_value, real_min = excluded.real_min, real_max = excluded.real_max, exponent = excluded.exponent,
    bands = excluded.bands, epsg = excluded.epsg, shape = excluded.shape, transform = excluded.transform,
    footprint = excluded.footprint, bbox = excluded.bbox, statistics = excluded.statistics, indexed_at = now()
"""


@dataclass(frozen=True)
class DatasetFile:
    """The file of a dataset."""

    id: UUID
    layer: str
    uri: str
    size: int
    sha256: str


async def find_file(connection: Connection, dataset: UUID) -> DatasetFile:
    """Raises NotFoundError."""
    row = await connection.fetchrow("SELECT id, layer, uri, size, sha256 FROM dataset WHERE id = $1", dataset)
    if row is None:
        raise NotFoundError(f"there is no dataset {dataset}", field="id")
    return DatasetFile(**row)


async def item_files(connection: Connection, aoi: str, item: str) -> list[DatasetFile]:
    """The files of a STAC item, by layer; raises NotFoundError where there is no such item."""
    rows = await connection.fetch(
        """SELECT d.id, d.layer, d.uri, d.size, d.sha256 FROM stac_item i
           JOIN dataset d ON d.record_id = i.record_id AND d.tile = i.tile AND d.aoi = i.aoi
           WHERE i.aoi = $1 AND i.id = $2 ORDER BY d.layer, d.id""",
        aoi,
        item,
    )
    if not rows:
        raise NotFoundError(f"there is no item '{item[:200]}' in '{aoi[:100]}'", field="item")
    return [DatasetFile(**row) for row in rows]


async def list_datasets(
    connection: Connection,
    *,
    aoi: str = "",
    record: UUID | None = None,
    variable: str = "",
    instance: str = "",
    offset: int = 0,
    limit: int = 100,
) -> list[Dataset]:
    """By time of the record, tile and variable; the arguments that are given narrow it down."""
    rows = await connection.fetch(
        """SELECT d.*, v.name AS variable, i.name AS instance,
                  jsonb_build_object('id', r.id, 'name', r.name, 'time', r.time) AS record
           FROM dataset d JOIN instance i ON i.id = d.instance_id JOIN variable v ON v.id = i.variable_id
           JOIN record r ON r.id = d.record_id
           WHERE ($1 = '' OR d.aoi = $1) AND ($2::uuid IS NULL OR d.record_id = $2) AND ($3 = '' OR v.name = $3)
             AND ($4 = '' OR i.name = $4)
           ORDER BY r.time, d.tile, v.name, i.name, d.id OFFSET $5 LIMIT $6""",
        aoi,
        record,
        variable,
        instance,
        offset,
        limit,
    )
    return [
        Dataset.model_validate({**row, "footprint": geojson_of(row["footprint"]) if row["footprint"] is not None else None}) for row in rows
    ]


def _row(layer: IndexedLayer) -> tuple[object, ...]:
    report = layer.report
    footprint = shapely.from_wkt(report.footprint_wkt) if report.footprint_wkt else None
    return (
        report.tile_id,
        UUID(report.instance_id),
        layer.job_id,
        report.layer,
        report.file.uri,
        report.file.size,
        report.file.sha256,
        report.format.dtype,
        report.format.nodata,
        report.format.min_value,
        report.format.max_value,
        report.real_min,
        report.real_max,
        report.exponent,
        report.bands,
        report.epsg,
        list(report.shape) if report.shape else None,
        list(report.transform) if report.transform else None,
        shapely.to_wkb(footprint) if footprint is not None else None,
        bounding_box(footprint) if footprint is not None else None,
        [band.model_dump(mode="json") for band in report.statistics],
    )
