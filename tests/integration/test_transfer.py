"""Transfers from a real server on loopback that behaves badly in every way servers do, and from a real bucket."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from common.config import Settings
from common.errors import ErrorKind, MissingFileError, StorageError, ThresherError, UserError
from common.resolver import GuardedResolver
from common.storage import open_storage
from common.storage.s3 import client_for
from downloader.transfer import Expectation, Policy, Transfer

CONTENT = os.urandom(9 * 2**20 + 11)
SHA256 = f"1220{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"d50110{hashlib.md5(CONTENT).hexdigest()}"
POLICY = Policy(timeout_s=1, retries=1, backoff_s=0.01)


def _status(status: int, **headers: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, text="not the file")

    return handle


async def _file(request: web.Request) -> web.Response:
    return web.Response(body=CONTENT)


async def _empty(request: web.Request) -> web.Response:
    return web.Response(body=b"")


async def _any_status(request: web.Request) -> web.Response:
    return await _status(int(request.match_info["status"]))(request)


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = len(CONTENT)
    await response.prepare(request)
    await response.write(CONTENT[: 6 * 2**20])
    assert request.transport is not None
    request.transport.abort()
    return response


async def _cut_chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(CONTENT[:1000])
    assert request.transport is not None
    request.transport.abort()
    return response


async def _chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(CONTENT)
    return response


async def _silent(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = len(CONTENT)
    await response.prepare(request)
    await response.write(CONTENT[:1000])
    await asyncio.sleep(60)
    return response


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    while True:
        await response.write(bytes(2**20))


async def _hello(request: web.Request) -> web.Response:
    return web.json_response(dict(request.headers))


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    app = web.Application()
    routes: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
        "/file": _file,
        "/empty": _empty,
        "/cut": _cut,
        "/cut-chunked": _cut_chunked,
        "/chunked": _chunked,
        "/silent": _silent,
        "/endless": _endless,
        "/hello": _hello,
        "/to-file": _status(302, Location="file"),
        "/to-private": _status(302, Location="http://169.254.169.254/latest/meta-data"),
        "/to-disk": _status(302, Location="file:///etc/passwd"),
        "/to-itself": _status(302, Location="/to-itself"),
        "/to-nowhere": _status(302),
    }
    for path, handler in routes.items():
        app.router.add_get(path, handler)
    app.router.add_get("/status/{status}", _any_status)
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


@pytest.fixture
async def transfer(server: TestServer) -> AsyncIterator[Transfer]:
    async with _transfer(str(server.make_url("/"))) as transfer:
        yield transfer


def _transfer(*allowed: str, policy: Policy = POLICY, settings: Settings | None = None) -> Transfer:
    s3 = (settings or Settings()).s3
    return Transfer("there", allowed=allowed, s3=lambda: client_for(s3), policy=policy)


def _left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.exists() else []


async def test_a_file_arrives_whole(server: TestServer, transfer: Transfer, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    for expected in (Expectation(), Expectation(len(CONTENT), SHA256), Expectation(checksum=MD5), Expectation(checksum="zz")):
        await transfer.fetch(
            str(server.make_url("/file")), tmp_path / "a" / "file", expected=expected, progress=lambda *step: seen.append(step)
        )
        assert (tmp_path / "a" / "file").read_bytes() == CONTENT
    assert _left(tmp_path / "a") == ["file"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert len(seen) >= 4


async def test_a_chunked_and_an_empty_file(server: TestServer, transfer: Transfer, tmp_path: Path) -> None:
    await transfer.fetch(str(server.make_url("/chunked")), tmp_path / "chunked", expected=Expectation(len(CONTENT), SHA256))
    await transfer.fetch(str(server.make_url("/empty")), tmp_path / "empty", expected=Expectation(0))
    assert (tmp_path / "chunked").read_bytes() == CONTENT
    assert (tmp_path / "empty").read_bytes() == b""


async def test_it_asks_for_the_bytes_as_they_are(server: TestServer, transfer: Transfer, tmp_path: Path) -> None:
    await transfer.fetch(str(server.make_url("/hello")), tmp_path / "hello")
    assert '"Accept-Encoding": "identity"' in (tmp_path / "hello").read_text()


TROUBLE = [
    ("/cut", Expectation(), ErrorKind.TEMPORARY, "connection failed"),
    ("/cut-chunked", Expectation(), ErrorKind.TEMPORARY, "connection failed"),
    ("/silent", Expectation(), ErrorKind.TEMPORARY, "nothing arrived for 1 s"),
    ("/endless", Expectation(5 * 2**20), ErrorKind.ERROR, "instead of the 5242880"),
    ("/file", Expectation(10), ErrorKind.ERROR, f"has {len(CONTENT)} bytes instead of the 10"),
    ("/chunked", Expectation(len(CONTENT) + 1), ErrorKind.ERROR, "bytes instead of"),
    ("/file", Expectation(checksum="1220" + "0" * 64), ErrorKind.ERROR, "its sha256 is"),
    ("/file", Expectation(checksum="d50110" + "0" * 32), ErrorKind.ERROR, "its md5 is"),
    ("/status/404", Expectation(), ErrorKind.ERROR, "does not exist"),
    ("/status/410", Expectation(), ErrorKind.ERROR, "does not exist"),
    ("/status/401", Expectation(), ErrorKind.ERROR, r"refuses access.*account of provider 'there'"),
    ("/status/403", Expectation(), ErrorKind.ERROR, r"refuses access.*account of provider 'there'"),
    ("/status/400", Expectation(), ErrorKind.ERROR, "answers HTTP 400"),
    ("/status/202", Expectation(), ErrorKind.ERROR, "answers HTTP 202"),
    ("/status/206", Expectation(), ErrorKind.ERROR, "answers HTTP 206"),
    ("/status/429", Expectation(), ErrorKind.TEMPORARY, "is busy"),
    ("/status/500", Expectation(), ErrorKind.TEMPORARY, "is busy"),
    ("/status/503", Expectation(), ErrorKind.TEMPORARY, "is busy"),
    ("/to-private", Expectation(), ErrorKind.FATAL, "not below an allowed prefix"),
    ("/to-disk", Expectation(), ErrorKind.FATAL, "not below an allowed prefix"),
    ("/to-itself", Expectation(), ErrorKind.ERROR, "redirects more than"),
    ("/to-nowhere", Expectation(), ErrorKind.ERROR, "redirects to nowhere"),
]


@pytest.mark.parametrize(("path", "expected", "kind", "message"), TROUBLE)
async def test_trouble_is_told_and_leaves_nothing(
    server: TestServer, transfer: Transfer, tmp_path: Path, path: str, expected: Expectation, kind: ErrorKind, message: str
) -> None:
    with pytest.raises(ThresherError, match=message) as caught:
        await transfer.fetch(str(server.make_url(path)) + "?token=secret", tmp_path / "target", expected=expected)
    assert caught.value.kind is kind
    assert "secret" not in str(caught.value)
    assert _left(tmp_path) == []


async def test_an_allowed_redirect_is_followed(server: TestServer, transfer: Transfer, tmp_path: Path) -> None:
    await transfer.fetch(str(server.make_url("/to-file")), tmp_path / "target", expected=Expectation(checksum=SHA256))
    assert (tmp_path / "target").read_bytes() == CONTENT


async def test_nobody_listens(transfer: Transfer, server: TestServer, tmp_path: Path) -> None:
    url = str(server.make_url("/file"))
    await server.close()
    with pytest.raises(ThresherError, match="connection failed") as caught:
        await transfer.fetch(url, tmp_path / "target")
    assert caught.value.kind is ErrorKind.TEMPORARY


async def test_loopback_must_be_named(server: TestServer, tmp_path: Path) -> None:
    async with _transfer("http://") as one:
        with pytest.raises(UserError, match="is a private host"):
            await one.fetch(str(server.make_url("/file")), tmp_path / "target")


async def test_a_name_that_leads_to_a_private_address_is_refused() -> None:
    """What the name of a link looks like proves nothing: the address it leads to counts."""
    resolver = GuardedResolver("href")
    with pytest.raises(UserError, match="is a private host"):
        await resolver.resolve("localhost", 80)
    resolver.trusted.add("localhost")
    assert await resolver.resolve("localhost", 80)
    await resolver.close()


async def test_a_disk_without_room_is_temporary(server: TestServer, tmp_path: Path) -> None:
    policy = replace(POLICY, reserve_bytes=shutil.disk_usage(tmp_path).total + 1)
    async with _transfer(str(server.make_url("/")), policy=policy) as transfer:
        for path in ("/file", "/chunked"):
            with pytest.raises(ThresherError, match="the disk is full") as caught:
                await transfer.fetch(str(server.make_url(path)), tmp_path / "target")
            assert caught.value.kind is ErrorKind.TEMPORARY
    assert _left(tmp_path) == []


async def test_cancelling_leaves_nothing(server: TestServer, transfer: Transfer, tmp_path: Path) -> None:
    started = asyncio.Event()
    task = asyncio.create_task(transfer.fetch(str(server.make_url("/endless")), tmp_path / "target", progress=lambda *_: started.set()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _left(tmp_path) == []


async def test_a_local_file_is_copied_not_linked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    source = tmp_path / "data" / "with space"
    source.write_bytes(CONTENT)
    async with _transfer(str(tmp_path / "data")) as transfer:
        await transfer.fetch(str(source), tmp_path / "one", expected=Expectation(len(CONTENT), SHA256))
        await transfer.fetch(source.as_uri(), tmp_path / "two")
        with pytest.raises(ThresherError, match="does not exist"):
            await transfer.fetch(str(source) + "-not", tmp_path / "three")
        with pytest.raises(ThresherError, match="its sha256 is"):
            await transfer.fetch(str(source), tmp_path / "three", expected=Expectation(checksum="1220" + "0" * 64))
    (tmp_path / "one").write_bytes(b"changed")
    assert source.read_bytes() == (tmp_path / "two").read_bytes() == CONTENT
    assert sorted(_left(tmp_path)) == ["data", "one", "two"]


async def test_a_link_in_an_allowed_folder_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "alias").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "fine").write_bytes(b"fine")
    async with _transfer(str(tmp_path / "alias")) as transfer:
        await transfer.fetch(str(tmp_path / "alias" / "fine"), tmp_path / "target")
        with pytest.raises(UserError):
            await transfer.fetch(str(tmp_path / "alias" / "link"), tmp_path / "other")
    assert (tmp_path / "target").read_bytes() == b"fine"


async def test_a_file_from_a_bucket(s3_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    stored = await open_storage(s3_settings.storage, s3_settings).put(tmp_path / "source", "a/b c.bin")
    seen: list[tuple[int, int | None]] = []
    async with _transfer("s3://", settings=s3_settings) as transfer:
        await transfer.fetch(
            stored.uri, tmp_path / "target", expected=Expectation(len(CONTENT), SHA256), progress=lambda *step: seen.append(step)
        )
        assert (tmp_path / "target").read_bytes() == CONTENT
        assert seen[-1] == (len(CONTENT), len(CONTENT))
        with pytest.raises(ThresherError, match="its sha256 is"):
            await transfer.fetch(stored.uri, tmp_path / "other", expected=Expectation(checksum="1220" + "0" * 64))
        with pytest.raises(ThresherError, match="instead of the 3"):
            await transfer.fetch(stored.uri, tmp_path / "other", expected=Expectation(size=3))
        with pytest.raises(MissingFileError):
            await transfer.fetch(stored.uri + "-not", tmp_path / "other")
        with pytest.raises(StorageError, match="the bucket 'no-such-bucket' does not exist"):
            await transfer.fetch("s3://no-such-bucket/key", tmp_path / "other")
    assert sorted(_left(tmp_path)) == ["source", "target"]
