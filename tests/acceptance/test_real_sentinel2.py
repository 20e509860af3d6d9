"""Real Sentinel-2 and Landsat products through the real services, to layers that are compared with their sources pixel by pixel.

Catalogue, downloader and processor are processes of their own on real PostgreSQL and NATS; the layers go to a folder or to a real S3.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom
from rasterio.windows import Window, from_bounds
from real_catalogue import L1C, L2A, LANDSAT, Layer, Product, build_catalogue
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import box, mapping, shape

from common.config import Settings
from common.storage.s3 import client_for
from thresher.answers import Dataset
from thresher.client import Client
from thresher.demo.server import FolderServer
from thresher.embedded.endpoint import LOOPBACK, free_port
from thresher.embedded.process import running
from thresher.embedded.service import ServicePart
from thresher.variables import read_variables

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 90

Stored = dict[str, tuple[int, str]]
"""What lies in storage: URI -> size, and what changes when it is written again."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Source:
    """The catalogue of real products on a web server."""

    server: FolderServer
    products: dict[str, Product]


@dataclass(frozen=True)
class Stack:
    """The running services and what they write to."""

    client: Client
    database: asyncpg.Connection
    stored: Callable[[], Stored]
    local: Callable[[str], Path]
    """The file of a URI, on this machine."""

    async def counts(self) -> dict[str, int]:
        return {table: await self.database.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}

    async def ingest(self, payload: dict[str, Any]) -> list[Dataset]:
        """Post, wait until everything is done and swept; the datasets of the area."""
        await self.client.submit(payload)
        async with asyncio.timeout(PATIENCE_S):
            while (status := await self.client.area(payload["name"])).tiles.done < status.tiles.total or not status.tiles.total:
                failed = await self.database.fetch("SELECT source_id, message FROM scene WHERE status IN ('RETRY', 'FAILED')")
                failed += await self.database.fetch("SELECT source_id, message FROM tile WHERE status IN ('RETRY', 'FAILED')")
                assert not failed
                await asyncio.sleep(0.1)
            while await self.database.fetchval("SELECT count(*) FROM deletion"):
                await asyncio.sleep(0.1)
        return await self.datasets(aoi=payload["name"])

    async def datasets(self, **wanted: str) -> list[Dataset]:
        return [dataset async for dataset in self.client.datasets(**wanted)]


TABLES = ("aoi", "record", "scene", "tile", "job", "dataset")


