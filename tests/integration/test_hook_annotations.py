"""Annotations in the source of an order, with its login: out of a STAC item or its archive, an OData product or its nodes, a bucket."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fixtures_s3 import ACCESS_KEY, SECRET_KEY, S3Server
from order_source import CLIENT, PASSWORD, USER, Listed, OrderSource

from catalogue.hook.annotations import OrderAnnotations
from catalogue.hook.finders import ODataFinder, StacFinder
from catalogue.hook.source_http import SourceReader
from catalogue.sentinel1.annotations.files import AnnotationError, AnnotationFile, parse_scene
from catalogue.sentinel1.annotations.http import HttpLimits
from catalogue.sentinel1.annotations.sources import Wanted
from common.order_access import BucketLogin, Login, OrderAccess
from common.storage.s3 import client_for

SLC = "S1A_IW_SLC__1SDV_20250406T022008_20250406T022035_058630_07421F_93A7"
NAMES = [
    f"s1a-iw{number}-slc-{way}-20250406t022009-20250406t022034-058630-07421f-00{number}.xml" for number in (1, 2) for way in ("vh", "vv")
]
FILES = {
    **{f"annotation/{name}": f"<product>{name}</product>".encode() for name in NAMES},
    **{f"annotation/calibration/calibration-{name}": b"<calibration/>" for name in NAMES},
    "measurement/image.tiff": os.urandom(2**20),
    "manifest.safe": b"<manifest/>",
}


def archive(name: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as packed:
        for path, content in FILES.items():
            packed.writestr(f"{name}.SAFE/{path}", content)
    return target.getvalue()


async def read(source: OrderSource, access: OrderAccess, link: str = "") -> list[AnnotationFile]:
    allowed = ["https://", "s3://", source.url, *filter(None, [link]), *([access.bucket.endpoint_url] if access.bucket else [])]
    async with SourceReader(allowed, access.login, access.origins) as reader:
        finder = StacFinder(reader, access.url) if access.kind == "stac" else ODataFinder(reader, access.url)
        scene = await finder.named(SLC, "")
    assert scene is not None
    if link:
        metadata = scene.data.metadata.model_copy(update={"download_link": link})
        scene = scene.model_copy(update={"data": scene.data.model_copy(update={"metadata": metadata})})
    source.seen.clear()
    annotations = OrderAnnotations([scene], access, allowed, HttpLimits(retries=1, wait_s=0.01))
    return await annotations.read(Wanted(parse_scene(SLC), scene.data.metadata.uuid, "order:1:1"))


def access_to(source: OrderSource, kind: str, **more: object) -> OrderAccess:
    login = Login(token_url=source.token_url, username=USER, password=PASSWORD, client_id=CLIENT)
    url = f"{source.url}/stac" if kind == "stac" else f"{source.url}/odata/v1"
    return OrderAccess.model_validate({"kind": kind, "url": url, "login": login, "origins": [source.url], **more})


@pytest.mark.parametrize(
    ("kind", "way"),
    [("stac", "archive"), ("stac", "files"), ("odata", "nodes"), ("odata", "archive")],
)
async def test_annotations_without_the_product(kind: str, way: str) -> None:
    listed = {SLC: Listed(SLC)}
    async with OrderSource(listed, pack=archive, in_files=way == "files", in_nodes=way == "nodes", in_ranges=way == "archive") as source:
        found = await read(source, access_to(source, kind))
        assert [file.name for file in found] == sorted(NAMES)
        assert all(file.content == FILES[f"annotation/{file.name}"] for file in found)
        asked = [(path, shown) for _, path, shown in source.seen if not path.startswith("/auth")]
        assert asked, "nothing was kept from before"
        assert all(shown.removeprefix("Bearer ") in source.tokens for _, shown in asked), "with the login of the order"
        if way == "archive":
            assert 0 < sum(stop - start for start, stop in source.ranges) < 2**19, "of a product of 1 MB"
        else:
            assert not [path for path, _ in asked if "image.tiff" in path or "calibration-" in path]


async def test_annotations_in_a_bucket(s3_server: S3Server) -> None:
    client = client_for(s3_server.settings)
    with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket="eodata")
    for path, content in FILES.items():
        client.put_object(Bucket="eodata", Key=f"Sentinel/{SLC}.SAFE/{path}", Body=content)
    async with OrderSource({SLC: Listed(SLC)}, pack=archive) as source:
        bucket = BucketLogin(endpoint_url=s3_server.endpoint_url, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        found = await read(source, access_to(source, "odata", bucket=bucket))
        assert [file.name for file in found] == sorted(NAMES)
        assert not source.seen, "the catalogue has been asked before"
        wrong = bucket.model_copy(update={"access_key": "nobody", "secret_key": "key-that-is-wrong-81c2"})
        with pytest.raises(AnnotationError) as caught:
            await read(source, access_to(source, "odata", bucket=wrong))
        assert "nobody" not in str(caught.value)
        assert wrong.secret_key not in str(caught.value)


async def test_what_a_source_does_not_give() -> None:
    async with OrderSource({SLC: Listed(SLC)}, pack=lambda _: b"no archive") as source:
        with pytest.raises(AnnotationError, match="is neither a zip"):
            await read(source, access_to(source, "stac"))
        # The token is shown to none but the servers it is for.
        elsewhere = access_to(source, "odata", origins=["https://elsewhere.example"])
        with pytest.raises(AnnotationError, match="refuses access"):
            await read(source, elsewhere)


async def test_a_server_that_repeats_what_it_was_sent() -> None:
    """The token stands in no message."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(status=418, reason=f"I got {request.headers.get('Authorization')}")

    async with OrderSource({SLC: Listed(SLC)}) as source:
        app = web.Application()
        app.router.add_get("/{path:.*}", echo)
        async with TestServer(app) as server:
            access = access_to(source, "stac", origins=[source.url, str(server.make_url("")).rstrip("/")])
            with pytest.raises(AnnotationError, match=r"HTTP 418 I got Bearer \*\*\*") as caught:
                await read(source, access, str(server.make_url("/product.zip")))
            assert not [token for token in source.tokens if token in str(caught.value)]
