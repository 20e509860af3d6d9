"""Tile jobs without a stack: a storage in a folder, products put into it, graphs run on them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rio_cogeo import cog_validate

from common.config import GraphSettings, Settings
from common.layers import open_layer_store
from common.messages import DatasetReport, SceneRef, TileJob, TileRef
from common.product import ProductAsset, ProductManifest
from common.work import JobContext, WorkReport
from processor.work import process_tile


class TileBench:
    """A storage in `folder`, and jobs against it. `settings` goes over the configuration."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.graphs = folder / "graphs"
        self.graphs.mkdir()
        self.settings = Settings(storage=str(folder / "storage"), graphs=GraphSettings(folders=[self.graphs]), **settings)
        self.store = open_layer_store("", self.settings)

    def tile(self, scene: str, number: int = 1, date: datetime = datetime(2019, 3, 7, 10, 50, tzinfo=UTC)) -> TileRef:
        return TileRef(id=10 + number, source_id=scene, scene=SceneRef(id=number, source_id=scene, aoi="test", date=date))

    def workdir(self) -> Path:
        path = self.folder / f"work {uuid.uuid4().hex[:8]}"
        path.mkdir()
        return path

    async def put(self, tile: TileRef, folder: Path, extension: str = "*") -> TileRef:
        """Store what is in `folder` as the product of `tile`."""
        await self.store.save(tile, "__product__", extension, folder)
        return tile

    async def put_assets(self, tile: TileRef, assets: dict[str, ProductAsset], folder: Path) -> TileRef:
        """Store files of `folder` as a product that was fetched asset by asset."""
        ProductManifest(source_id=tile.scene.source_id, assets=assets).write(folder)
        return await self.put(tile, folder)

    async def process(self, graph: str, tile: TileRef, *layers: str, **more: Any) -> WorkReport:
        instances = {layer: f"instance-{layer}" for layer in layers}
        job = TileJob(job=uuid.uuid4(), send=1, graph_name=graph, tile=tile, layers=list(layers), instances=instances, **more)
        return await process_tile(job, JobContext(self.settings, self.workdir(), uuid.uuid4(), lambda *_: None))


def read_layer(dataset: DatasetReport, band: int = 1) -> np.ndarray[Any, Any]:
    """The pixels of a stored layer, which must be a valid Cloud-Optimised GeoTIFF with statistics."""
    assert cog_validate(dataset.file.uri, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(dataset.file.uri) as cog:
        assert "STATISTICS_VALID_PERCENT" in cog.tags(band)
        pixels: np.ndarray[Any, Any] = cog.read(band)
    return pixels
