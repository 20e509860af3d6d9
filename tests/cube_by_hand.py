"""A cube filled by hand with simulated Sentinel-2-like layers: real files, indexed as the workflow indexes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import numpy as np
import rasterio
import shapely
from rasterio.transform import Affine, from_origin
from shapely.geometry import box

from catalogue.cube.datasets import IndexedLayer, index_layers
from catalogue.cube.records import RecordSpec, reuse_or_create
from catalogue.cube.variables import InstanceSpec, VariableSpec, apply_variable
from catalogue.database import _prepare
from catalogue.places import bounding_box
from common.messages import DatasetReport, LayerStatistics, RasterFormat, StoredFile
from processor.cog import LayerTags, write_cog
from processor.rasters import describe_raster
from processor.statistics import raster_statistics

EPSG = 32631
ITEM = "https://example.org/stac/items/{}"


@dataclass(frozen=True)
class HandTile:
    """A tile to make: a scene of one tile with a layer for each band."""

    aoi: str
    number: int
    """Days after 2024-01-01, and what the pixels follow from."""
    bands: Sequence[str] = ("B04", "B08")
    west: float = 500_000
    north: float = 5_800_000
    size: int = 300
    """Pixels of 100 m, each way."""
    tags: dict[str, str] = field(default_factory=dict)
    tile: str = ""
    """Name of the tile; by default the scene's."""

    @property
    def scene(self) -> str:
        return f"S2A_MSIL2A_{self.time:%Y%m%dT%H%M%S}_N0510_R051_T31UET_{self.time:%Y%m%dT%H%M%S}"

    @property
    def time(self) -> datetime:
        return datetime(2024, 1, 1, 10, 50, tzinfo=UTC) + timedelta(days=self.number)

    @property
    def all_tags(self) -> dict[str, str]:
        return {
            "constellation": "SENTINEL2",
            "satellite": "SENTINEL2A",
            "productType": "S2MSI2A",
            "orbitDirection": "DESCENDING",
            "relativeOrbit": "51",
            "cloudCoverPercentage": str(self.number % 100),
            **self.tags,
        }


async def fill(database: asyncpg.Connection, storage: Path, tiles: Sequence[HandTile]) -> None:
    """Make the files of the tiles in `storage` and index them."""
    await _prepare(database)
    for tile in tiles:
        await _add(database, storage, tile)


async def _add(database: asyncpg.Connection, storage: Path, tile: HandTile) -> None:
    instances = {band: await _instance(database, band) for band in tile.bands}
    paths = {band: _layer(storage, tile, band) for band in tile.bands}
    first = describe_raster(paths[tile.bands[0]])
    outline = shapely.from_wkt(first.footprint_wkt)
    (record,) = await reuse_or_create(database, [RecordSpec(tile.scene, tile.time, tile.all_tags, outline)])
    aoi = await database.fetchval(
        "INSERT INTO aoi (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id", tile.aoi
    )
    data = {"graph_name": "CopyProductToStorage", "metadata": {"item": ITEM.format(tile.scene) + "?signed=secret"}}
    scene = await database.fetchval(
        """INSERT INTO scene (aoi_id, source_id, date, data, tags, footprint, bbox, record_id, capability, priority, status, retries_left)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'python', 0, 'DONE', 0)
           ON CONFLICT (aoi_id, source_id) DO UPDATE SET tags = excluded.tags RETURNING id""",
        aoi,
        tile.scene,
        tile.time,
        data,
        tile.all_tags,
        shapely.to_wkb(outline),
        bounding_box(outline),
        record,
    )
    number = await database.fetchval(
        """INSERT INTO tile (scene_id, aoi_id, source_id, swath_id, tile_nr, graph_name, is_retriable, anx_time, footprint, bbox,
                             capability, status, retries_left)
           VALUES ($1, $2, $3, '', 0, 'ExtractS2Assets', false, 0, $4, $5, 'python', 'DONE', 0) RETURNING id""",
        scene,
        aoi,
        tile.tile or tile.scene,
        shapely.to_wkb(outline),
        bounding_box(outline),
    )
    await index_layers(database, [IndexedLayer(_report(path, band, number, instances[band]), uuid4()) for band, path in paths.items()])


async def _instance(database: asyncpg.Connection, band: str) -> str:
    spec = VariableSpec(
        name=band,
        unit="reflectance",
        description=f"Band {band}, simulated",
        dtype="uint16",
        nodata=0,
        min_value=0,
        max_value=10_000,
        instances=[InstanceSpec(name="l2a")],
    )
    variable, _ = await apply_variable(database, spec)
    return str(variable.instances[0].id)


def _report(path: Path, band: str, tile: int, instance: str) -> DatasetReport:
    raster = describe_raster(path)
    content = path.read_bytes()
    return DatasetReport(
        layer=band,
        tile_id=tile,
        instance_id=instance,
        file=StoredFile(uri=str(path), size=len(content), sha256=hashlib.sha256(content).hexdigest()),
        format=RasterFormat(dtype="uint16", nodata=0, min_value=0, max_value=10_000),
        real_min=-0.1,
        real_max=0.9,
        epsg=raster.epsg,
        shape=raster.shape,
        transform=raster.transform,
        footprint_wkt=raster.footprint_wkt,
        statistics=[LayerStatistics(**vars(band)) for band in raster_statistics(path)],
    )


def _layer(storage: Path, tile: HandTile, band: str) -> Path:
    folder = storage / tile.aoi / tile.scene / "tiles" / (tile.tile or tile.scene) / str(uuid4())
    folder.mkdir(parents=True)
    path = folder / f"{tile.time:%Y%m%d}_{tile.tile or tile.scene}_{band}.tif"
    source = folder / "source.tif"
    profile = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "width": tile.size,
        "height": tile.size,
        "crs": f"EPSG:{EPSG}",
        "nodata": 0,
    }
    with rasterio.open(source, "w", transform=_grid(tile), **profile) as raster:
        raster.write(pixels(tile, band), 1)
    write_cog(source, path, LayerTags(band, nodata=0, scale=0.0001, offset=-0.1))
    source.unlink()
    return path


def pixels(tile: HandTile, band: str) -> np.ndarray:
    """The digital numbers of a layer (rows, columns): a slope, other in every band and on every day; the first row is no data."""
    rows, columns = np.mgrid[0 : tile.size, 0 : tile.size]
    values = 1000 + 100 * int(band.strip("BA_") or 0) + 10 * tile.number + rows + 2 * columns
    values[0, :] = 0
    return values.astype(np.uint16)


def _grid(tile: HandTile) -> Affine:
    return from_origin(tile.west, tile.north, 100, 100)


def square(west: float, south: float, side: float) -> list[float]:
    """A bbox."""
    return list(box(west, south, west + side, south + side).bounds)
