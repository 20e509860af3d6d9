"""Every provider against a server that behaves as the documentation of its service says; those of S3 against a real S3 server."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fixtures_s3 import ACCESS_KEY, SECRET_KEY, S3Server
from service_server import PASSWORD, USER, ServiceServer, odata_document

from common.config import Settings
from common.errors import ConfigurationError, ErrorKind, FatalError, TemporaryError, ThresherError
from common.features import AssetLink, SceneMetadata
from common.messages import SceneRef
from common.product import read_manifest
from common.storage.s3 import client_for
from downloader.members import Members
from downloader.providers import ProductRequest, check_providers, fetch_product, open_providers
from downloader.providers.odata import ODataProduct
from downloader.providers.registry import PROVIDERS
from downloader.shared import Shared
from downloader.transfer import Policy

S1 = "S1A_IW_SLC__1SDV_20250406T022008_20250406T022035_058630_07421F_93A7"
S2 = "S2A_MSIL1C_20190108T034121_N0207_R061_T48LWP_20190108T064531"
LANDSAT = "LC08_L2SP_005009_20150710_20200908_02_T2"
BIG = os.urandom(2 * 2**20)


def _manifest(files: dict[str, bytes]) -> bytes:
    entries = "".join(
        f'<dataObject ID="d{number}"><byteStream size="{len(content)}"><fileLocation locatorType="URL" href="./{name}"/>'
        f'<checksum checksumName="MD5">{hashlib.md5(content).hexdigest()}</checksum></byteStream></dataObject>'
        for number, (name, content) in enumerate(files.items())
    )
    return f'<x:XFDU xmlns:x="urn:ccsds:schema:xfdu:1"><dataObjectSection>{entries}</dataObjectSection></x:XFDU>'.encode()


def _files() -> dict[str, bytes]:
    """What an SLC holds, by its paths."""
    files = {f"annotation/s1a-iw1-slc-{p}.xml": f"<product>{p}</product>".encode() * 50 for p in ("vv", "vh")}
    files |= {f"annotation/calibration/calibration-{p}.xml": b"<calibration/>" for p in ("vv", "vh")}
    files |= {f"measurement/s1a-iw1-slc-{p}.bin": p.encode() + BIG for p in ("vv", "vh")}
    return {"manifest.safe": _manifest(files), **files}


FILES = _files()
WANTED = ("annotation/*", "measurement/*vv*")


def _zip(name: str = S1, files: dict[str, bytes] = FILES) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(f"{name}.SAFE/{path}", content)
    return target.getvalue()


ZIP = _zip()


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr("downloader.providers.base.policy_of", lambda _: Policy(retries=1, backoff_s=0.01, connections=4))
    for name, value in (("USERNAME", USER), ("PASSWORD", PASSWORD), ("TOKEN", "token-of-earthdata")):
        monkeypatch.setenv(f"THRESHER_ACCOUNT_MINE_{name}", value)
    monkeypatch.setenv("THRESHER_ACCOUNT_KEYS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("THRESHER_ACCOUNT_KEYS_SECRET_KEY", SECRET_KEY)


@pytest.fixture
async def server() -> AsyncIterator[ServiceServer]:
    server = ServiceServer()
    yield server
    if server.server is not None:
        await server.close()


@pytest.fixture
def product(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job" / "product"


def _scene(source_id: str = S1, **metadata: Any) -> SceneRef:
    return SceneRef(
        id=1, source_id=source_id, aoi="A", date=datetime(2025, 4, 6, tzinfo=UTC), metadata=SceneMetadata.model_validate(metadata)
    )


async def _fetch(settings: dict[str, Any], scene: SceneRef, folder: Path, *members: str, shared: Shared | None = None) -> None:
    loaded = Settings.model_validate(settings)
    shared = shared or Shared(loaded)
    check_providers(loaded, shared)
    request = ProductRequest(scene, lambda *_: None, members=Members(members))
    await fetch_product(open_providers(loaded, scene.source_id, shared), request, folder, shared)


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _safe(name: str = S1, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"{name}.SAFE/{path}": content for path, content in files.items()}


def _wanted() -> dict[str, bytes]:
    return _safe(files={path: content for path, content in FILES.items() if "measurement" not in path or "vv" in path})


async def _copernicus(server: ServiceServer, kind: str = "copernicus", **document: Any) -> dict[str, Any]:
    server.add_tokens()
    server.add_odata({S1: (odata_document(f"{S1}.SAFE", ZIP, **document), ZIP, FILES)})
    url = await server.start()
    return {
        "accounts": {"mine": {"type": "oidc", "origins": [url], "token_url": f"{url}/token", "client_id": "public"}},
        "providers": {"there": {"type": kind, "account": "mine", "url": f"{url}/odata/v1", "catalogue_url": f"{url}/odata/v1"}},
    }


@pytest.mark.parametrize("kind", ["copernicus", "creodias"])
async def test_copernicus_products_come_whole(server: ServiceServer, product: Path, kind: str) -> None:
    settings = await _copernicus(server, kind)
    await _fetch(settings, _scene(), product)
    assert _tree(product) == _safe()
    assert server.grants == {"password": 1}
    assert server.sent == len(ZIP)


async def test_of_copernicus_products_only_the_wanted_nodes_come(server: ServiceServer, product: Path) -> None:
    settings = await _copernicus(server)
    await _fetch(settings, _scene(), product, *WANTED)
    assert _tree(product) == _wanted()
    assert server.sent == sum(map(len, _wanted().values()))
    assert not server.paths("/Nodes(measurement)/Nodes(s1a-iw1-slc-vh.bin)/$value")


async def test_a_checksum_of_the_catalogue_is_kept_to_unless_it_is_not_trusted(server: ServiceServer, product: Path) -> None:
    settings = await _copernicus(server, Checksum=[{"Value": "0" * 32, "Algorithm": "MD5"}])
    with pytest.raises(ThresherError, match="md5"):
        await _fetch(settings, _scene(), product)
    assert not product.exists()
    settings["providers"]["there"]["verify_checksum"] = False
    await _fetch(settings, _scene(), product)
    assert _tree(product) == _safe()


@pytest.mark.parametrize(("orders", "note"), [(200, r"is ordered \(queued\)"), (404, "takes no orders"), (405, "cannot be ordered")])
async def test_an_offline_product_is_ordered_and_left_for_later(server: ServiceServer, product: Path, orders: int, note: str) -> None:
    server.add_tokens()
    document = odata_document(f"{S1}.SAFE", ZIP, Online=False)
    server.add_odata({S1: (document, ZIP, FILES)}, orders=orders)
    url = await server.start()
    settings: dict[str, Any] = {
        "accounts": {"mine": {"type": "oidc", "origins": [url], "token_url": f"{url}/token", "client_id": "public"}},
        "providers": {
            "there": {"type": "copernicus", "account": "mine", "url": f"{url}/odata/v1", "catalogue_url": f"{url}/odata/v1", "failures": 1}
        },
    }
    shared = Shared(Settings.model_validate(settings))
    for _ in range(2):  # it is no failure of the provider
        with pytest.raises(TemporaryError, match=f"offline: .*{note}") as caught:
            await _fetch(settings, _scene(), product, shared=shared)
        assert caught.value.retry_after_s == 1800
    assert [(method, path.rpartition("/")[2]) for method, path, _ in server.seen if "OData.CSC" in path] == [
        ("POST", "OData.CSC.Order")
    ] * 2
    document["Online"] = True
    await _fetch(settings, _scene(), product, shared=shared)
    assert _tree(product) == _safe()
    document["Online"] = False
    settings["providers"]["there"]["order"] = False
    with pytest.raises(ThresherError, match="not ordered"):
        await _fetch(settings, _scene(), product.with_name("other"))


async def test_a_product_the_catalogue_does_not_know(server: ServiceServer, product: Path) -> None:
    settings = await _copernicus(server)
    with pytest.raises(ThresherError, match=f"does not know {S2}") as caught:
        await _fetch(settings, _scene(S2), product)
    assert caught.value.kind is ErrorKind.ERROR


def test_recorded_answers_of_copernicus_are_understood(shared_data: Path) -> None:
    recorded = json.loads((shared_data / "cdse_odata" / "terradue_odata_s1grd_20.json").read_text())["value"]
    products = [ODataProduct.model_validate(entry) for entry in recorded]
    assert len(products) == 20
    for entry, found in zip(recorded, products, strict=True):
        expected = found.expectation(with_checksums=True)
        assert (found.online, found.place, expected.size) == (True, entry["S3Path"], entry["ContentLength"])
        assert {checksum.algorithm for checksum in expected.checksums} == {"md5", "blake3"}


def _bucket(s3_server: S3Server, bucket: str, objects: dict[str, bytes]) -> None:
    client = client_for(s3_server.settings)
    for key, content in objects.items():
        client.put_object(Bucket=bucket, Key=key, Body=content)


def _s3(s3_server: S3Server, kind: str, **provider: Any) -> dict[str, Any]:
    there = {"type": kind, "endpoint_url": s3_server.endpoint_url, "region": "us-east-1", "account": "keys", **provider}
    return {"accounts": {"keys": {"type": "s3", "origins": [s3_server.endpoint_url]}}, "providers": {"there": there}}


@pytest.mark.parametrize(("members", "expected"), [((), _safe()), (WANTED, _wanted())])
async def test_copernicus_products_in_their_bucket(
    s3_server: S3Server,
    s3_bucket: str,
    product: Path,
    monkeypatch: pytest.MonkeyPatch,
    members: tuple[str, ...],
    expected: dict[str, bytes],
) -> None:
    _bucket(s3_server, s3_bucket, {f"Sentinel-1/SAR/{S1}.SAFE/{path}": content for path, content in FILES.items()})
    _bucket(s3_server, s3_bucket, {f"Sentinel-1/SAR/{S1}.SAFE.other/x": b""})
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    scene = _scene(s3_path=f"/{s3_bucket}/Sentinel-1/SAR/{S1}.SAFE")
    await _fetch(_s3(s3_server, "copernicus-s3"), scene, product, *members)
    assert _tree(product) == expected
    with pytest.raises(ThresherError, match="holds nothing"):
        await _fetch(_s3(s3_server, "copernicus-s3"), _scene(s3_path=f"/{s3_bucket}/Sentinel-2/x"), product.with_name("other"))


async def test_a_bucket_that_lacks_a_file_of_the_manifest(s3_server: S3Server, s3_bucket: str, product: Path) -> None:
    _bucket(s3_server, s3_bucket, {f"p/{path}": content for path, content in FILES.items() if "vh.bin" not in path})
    with pytest.raises(ThresherError, match=r"lacks .*measurement/s1a-iw1-slc-vh\.bin"):
        await _fetch(_s3(s3_server, "copernicus-s3"), _scene(s3_path=f"/{s3_bucket}/p"), product)
    _bucket(s3_server, s3_bucket, {"p/measurement/s1a-iw1-slc-vh.bin": b"x" * (len(BIG) + 2)})
    with pytest.raises(ThresherError, match="md5"):
        await _fetch(_s3(s3_server, "copernicus-s3"), _scene(s3_path=f"/{s3_bucket}/p"), product)
    assert not product.exists()


async def test_the_place_in_the_bucket_is_looked_up(s3_server: S3Server, s3_bucket: str, server: ServiceServer, product: Path) -> None:
    _bucket(s3_server, s3_bucket, {f"p/{path}": content for path, content in FILES.items()})
    server.add_odata({S1: (odata_document(f"{S1}.SAFE", ZIP, S3Path=f"/{s3_bucket}/p"), ZIP, FILES)})
    url = await server.start()
    await _fetch(_s3(s3_server, "copernicus-s3", catalogue_url=f"{url}/odata/v1"), _scene(), product)
    assert _tree(product) == _safe()
    assert {authorization for *_, authorization in server.seen} == {""}


async def test_landsat_as_usgs_keeps_it(s3_server: S3Server, product: Path) -> None:
    client = client_for(s3_server.settings)
    client.create_bucket(Bucket="usgs-landsat")
    files = {f"{LANDSAT}_{name}": name.encode() for name in ("MTL.json", "QA_PIXEL.dat")}
    _bucket(
        s3_server, "usgs-landsat", {f"collection02/level-2/standard/oli-tirs/2015/005/009/{LANDSAT}/{name}": c for name, c in files.items()}
    )
    payers: list[Any] = []
    keys = Shared(Settings.model_validate(_s3(s3_server, "aws-s3", requester_pays=True)))
    provider = Settings.model_validate(_s3(s3_server, "aws-s3", requester_pays=True)).providers["there"]
    keys.s3_client(provider).meta.events.register(
        "before-send.s3", lambda request, **_: payers.append(request.headers.get("x-amz-request-payer"))
    )
    await _fetch(_s3(s3_server, "aws-s3"), _scene(LANDSAT), product)
    assert _tree(product) == files
    assert {bytes(payer).decode() if isinstance(payer, bytes) else payer for payer in payers} == {"requester"}
    await _fetch(_s3(s3_server, "aws-s3"), _scene(LANDSAT), product.with_name("some"), "*MTL*")
    assert set(_tree(product.with_name("some"))) == {f"{LANDSAT}_MTL.json"}


async def test_sentinel2_as_sinergise_keeps_it(s3_server: S3Server, product: Path) -> None:
    client = client_for(s3_server.settings)
    client.create_bucket(Bucket="sentinel-s2-l1c")
    granule = "GRANULE/L1C_T48LWP_A018515_20190108T035325"
    safe = {
        "MTD_MSIL1C.xml": b"<product/>",
        "INSPIRE.xml": b"<inspire/>",
        f"{granule}/MTD_TL.xml": b"<tile/>",
        f"{granule}/IMG_DATA/T48LWP_20190108T034121_B02.bin": b"",
        f"{granule}/AUX_DATA/AUX_ECMWFT": b"grib",
        f"{granule}/QI_DATA/MSK_CLOUDS_B00.gml": b"<mask/>",
        "DATASTRIP/DS_SGS__20190108T064531/MTD_DS.xml": b"<datastrip/>",
    }
    del safe[f"{granule}/IMG_DATA/T48LWP_20190108T034121_B02.bin"]
    manifest = _manifest(safe)
    whole, tile = f"products/2019/1/8/{S2}/", "tiles/48/L/WP/2019/1/8/0/"
    objects = {
        f"{whole}manifest.safe": manifest,
        f"{whole}productInfo.json": json.dumps({"name": S2, "tiles": [{"path": tile.rstrip("/")}]}).encode(),
        f"{whole}metadata.xml": safe["MTD_MSIL1C.xml"],
        f"{whole}inspire.xml": safe["INSPIRE.xml"],
        f"{whole}datastrip/0/metadata.xml": b"<datastrip/>",
        f"{tile}metadata.xml": b"<tile/>",
        f"{tile}auxiliary/ECMWFT": b"grib",
        f"{tile}qi/MSK_CLOUDS_B00.gml": b"<mask/>",
        f"{tile}tileInfo.json": b"{}",
    }
    _bucket(s3_server, "sentinel-s2-l1c", objects)
    await _fetch(_s3(s3_server, "aws-s3"), _scene(S2), product)
    assert _tree(product) == _safe(S2, {"manifest.safe": manifest, **safe})
    image = f"{granule}/IMG_DATA/T48LWP_20190108T034121_B02.jp2"
    _bucket(s3_server, "sentinel-s2-l1c", {f"{whole}manifest.safe": _manifest({**safe, image: b"x"})})
    with pytest.raises(ThresherError, match=r"the image .*B02\.jp2 is not in"):
        await _fetch(_s3(s3_server, "aws-s3"), _scene(S2), product.with_name("other"))
    with pytest.raises(ThresherError, match="does not exist"):
        await _fetch(_s3(s3_server, "aws-s3"), _scene(S2.replace("2019", "2018")), product.with_name("other"))


@pytest.mark.parametrize(
    "pattern", ["gs://bucket/tiles/{LATITUDE_BAND}/{GRID_SQUARE}/{GRANULE_ID}/{SCENE}.SAFE", "gs://bucket/tiles/*/{SCENE}*"]
)
async def test_open_buckets_of_google(server: ServiceServer, product: Path, pattern: str) -> None:
    files = {"manifest.safe": _manifest({"a/b.bin": b"b"}), "a/b.bin": b"b"}
    objects = {f"tiles/48/L/WP/{S2}.SAFE/{path}": content for path, content in files.items()}
    server.add_google({**objects, f"tiles/48/L/WP/{S2}.SAFE/a_$folder$": b"", "tiles/48/L/WP/other.SAFE/x": b""}, page=2)
    url = await server.start()
    settings = {"providers": {"there": {"type": "gcs", "url": pattern, "endpoint_url": url}}}
    await _fetch(settings, _scene(S2), product)
    assert _tree(product) == _safe(S2, files)
    with pytest.raises(ThresherError, match="does not exist"):
        await _fetch(settings, _scene(S2.replace("WP", "XP")), product.with_name("other"))


@pytest.mark.parametrize(("members", "most"), [((), len(ZIP)), (WANTED, len(ZIP) * 2 // 3)], ids=["all", "some"])
async def test_an_archive_in_a_bucket_of_google(server: ServiceServer, product: Path, members: tuple[str, ...], most: int) -> None:
    server.add_google({f"{S1}.zip": ZIP})
    url = await server.start()
    await _fetch(
        {"providers": {"there": {"type": "gcs", "url": "gs://bucket/{SCENE}.zip", "endpoint_url": url}}}, _scene(), product, *members
    )
    assert _tree(product) == (_wanted() if members else _safe())
    assert server.sent <= most


async def _asf(server: ServiceServer, earthdata: ServiceServer, other: ServiceServer, *, kind: str) -> dict[str, Any]:
    """The data pool leads to the login, the login back with a cookie, and then to a signed link elsewhere."""

    async def pool(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == "Bearer token-of-earthdata" or request.cookies.get("asf-urs") == "in":
            raise web.HTTPTemporaryRedirect(f"{away}/signed/{S1}.zip?Signature=x")
        if request.headers.get("Authorization"):
            return web.Response(status=401)
        raise web.HTTPFound(f"{login}/oauth/authorize")

    async def authorize(request: web.Request) -> web.StreamResponse:
        if not request.headers.get("Authorization", "").startswith("Basic "):
            return web.Response(status=401)
        raise web.HTTPFound(f"{here}/login?code=1")

    async def login_(request: web.Request) -> web.StreamResponse:
        answer = web.HTTPFound(f"{here}/SLC/SA/{S1}.zip")
        answer.set_cookie("asf-urs", "in")
        raise answer

    async def signed(request: web.Request) -> web.StreamResponse:
        return other.file(ZIP, request) if not request.headers.get("Authorization") else web.Response(status=400)

    server.app.router.add_get("/SLC/{tail:.*}", pool)
    server.app.router.add_get("/login", login_)
    other.app.router.add_get("/signed/{tail:.*}", signed)
    earthdata.app.router.add_get("/oauth/authorize", authorize)
    here, login, away = await server.start(), await earthdata.start(), await other.start()
    account = {"type": "bearer", "origins": [here]} if kind == "bearer" else {"type": "basic", "origins": [login]}
    return {
        "accounts": {"mine": account},
        "limits": {"allowed_urls": [f"{away}/", f"{login}/"]},
        "providers": {"there": {"type": "asf", "account": "mine", "url": here + "/{KIND}/S{MISSION_VERSION}/{SCENE}.zip"}},
    }


@pytest.mark.parametrize("kind", ["bearer", "basic"])
@pytest.mark.parametrize("members", [(), WANTED])
async def test_asf_after_the_login(product: Path, kind: str, members: tuple[str, ...]) -> None:
    server, earthdata, other = (ServiceServer(host="localhost") for _ in range(3))
    try:
        settings = await _asf(server, earthdata, other, kind=kind)
        await _fetch(settings, _scene(), product, *members)
        assert _tree(product) == (_wanted() if members else _safe())
        assert {authorization for *_, authorization in other.seen} == {""}
        if kind == "basic":
            assert {authorization for *_, authorization in server.seen} == {""}
            assert len(earthdata.seen) == 1  # the cookie does for the rest
        with pytest.raises(ThresherError, match="neither an SLC nor a GRD"):
            await _fetch(settings, _scene(S2), product.with_name("other"))
    finally:
        for each in (server, earthdata, other):
            await each.close()


async def test_assets_of_the_planetary_computer_are_signed(server: ServiceServer, product: Path) -> None:
    server.add_signing({"B02.nc": b"two", "B03.nc": b"three"})
    url = await server.start()
    assets = {name: AssetLink(href=f"{url}/container/{name}.nc", media_type="application/netcdf") for name in ("B02", "B03")}
    settings = {
        "accounts": {"mine": {"preset": "planetary-computer", "origins": [url], "token_url": f"{url}/sas"}},
        "limits": {"allowed_urls": [url]},
        "providers": {"there": {"type": "planetary-computer", "account": "mine"}},
    }
    await _fetch(settings, _scene(S2, assets=assets), product)
    manifest = read_manifest(product)
    assert manifest is not None
    assert {name: (product / asset.file).read_bytes() for name, asset in manifest.assets.items()} == {"B02": b"two", "B03": b"three"}
    assert "sig=" not in (product / "product.json").read_text()
    assert server.grants == {"sas": 1}
    await _fetch(settings, _scene(S2, assets=assets), product.with_name("some"), "B03")
    assert set(_tree(product.with_name("some"))) == {"B03.nc", "product.json"}


@pytest.mark.parametrize("ranges", [True, False])
async def test_members_of_an_archive_at_a_link(server: ServiceServer, product: Path, ranges: bool) -> None:
    async def get(request: web.Request) -> web.StreamResponse:
        if ranges:
            return server.file(ZIP, request)
        server.sent += len(ZIP)
        return web.Response(body=ZIP)

    server.app.router.add_get("/{name}", get)
    url = await server.start()
    settings = {"providers": {"there": {"type": "url", "url": url + "/{SCENE}.zip"}}}
    await _fetch(settings, _scene(), product, *WANTED)
    assert _tree(product) == _wanted()
    needed = sum(len(content) for path, content in FILES.items() if "vv.bin" in path)
    if ranges:
        assert needed <= server.sent < needed + 200_000
    with pytest.raises(FatalError, match="product_members"):
        await _fetch(settings, _scene(), product.with_name("other"), "measurment/*")


async def test_members_of_an_archive_in_a_bucket(s3_server: S3Server, s3_bucket: str, product: Path) -> None:
    _bucket(s3_server, s3_bucket, {f"{S1}.zip": ZIP})
    await _fetch(_s3(s3_server, "url", url=f"s3://{s3_bucket}/{{SCENE}}.zip"), _scene(), product, *WANTED)
    assert _tree(product) == _wanted()


@pytest.mark.parametrize("shape", ["folder", "archive"])
async def test_members_of_a_local_product(tmp_path: Path, product: Path, shape: str) -> None:
    if shape == "archive":
        (tmp_path / f"{S1}.zip").write_bytes(ZIP)
    for path, content in FILES.items() if shape == "folder" else ():
        target = tmp_path / f"{S1}.SAFE" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    settings = {"providers": {"mine": {"type": "local", "path": str(tmp_path)}}}
    await _fetch(settings, _scene(), product, *WANTED)
    assert _tree(product) == _wanted()


async def test_a_provider_that_keeps_failing_is_left_alone(server: ServiceServer, product: Path) -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    server.app.router.add_get("/{name}", busy)
    url = await server.start()
    settings = {"providers": {"there": {"type": "url", "url": url + "/{SCENE}.zip", "failures": 2, "pause_s": 500}}}
    shared = Shared(Settings.model_validate(settings))
    for _ in range(2):
        with pytest.raises(TemporaryError, match="busy"):
            await _fetch(settings, _scene(), product, shared=shared)
    asked = len(server.seen)
    with pytest.raises(TemporaryError, match=r"left alone for .* after 2 failures") as caught:
        await _fetch(settings, _scene(), product, shared=shared)
    assert caught.value.retry_after_s == pytest.approx(500, abs=5)
    assert len(server.seen) == asked


def test_what_cannot_work_is_told_before_any_product() -> None:
    for provider, message in (
        ({"type": "sentinel-hub"}, f"type.*{', '.join(PROVIDERS)}"),
        ({"type": "gcs"}, "gs://bucket"),
        ({"type": "copernicus", "account": "nobody"}, r"\[accounts\.nobody\]"),
    ):
        settings = Settings.model_validate({"providers": {"there": provider}})
        with pytest.raises(ConfigurationError, match=message):
            check_providers(settings, Shared(settings))
