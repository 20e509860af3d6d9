"""Providers: products from folders, buckets and servers come out in one shape, and what is missing is told by each of them."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from aiohttp import web
from aiohttp.test_utils import TestServer

from common.config import Settings
from common.errors import ConfigurationError, ErrorKind, FatalError, TemporaryError, ThresherError
from common.features import AssetLink, SceneMetadata
from common.messages import SceneRef
from common.product import read_manifest
from common.storage import PART_PREFIX, open_storage
from downloader.providers import NotOfferedError, ProductRequest, fetch_product, open_providers
from downloader.transfer import Policy

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of small images of JPEG 2000

NAME = "S2A_MSIL1C_20190108T034121_N0207_R061_T48LWP_20190108T064531"
PIXELS = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def _own_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a failed download is found again only within a test, which has little patience."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr("downloader.providers.base.policy_of", lambda _: Policy(retries=1, backoff_s=0.01))


def _raster(driver: str, seed: int = 0) -> bytes:
    """A real image."""
    place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 300000, 0, -10, 4900000)}
    path = Path(tempfile.gettempdir(), "image")
    with rasterio.open(path, "w", driver=driver, width=64, height=64, count=1, dtype="uint16", **place) as image:
        image.write(np.random.default_rng(seed).integers(0, 9999, (1, 64, 64), dtype=np.uint16))
    return path.read_bytes()


def _settings(providers: dict[str, dict[str, Any]], **more: Any) -> Settings:
    return Settings.model_validate({"providers": providers, **more})


def _scene(source_id: str = NAME, **metadata: Any) -> SceneRef:
    return SceneRef(
        id=1,
        source_id=source_id,
        aoi="A",
        date=datetime(2019, 1, 8, 3, 41, 21, tzinfo=UTC),
        metadata=SceneMetadata.model_validate(metadata),
    )


async def _fetch(settings: Settings, scene: SceneRef, folder: Path, layers: tuple[str, ...] = (), **config: str) -> list[tuple[str, float]]:
    seen: list[tuple[str, float]] = []
    request = ProductRequest(scene, lambda step, done: seen.append((step, done)), layers, config)
    await fetch_product(open_providers(settings, scene.source_id), request, folder)
    return seen


def _tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _entries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _nothing_left(product: Path) -> None:
    assert not product.exists()
    assert not [path for path in product.parent.iterdir() if path.name.startswith(PART_PREFIX)]


def _make_safe(folder: Path, name: str = f"{NAME}.SAFE") -> Path:
    safe = folder / name
    (safe / "GRANULE" / "IMG").mkdir(parents=True)
    (safe / "manifest.safe").write_text("<xml/>")
    (safe / "GRANULE" / "IMG" / "B01.jp2").write_bytes(PIXELS)
    return safe


SAFE_FILES = {f"{NAME}.SAFE/manifest.safe", f"{NAME}.SAFE/GRANULE/IMG/B01.jp2"}


@pytest.fixture
def product(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job" / "product"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    """Serves the folder `served`; everything below `/busy/` is busy, below `/private/` refused."""

    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=503)

    async def private(request: web.Request) -> web.Response:
        return web.Response(status=403)

    (tmp_path / "served").mkdir()
    app = web.Application()
    app.router.add_get("/busy/{tail:.*}", busy)
    app.router.add_get("/private/{tail:.*}", private)
    app.router.add_static("/", tmp_path / "served")
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


def _zip_safe(source: Path, target: Path) -> None:
    safe = _make_safe(source)
    shutil.make_archive(str(target.with_suffix("")), "zip", source, safe.name)


def _zip_content(source: Path, target: Path) -> None:
    shutil.make_archive(str(target.with_suffix("")), "zip", _make_safe(source))


def _zip_renamed(source: Path, target: Path) -> None:
    safe = _make_safe(source, "another-name")
    shutil.make_archive(str(target.with_suffix("")), "zip", source, safe.name)


def _tar_safe(source: Path, target: Path) -> None:
    with tarfile.open(target, "w") as archive:
        archive.add(_make_safe(source), f"{NAME}.SAFE")


def _folder_safe(source: Path, target: Path) -> None:
    shutil.copytree(_make_safe(source), target)


SHAPES: list[tuple[str, Callable[[Path, Path], None]]] = [
    (f"{NAME}.SAFE", _folder_safe),
    (NAME, _folder_safe),
    (f"{NAME}.zip", _zip_safe),
    (f"{NAME}.zip", _zip_content),
    (f"{NAME}.zip", _zip_renamed),
    (f"{NAME}.SAFE.zip", _zip_safe),
    (f"{NAME}.tar", _tar_safe),
]


@pytest.mark.parametrize("pattern", ["archive", "archive/{YEAR}/{MONTH}/{DAY}", "archive/{TILE}"])
@pytest.mark.parametrize(("name", "make"), SHAPES)
async def test_local_products_come_out_as_safe(
    tmp_path: Path, product: Path, name: str, make: Callable[[Path, Path], None], pattern: str
) -> None:
    folder = tmp_path / pattern.format(YEAR="2019", MONTH="01", DAY="08", TILE="T48LWP")
    folder.mkdir(parents=True)
    (tmp_path / "made").mkdir()
    make(tmp_path / "made", folder / name)
    await _fetch(_settings({"mine": {"type": "local", "path": str(tmp_path / pattern)}}), _scene(), product)
    assert _tree(product) == SAFE_FILES
    assert (product / f"{NAME}.SAFE/GRANULE/IMG/B01.jp2").read_bytes() == PIXELS
    assert _entries(product) == [f"{NAME}.SAFE"]


async def test_a_local_original_cannot_be_changed_through_its_copy(tmp_path: Path, product: Path) -> None:
    safe = _make_safe(tmp_path)
    (safe / "linked.xml").symlink_to(safe / "manifest.safe")
    await _fetch(_settings({"mine": {"type": "local", "path": str(tmp_path)}}), _scene(), product)
    copy = product / safe.name
    for name in ("manifest.safe", "linked.xml"):
        (copy / name).write_text("changed")
    assert (safe / "manifest.safe").read_text() == "<xml/>"


async def test_a_product_that_is_no_safe_keeps_its_shape(tmp_path: Path, product: Path) -> None:
    name = "LC08_L2SP_005009_20150710_20200909_02_T1"
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / f"{name}_SR_B2.TIF").write_bytes(PIXELS)
    with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
        archive.add(tmp_path / "files", ".")
    await _fetch(_settings({"mine": {"type": "local", "path": str(tmp_path)}}), _scene(name), product)
    assert _tree(product) == {f"{name}_SR_B2.TIF"}


async def test_a_real_product(shared_data: Path, product: Path) -> None:
    archive = next((shared_data / "s2_imagery").glob("S2A_MSIL1C_*T48LWP*.zip"))
    name = archive.name.removesuffix(".zip").removesuffix(".SAFE")
    await _fetch(_settings({"mine": {"type": "local", "path": str(archive.parent)}}), _scene(name), product)
    assert _entries(product) == [f"{name}.SAFE"]
    assert any(file.endswith("MTD_MSIL1C.xml") for file in _tree(product))


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut", b"<html>please log in</html>"])
async def test_a_broken_local_archive_is_told(tmp_path: Path, product: Path, content: bytes) -> None:
    (tmp_path / f"{NAME}.zip").write_bytes(content)
    with pytest.raises(ThresherError, match=rf"mine: .*{NAME}\.zip") as caught:
        await _fetch(_settings({"mine": {"type": "local", "path": str(tmp_path)}}), _scene(), product)
    assert caught.value.kind is ErrorKind.ERROR
    _nothing_left(product)


@pytest.mark.parametrize("source_id", ["../../etc", "..", "a/b", "S2A_MSIL1C/../../x"])
async def test_a_scene_cannot_name_a_path(tmp_path: Path, product: Path, source_id: str) -> None:
    for provider in ({"type": "local", "path": str(tmp_path)}, {"type": "url", "url": "https://example.com/{SCENE}"}):
        with pytest.raises(ThresherError, match="cannot be part of a storage key"):
            await _fetch(_settings({"mine": provider}), _scene(source_id), product)
    _nothing_left(product)


async def test_a_product_from_a_pattern_of_a_server(tmp_path: Path, server: TestServer, product: Path) -> None:
    (tmp_path / "served" / "2019").mkdir()
    _zip_safe(tmp_path, tmp_path / "served" / "2019" / f"{NAME}.zip")
    # The operator names a loopback server: that is permission enough.
    settings = _settings({"there": {"type": "url", "url": str(server.make_url("/")) + "{YEAR}/{SCENE}.zip"}})
    seen = await _fetch(settings, _scene(), product)
    assert _tree(product) == SAFE_FILES
    assert {step for step, _ in seen} == {"download"}
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert seen[-1] == ("download", 1.0)


async def test_a_product_from_its_own_link(tmp_path: Path, server: TestServer, product: Path) -> None:
    _zip_safe(tmp_path, tmp_path / "served" / "product.zip")
    scene = _scene(download_link=str(server.make_url("/product.zip")))
    with pytest.raises(FatalError, match=r"limits\.allowed_urls"):
        await _fetch(_settings({"there": {"type": "url"}}), scene, product)
    _nothing_left(product)
    await _fetch(_settings({"there": {"type": "url"}}, limits={"allowed_urls": [str(server.make_url("/"))]}), scene, product)
    assert _tree(product) == SAFE_FILES


async def test_a_single_file_and_a_bucket(s3_settings: Settings, tmp_path: Path, product: Path) -> None:
    (tmp_path / "image.tif").write_bytes(_raster("GTiff"))
    stored = await open_storage(s3_settings.storage, s3_settings).put(tmp_path / "image.tif", "products/image.tif")
    settings = s3_settings.model_copy(update={"providers": _settings({"there": {"type": "url"}}).providers})
    await _fetch(settings, _scene(download_link=stored.uri), product)
    assert _tree(product) == {f"{NAME}.tif"}


@pytest.fixture
def assets(tmp_path: Path, server: TestServer) -> dict[str, AssetLink]:
    band = _raster("GTiff")
    contents = {
        "B02.tif": band,
        "B03.tif": _raster("GTiff", 1),
        "SCL.jp2": _raster("JP2OpenJPEG"),
        "meta.xml": b"<xml/>",
        "thumbnail.png": PIXELS,
    }
    for name, content in contents.items():
        (tmp_path / "served" / name).write_bytes(content)

    def link(name: str, media_type: str, **more: Any) -> AssetLink:
        return AssetLink(href=str(server.make_url(f"/{name}")), key=name.split(".")[0].lower(), media_type=media_type, **more)

    checksum = f"1220{hashlib.sha256(band).hexdigest()}"
    return {
        "B02": link("B02.tif", "image/tiff; application=geotiff", size=len(band), checksum=checksum, scale=0.0001, offset=-0.1, nodata=0),
        "B03": link("B03.tif", "image/tiff"),
        "SCL": link("SCL.jp2", "image/jp2"),
        "granule_metadata": link("meta.xml", "application/xml"),
        "thumbnail": link("thumbnail.png", "image/png"),
    }


@pytest.fixture
def served(server: TestServer) -> Settings:
    return _settings({"stac": {"type": "stac-asset"}}, limits={"allowed_urls": [str(server.make_url("/"))]})


async def test_the_assets_of_the_layers_and_their_manifest(served: Settings, assets: dict[str, AssetLink], product: Path) -> None:
    await _fetch(served, _scene(assets=assets, item="https://example.com/item"), product, ("B02", "SCL"))
    assert _tree(product) == {"B02.tif", "SCL.jp2", "product.json"}
    manifest = read_manifest(product)
    assert manifest is not None
    assert (manifest.source_id, manifest.item, set(manifest.assets)) == (NAME, "https://example.com/item", {"B02", "SCL"})
    band = manifest.assets["B02"]
    assert (band.file, band.href, band.key) == ("B02.tif", assets["B02"].href, "b02")
    assert (band.scale, band.offset, band.nodata) == (0.0001, -0.1, 0)
    assert (product / "B02.tif").read_bytes() == _raster("GTiff")


@pytest.mark.parametrize(
    ("layers", "config", "fetched"),
    [
        ((), {}, {"B02", "B03", "SCL", "granule_metadata"}),
        (("B02",), {"assets": "SCL, thumbnail"}, {"B02", "SCL", "thumbnail"}),
        (("NDVI", "B02"), {"assets": "B03"}, {"B02", "B03"}),
        ((), {"assets": "B03"}, {"B03"}),
        (("B02", "B02"), {"assets": "B02,"}, {"B02"}),
    ],
)
async def test_which_assets(
    served: Settings, assets: dict[str, AssetLink], product: Path, layers: tuple[str, ...], config: dict[str, str], fetched: set[str]
) -> None:
    await _fetch(served, _scene(assets=assets), product, layers, **config)
    manifest = read_manifest(product)
    assert manifest is not None
    assert set(manifest.assets) == fetched
    assert len(_tree(product)) == len(fetched) + 1


@pytest.mark.parametrize(("layers", "config"), [(("B02", "B99"), {}), (("B02",), {"assets": "B99"})])
async def test_a_layer_that_the_item_lacks_is_fatal(
    served: Settings, assets: dict[str, AssetLink], product: Path, layers: tuple[str, ...], config: dict[str, str]
) -> None:
    with pytest.raises(FatalError, match=r"no asset B99; it has B02, B03, SCL, granule_metadata, thumbnail"):
        await _fetch(served, _scene(assets=assets), product, layers, **config)
    _nothing_left(product)


async def test_one_bad_asset_spoils_the_product(served: Settings, assets: dict[str, AssetLink], product: Path, server: TestServer) -> None:
    bad = {**assets, "B03": assets["B03"].model_copy(update={"size": 1})}
    with pytest.raises(ThresherError, match="instead of the 1 ") as caught:
        await _fetch(served, _scene(assets=bad), product, ("B02", "B03", "SCL"))
    assert caught.value.kind is ErrorKind.ERROR
    _nothing_left(product)
    busy = {**assets, "B03": AssetLink(href=str(server.make_url("/busy/B03.tif")))}
    with pytest.raises(TemporaryError, match="is busy"):
        await _fetch(served, _scene(assets=busy), product, ("B02", "B03", "SCL"))
    _nothing_left(product)


@pytest.mark.parametrize("layer", ["../evil", "a/b", "product", "x" * 300])
async def test_an_asset_cannot_name_a_path(served: Settings, assets: dict[str, AssetLink], product: Path, layer: str) -> None:
    hostile = {layer: AssetLink(href=assets["B02"].href.replace("B02.tif", "x.json"))}
    with pytest.raises(FatalError):
        await _fetch(served, _scene(assets=hostile), product, (layer,))
    _nothing_left(product)


async def test_the_first_provider_that_can_is_taken(tmp_path: Path, server: TestServer, product: Path) -> None:
    _make_safe(tmp_path)
    url = str(server.make_url("/busy/")) + "{SCENE}.zip"
    settings = _settings(
        {
            "slow": {"type": "url", "url": url, "priority": 10},
            "mine": {"type": "local", "path": str(tmp_path), "priority": 5},
            "radar": {"type": "url", "url": url, "priority": 50, "constellations": ["sentinel1"]},
        }
    )
    providers = open_providers(settings, NAME)
    assert [provider.name for provider in providers] == ["slow", "mine"]
    assert [provider.name for provider in open_providers(settings, "unheard of")] == ["slow", "mine"]
    assert await fetch_product(providers, ProductRequest(_scene(), lambda *_: None), product) == "mine"
    assert _tree(product) == SAFE_FILES


async def test_every_provider_tells_its_reason(tmp_path: Path, server: TestServer, product: Path) -> None:
    def provider(path: str) -> dict[str, Any]:
        return {"type": "url", "url": str(server.make_url(path)) + "{SCENE}.zip"}

    empty: dict[str, Any] = {"type": "local", "path": str(tmp_path / "not")}
    cases: list[tuple[dict[str, dict[str, Any]], ErrorKind]] = [
        ({"a": provider("/busy/"), "b": provider("/busy/2/")}, ErrorKind.TEMPORARY),
        ({"a": provider("/busy/"), "b": empty}, ErrorKind.TEMPORARY),
        ({"a": provider("/busy/"), "b": provider("/private/")}, ErrorKind.ERROR),
        ({"a": provider("/missing/"), "b": empty}, ErrorKind.ERROR),
        ({"a": {"type": "stac-asset"}, "b": empty}, ErrorKind.ERROR),
        ({"a": provider("/private/")}, ErrorKind.ERROR),
    ]
    for providers, kind in cases:
        with pytest.raises(ThresherError) as caught:
            await _fetch(_settings(providers), _scene(), product)
        message = str(caught.value)
        assert caught.value.kind is kind, message
        assert message.startswith(f"{NAME} could not be fetched: ")
        assert all(f"{name}: " in message for name in providers), message
        _nothing_left(product)


async def test_without_configuration_the_links_of_the_scene_are_followed(tmp_path: Path, product: Path) -> None:
    _make_safe(tmp_path)
    shutil.make_archive(str(tmp_path / "p"), "zip", tmp_path, f"{NAME}.SAFE")
    settings = Settings.model_validate({"limits": {"allowed_urls": [str(tmp_path)]}})
    await _fetch(settings, _scene(download_link=str(tmp_path / "p.zip")), product)
    assert _tree(product) == SAFE_FILES


async def test_nothing_fits(tmp_path: Path, product: Path) -> None:
    settings = _settings({"radar": {"type": "local", "path": str(tmp_path), "constellations": ["sentinel-1"]}})
    with pytest.raises(ThresherError, match=r"no provider is configured for S2A"):
        await _fetch(settings, _scene(), product)
    with pytest.raises(ThresherError, match=r"the folder '/x/\{TILE\}' cannot be found") as caught:
        await _fetch(_settings({"m": {"type": "local", "path": "/x/{TILE}"}}), _scene("plain-name"), product)
    assert not isinstance(caught.value, NotOfferedError)


def test_wrong_configuration_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"providers\.m\.path"):
        open_providers(_settings({"m": {"type": "local"}}), NAME)
    with pytest.raises(ConfigurationError, match=r"providers\.m\.constellations.*sentinel9"):
        open_providers(_settings({"m": {"type": "url", "constellations": ["sentinel9"]}}), NAME)