@pytest.fixture(scope="module")
def source(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    folder = tmp_path_factory.mktemp("source")
    products = build_catalogue(folder, shared_data)
    with FolderServer(folder) as server:
        yield Source(server, products)


@pytest.fixture(params=["directory"])
async def stack(
    request: pytest.FixtureRequest, database_url: str, clean_nats_url: str, source: Source, tmp_path: Path
) -> AsyncIterator[Stack]:
    if request.param == "s3":
        settings: Settings = request.getfixturevalue("s3_settings")
        environment = {"THRESHER_S3_ENDPOINT_URL": settings.s3.endpoint_url, "THRESHER_S3_REGION": settings.s3.region}
        storage, stored, local = settings.storage, lambda: in_bucket(settings), lambda uri: fetched(settings, uri, tmp_path)
    else:
        environment, storage = {}, str(tmp_path / "storage")
        stored, local = lambda: in_folder(tmp_path / "storage"), Path
    config = tmp_path / "thresher.toml"
    config.write_text(
        f"""
        [catalogues.real]
        type = "static-stac"
        url = "{source.server.url}/catalog.json"
        [limits]
        allowed_urls = ["{source.server.url}"]
        """
    )
    environment |= {"THRESHER_CONFIG": str(config), "THRESHER_NATS_URL": clean_nats_url, "THRESHER_STORAGE": storage}
    with services(environment, database_url, tmp_path) as url:
        database = await asyncpg.connect(database_url)
        try:
            async with Client(url) as client:
                for name in ("sentinel2", "landsat"):
                    for variable in read_variables((REPOSITORY / "payloads" / f"{name}.variables.yaml").read_text()):
                        await client.apply_variable(variable)
                yield Stack(client, database, stored, local)
        finally:
            await database.close()


@contextmanager
def services(environment: dict[str, str], database_url: str, folder: Path) -> Iterator[str]:
    """The three services as `python -P -m …`; the URL of the API."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("THRESHER_")}
    shared = {**inherited, "PYTHONPATH": str(REPOSITORY), **environment}
    label = f"thresher-acceptance-{uuid.uuid4().hex}"
    with ExitStack() as started:
        for name in ("catalogue", "downloader", "processor"):
            port = free_port()
            own = {"THRESHER_WORKER_HTTP_PORT": str(port), "THRESHER_WORKER_SCRATCH": str(folder)}
            if name == "catalogue":
                url = f"http://{LOOPBACK}:{port}"
                own = {"THRESHER_SERVER_PORT": str(port), "THRESHER_DATABASE_URL": database_url}
            part = ServicePart(name, name, {**shared, **own}, LOOPBACK, port, 30.0, label)
            started.enter_context(running(part, folder / f"{name}.log"))
        yield url


@pytest.mark.parametrize("stack", ["directory", "s3"], indirect=True)
async def test_layers_are_their_sources_and_posting_again_makes_nothing_new(stack: Stack, source: Source) -> None:
    """Every layer of every product is indexed, its pixels and grid are those of the source; the second post of all changes nothing."""
    for product in source.products.values():
        datasets = await stack.ingest(product.payload)
        assert {dataset.layer for dataset in datasets} == product.layers.keys()
        for dataset in datasets:
            check_index(dataset, product, product.layers[dataset.layer], stack.local(dataset.uri))
            check_pixels(product.layers[dataset.layer], dataset.layer, stack.local(dataset.uri))

    layers = sum(len(product.layers) for product in source.products.values())
    assert await stack.counts() == {"aoi": 3, "record": 3, "scene": 3, "tile": 3, "job": 6, "dataset": layers}
    indexed = await stack.datasets()
    stored = stack.stored()
    # Nothing but the layers is kept: the products were given back.
    assert {uri: size for uri, (size, _) in stored.items()} == {dataset.uri: dataset.size for dataset in indexed}

    counts, asked = await stack.counts(), dict(source.server.requests)
    for product in source.products.values():
        again = await stack.client.submit(product.payload)
        assert (again.scene_count, again.tile_count) == (0, 0)
    assert await stack.counts() == counts
    assert await stack.datasets() == indexed
    assert stack.stored() == stored
    assert {path for path, number in source.server.requests.items() if number > asked.get(path, 0) and not path.endswith(".json")} == set()


async def test_another_area_reuses_the_record_of_the_same_tags(stack: Stack, source: Source) -> None:
    """A record is what was taken: the same tags mean the same one whatever the area is called; other tags mean another one."""
    product = source.products[LANDSAT]
    first = await stack.ingest(product.payload)
    before = await stack.counts()
    second = await stack.ingest({**product.payload, "name": "Other"})
    assert await stack.counts() == {**before, "aoi": 2, "scene": 2, "tile": 2, "job": 4}
    assert {(dataset.record.id, dataset.layer) for dataset in second} == {(dataset.record.id, dataset.layer) for dataset in first}
    # The layers of the second area take the place of those of the first.
    assert stack.stored().keys() == {dataset.uri for dataset in second}

    third = await stack.ingest({**product.payload, "name": "Third", "record_tags": {"source": "elsewhere"}})
    assert {dataset.record.id for dataset in third}.isdisjoint(dataset.record.id for dataset in second)
    assert stack.stored().keys() == {dataset.uri for dataset in [*second, *third]}


@pytest.mark.parametrize("name", [L2A, L1C])
async def test_cropped_layers_hold_the_area_on_the_grid_of_the_source(stack: Stack, source: Source, name: str) -> None:
    product = source.products[name]
    area = inner_area(next(iter(product.layers.values())).source)
    payload = {**product.payload, **mapping(area), "graph_config": {"crop": "true"}}
    datasets = await stack.ingest(payload)
    assert {dataset.layer for dataset in datasets} == product.layers.keys()
    for dataset in datasets:
        layer = product.layers[dataset.layer]
        # A piece of the scene: an area elsewhere on it keeps its own.
        check_index(dataset, product, layer, stack.local(dataset.uri), tile=f"{product.name}@{payload['name']}")
        check_crop(layer, area, stack.local(dataset.uri))


def check_index(dataset: Dataset, product: Product, layer: Layer, path: Path, *, tile: str = "") -> None:
    """The dataset row tells the truth about its file."""
    content = path.read_bytes()
    assert (dataset.size, dataset.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (dataset.record.name, dataset.tile) == (product.name, tile or product.name)
    assert (dataset.variable, dataset.instance) == (layer.variable, layer.instance)
    assert (dataset.nodata, dataset.min_value, dataset.max_value) == (layer.nodata, *layer.dformat)
    assert (dataset.real_min, dataset.real_max) == pytest.approx((layer.real_min, layer.real_max), rel=1e-12, abs=1e-12)
    assert (dataset.exponent, dataset.bands) == (1, 1)
    with rasterio.open(path) as ours:
        assert (dataset.dtype, dataset.epsg) == (ours.dtypes[0], ours.crs.to_epsg())
        assert (dataset.shape, dataset.transform) == (ours.shape, tuple(ours.transform)[:6])
        assert (*ours.scales, *ours.offsets) == layer.scaling
        dense = shapely.segmentize(shape(dataset.footprint), 0.01)
        footprint = shape(transform_geom("EPSG:4326", ours.crs, mapping(dense)))
        assert shapely.hausdorff_distance(footprint, box(*ours.bounds), densify=0.01) < 0.5 * max(ours.res)


def check_pixels(layer: Layer, name: str, path: Path) -> None:
    """The layer is a valid COG, and its pixels, grid and no-data value are those of the source."""
    is_valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    assert (is_valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as ours, rasterio.open(layer.source) as theirs:
        assert ours.crs == theirs.crs
        assert ours.bounds == theirs.bounds
        assert ours.transform == theirs.transform
        assert ours.nodata == layer.nodata
        # Where the source has none, the specification of the product says it.
        assert theirs.nodata in (None, layer.nodata)
        assert ours.dtypes == theirs.dtypes
        assert ours.descriptions == (name,)
        pixels = theirs.read()
        assert np.array_equal(ours.read(), pixels)
        assert len(np.unique(pixels)) > 10


def check_crop(layer: Layer, area: shapely.Polygon, path: Path) -> None:
    """The pixels the area touches are those of the source, all others no data, and no row or column is all outside."""
    is_valid, errors, _ = cog_validate(path, strict=True, quiet=True)
    assert (is_valid, errors) == (True, [])
    with rasterio.open(path) as ours, rasterio.open(layer.source) as theirs:
        assert (ours.crs, ours.res, ours.nodata) == (theirs.crs, theirs.res, layer.nodata)
        exact = from_bounds(*ours.bounds, transform=theirs.transform)
        window: Window = exact.round_offsets().round_lengths()
        assert (exact.col_off, exact.row_off) == pytest.approx((window.col_off, window.row_off), abs=1e-6)
        assert (window.height, window.width) == ours.shape
        pixels, expected = ours.read(1), theirs.read(1, window=window)
        outline = transform_geom("EPSG:4326", ours.crs, mapping(shapely.segmentize(area, 0.001)))
        touched, centred = (geometry_mask([outline], ours.shape, ours.transform, invert=True, all_touched=every) for every in (True, False))
    assert ours.shape[0] < theirs.shape[0]
    assert ours.shape[1] < theirs.shape[1]
    assert np.array_equal(pixels[centred], expected[centred])
    inside = pixels != layer.nodata
    # A pixel that the outline barely touches may be counted in or out.
    differ = inside[expected != layer.nodata] != touched[expected != layer.nodata]
    assert differ.sum() < 0.01 * touched.sum()
    assert np.array_equal(pixels[inside], expected[inside])
    assert touched.any(axis=0).all()
    assert touched.any(axis=1).all()
    assert 0.3 < centred.mean() < 0.9


def inner_area(path: Path) -> shapely.Polygon:
    """A lozenge in the middle of a raster (EPSG:4326), on no pixel's edge."""
    with rasterio.open(path) as raster:
        west, south, east, north = raster.bounds
        crs = raster.crs
    x, y, width, height = (west + east) / 2, (south + north) / 2, (east - west) * 0.31, (north - south) * 0.27
    lozenge = shapely.Polygon([(x - width, y), (x, y - height), (x + width, y), (x, y + height)])
    return shape(transform_geom(crs, "EPSG:4326", mapping(lozenge)))


def in_folder(folder: Path) -> Stored:
    """What is stored, but for what steps printed."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "logs")
    return {str(path): (path.stat().st_size, str(path.stat().st_mtime_ns)) for path in paths}


def in_bucket(settings: Settings) -> Stored:
    bucket, _, _ = settings.storage.removeprefix("s3://").partition("/")
    answer = client_for(settings.s3).list_objects_v2(Bucket=bucket)
    assert not answer["IsTruncated"]
    found = [entry for entry in answer.get("Contents", []) if "/logs/" not in entry["Key"]]
    return {f"s3://{bucket}/{entry['Key']}": (entry["Size"], f"{entry['ETag']} {entry['LastModified']}") for entry in found}


def fetched(settings: Settings, uri: str, folder: Path) -> Path:
    target = folder / "fetched" / hashlib.sha256(uri.encode()).hexdigest()
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        client_for(settings.s3).download_file(bucket, key, str(target))
    return target
