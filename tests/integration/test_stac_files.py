"""Layers read back as people read them: GDAL and rio-tiler over HTTP, from a folder and from S3, with a token; pictures; exports."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
from cube_by_hand import HandTile, fill, pixels
from fixtures_s3 import S3Server
from fixtures_services import RunningCatalogue, run_catalogue
from PIL import Image
from pydantic import SecretStr
from rio_tiler.io import Reader
from typer.testing import CliRunner, Result

from common.config import Settings
from common.storage import open_storage
from thresher.cli.application import application

TILE = HandTile("Example", 4, bands=("B02", "B03", "B04"), size=700)
GDAL = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "CPL_VSIL_CURL_CACHE_SIZE": "0", "GDAL_HTTP_MAX_RETRY": "0"}


async def item_of(cube: RunningCatalogue, **headers: str) -> dict[str, Any]:
    response = await cube.get(f"/stac/collections/Example/items/{TILE.scene}", **headers)
    assert response.status == 200, await response.text()
    return await response.json(content_type=None)


def read_corner(href: str, **options: str) -> np.ndarray:
    """The lower right 100 × 100 pixels, read by GDAL over HTTP."""
    with rasterio.Env(**GDAL, **options), rasterio.open(f"/vsicurl/{href}") as raster:
        return raster.read(1, window=rasterio.windows.Window(600, 600, 100, 100))


async def test_gdal_and_rio_tiler_read_ranges(catalogue: RunningCatalogue) -> None:
    await fill(catalogue.database, Path(catalogue.settings.storage), [TILE])
    asset = (await item_of(catalogue))["assets"]["B04"]
    corner = await asyncio.to_thread(read_corner, asset["href"])
    np.testing.assert_array_equal(corner, pixels(TILE, "B04")[600:, 600:])

    def tile() -> Any:
        with rasterio.Env(**GDAL), Reader(asset["href"]) as reader:
            return reader.point(3.5, 52.1), reader.info()

    point, info = await asyncio.to_thread(tile)
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32631", always_xy=True).transform(3.5, 52.1)
    row, column = int((5_800_000 - y) // 100), int((x - 500_000) // 100)
    assert point.data[0] == pixels(TILE, "B04")[row, column]
    assert (info.width, info.scales, info.offsets) == (700, [0.0001], [-0.1])


async def test_nothing_is_read_without_the_token(catalogue_settings: Settings) -> None:
    server = catalogue_settings.server.model_copy(
        update={"token": SecretStr("a-token-of-sixteen-letters-or-more"), "public_url": "https://layers.example"}
    )
    async with run_catalogue(catalogue_settings.model_copy(update={"server": server})) as catalogue:
        await fill(catalogue.database, Path(catalogue.settings.storage), [TILE])
        token = {"Authorization": "Bearer a-token-of-sixteen-letters-or-more"}
        item = await item_of(catalogue, **token)
        href = item["assets"]["B04"]["href"]
        # Behind a proxy the links name the public address.
        assert href.startswith("https://layers.example/cube/datasets/")
        path = href.removeprefix("https://layers.example")
        thumbnail = item["assets"]["thumbnail"]["href"].removeprefix("https://layers.example")
        for closed in ("/stac", "/stac/search", path, thumbnail, path.rsplit("/", 1)[0] + "/preview.png"):
            assert (await catalogue.get(closed)).status == 401
            assert (await catalogue.get(closed, **token)).status == 200
        header = f"Authorization: {token['Authorization']}"
        corner = await asyncio.to_thread(read_corner, catalogue.url + path, GDAL_HTTP_HEADERS=header)
        np.testing.assert_array_equal(corner, pixels(TILE, "B04")[600:, 600:])


async def test_layers_in_s3_are_read_by_a_short_lived_address(
    catalogue_settings: Settings, s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    settings = catalogue_settings.model_copy(update={"storage": f"s3://{s3_bucket}/layers", "s3": s3_server.settings})
    storage = open_storage(settings.storage, settings)
    async with run_catalogue(settings) as catalogue:
        await fill(catalogue.database, tmp_path / "made", [TILE])
        for path in sorted((tmp_path / "made").rglob("*.tif")):
            stored = await storage.put(path, f"Example/{path.name}")
            await catalogue.database.execute("UPDATE dataset SET uri = $1, indexed_at = now() WHERE uri = $2", stored.uri, str(path))
        item = await item_of(catalogue)
        href = item["assets"]["B04"]["href"]
        async with catalogue.http.get(href, allow_redirects=False) as response:
            assert response.status == 307
            assert response.headers["Location"].startswith(f"{s3_server.endpoint_url}/{s3_bucket}/layers/Example/")
            assert "secret" not in response.headers["Location"].lower().replace("x-amz-security", "")
        async with catalogue.http.head(href) as response:
            assert int(response.headers["Content-Length"]) == item["assets"]["B04"]["file:size"]
        for use_head in ("YES", "NO"):
            corner = await asyncio.to_thread(read_corner, href, CPL_VSIL_CURL_USE_HEAD=use_head)
            np.testing.assert_array_equal(corner, pixels(TILE, "B04")[600:, 600:])
        response = await catalogue.get(item["assets"]["thumbnail"]["href"].removeprefix(catalogue.url))
        assert response.status == 200
        # Elsewhere nothing is opened, whatever stands in the index.
        await catalogue.database.execute("UPDATE dataset SET uri = 's3://other/' || layer || '.tif'")
        item = await item_of(catalogue)
        assert (await catalogue.get(href.removeprefix(catalogue.url).rsplit("/", 1)[0] + "/B04.tif")).status == 404


async def test_a_path_outside_of_the_storage_is_not_served(catalogue: RunningCatalogue, tmp_path: Path) -> None:
    await fill(catalogue.database, Path(catalogue.settings.storage), [TILE])
    (tmp_path / "secret.tif").write_text("secret")
    for uri in (str(tmp_path / "secret.tif"), f"{catalogue.settings.storage}/../secret.tif", "/etc/passwd"):
        await catalogue.database.execute("UPDATE dataset SET uri = $1", uri)
        number = await catalogue.database.fetchval("SELECT id FROM dataset LIMIT 1")
        response = await catalogue.get(f"/cube/datasets/{number}/{Path(uri).name}")
        assert response.status == 404, await response.text()
        assert (await catalogue.get(f"/cube/datasets/{number}/preview.png")).status == 404


async def test_pictures(catalogue: RunningCatalogue) -> None:
    await fill(catalogue.database, Path(catalogue.settings.storage), [TILE])
    item = await item_of(catalogue)
    path = item["assets"]["thumbnail"]["href"].removeprefix(catalogue.url)
    response = await catalogue.get(path)
    assert (response.status, response.content_type) == (200, "image/png")
    picture = Image.open(io.BytesIO(await response.read()))
    assert (picture.mode, picture.size) == ("RGBA", (512, 512))
    alpha = np.asarray(picture)[:, :, 3]
    assert alpha[5:].min() == 255
    # Brighter to the lower right, as the pixels are.
    red = np.asarray(picture)[:, :, 0].astype(int)
    assert red[-1, -1] == 255
    assert red[256, 256] > red[10, 10]
    again = await catalogue.get(path, **{"If-None-Match": response.headers["ETag"]})
    assert again.status == 304
    dataset = item["assets"]["B04"]["thresher:dataset"]
    response = await catalogue.get(f"/cube/datasets/{dataset}/preview.png?size=64")
    assert Image.open(io.BytesIO(await response.read())).size == (64, 64)
    assert (await catalogue.get(f"/cube/datasets/{dataset}/preview.png?size=100000")).status == 400
    # What is no raster, or is gone, is told so.
    uri = Path(await catalogue.database.fetchval("SELECT uri FROM dataset WHERE id = $1::text::uuid", dataset))
    uri.write_bytes(b"not a raster")
    assert (await catalogue.get(f"/cube/datasets/{dataset}/preview.png")).status == 400
    uri.unlink()
    assert (await catalogue.get(f"/cube/datasets/{dataset}/preview.png")).status == 404


def thresher(catalogue: RunningCatalogue, *arguments: object) -> Result:
    return CliRunner().invoke(application, [str(argument) for argument in arguments], env={"THRESHER_URL": catalogue.url})


async def test_export(catalogue: RunningCatalogue, tmp_path: Path) -> None:
    tiles = [HandTile("Example", day, size=60) for day in range(3)] + [HandTile("Other", 5, size=60, west=700_000)]
    await fill(catalogue.database, Path(catalogue.settings.storage), tiles)
    done = await asyncio.to_thread(thresher, catalogue, "export", "stac", tmp_path / "static")
    assert done.stdout == f"4 items in {tmp_path / 'static' / 'catalog.json'}\n", done.stderr

    root = pystac.Catalog.from_file(str(tmp_path / "static" / "catalog.json"))
    assert sorted(item.id for item in root.get_items(recursive=True)) == sorted(tile.scene for tile in tiles)
    assert [collection.id for collection in root.get_children()] == ["Example", "Other"]
    (item,) = root.get_child("Other").get_items()
    assert item.assets["B04"].href.startswith(catalogue.url)
    assert item.get_root() is root
    assert [link.rel for link in item.links].count("derived_from") == 1
    again = await asyncio.to_thread(thresher, catalogue, "export", "stac", tmp_path / "static")
    assert again.exit_code == 2
    assert "not an empty folder" in again.stderr

    done = await asyncio.to_thread(thresher, catalogue, "export", "geoparquet", tmp_path / "items.parquet", "--aoi", "Example")
    assert done.stdout == f"3 items in {tmp_path / 'items.parquet'}\n", done.stderr
    table = geopandas.read_parquet(tmp_path / "items.parquet")
    assert sorted(table["id"]) == sorted(tile.scene for tile in tiles[:3])
    assert table.crs.equals("EPSG:4326", ignore_axis_order=True)
    assert sorted(table["eo:cloud_cover"]) == [0, 1, 2]
    assert table.geometry.total_bounds == pytest.approx([3.0, 52.296, 3.088, 52.350], abs=1e-3)
    refused = await asyncio.to_thread(thresher, catalogue, "export", "geoparquet", tmp_path / "none.parquet", "--aoi", "Nowhere")
    assert (refused.exit_code, "Nowhere" in refused.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.parquet", "static", "storage"]
    shutil.rmtree(tmp_path / "static")
    assert json.dumps(table["collection"].unique().tolist()) == '["Example"]'
