"""`thresher download`: products by name or by link, several at once, again where it ended, with the exit codes of the other commands."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from service_server import ServiceServer

NAME = "S2A_MSIL1C_20190108T034121_N0207_R061_T48LWP_20190108T064531"
OTHER = NAME.replace("T48LWP", "T48LXP")
SECRET = "token-nobody-is-to-see"
PIECE = os.urandom(2**20)
REPOSITORY = Path(__file__).resolve().parents[2]


def _zip(name: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path in ("MTD_MSIL1C.xml", "GRANULE/B01.bin", "GRANULE/B02.bin"):
            archive.writestr(f"{name}.SAFE/{path}", b"<xml/>" if path.endswith("xml") else PIECE)
    return target.getvalue()


@dataclass
class Ended:
    code: int
    out: list[str]
    errors: str


@pytest.fixture
async def server() -> AsyncIterator[ServiceServer]:
    """`/products/{name}.zip` for whoever shows the token, `/open/{name}.zip` for everybody."""
    server = ServiceServer()
    archives = {f"{name}.zip": _zip(name) for name in (NAME, OTHER)}

    async def get(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/products/") and request.headers.get("Authorization") != f"Bearer {SECRET}":
            return web.Response(status=403)
        name = request.match_info["name"]
        return server.file(archives[name], request) if name in archives else web.Response(status=404)

    server.app.router.add_get("/{kind}/{name}", get)
    await server.start()
    yield server
    await server.close()


async def _run(folder: Path, *arguments: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "thresher.cli", "download", *arguments),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "THRESHER_ACCOUNT_MINE_TOKEN": SECRET},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    assert process.returncode is not None
    assert SECRET not in out.decode() + errors.decode()
    return Ended(process.returncode, out.decode().split(), " ".join(errors.decode().split()))


def _url(server: ServiceServer, path: str) -> str:
    assert server.server is not None
    return str(server.server.make_url(path))


@pytest.fixture
def folder(tmp_path: Path, server: ServiceServer) -> Path:
    (tmp_path / "thresher.toml").write_text(
        f"""
        [accounts.mine]
        type = "bearer"
        origins = ["{_url(server, "/")}"]
        [providers.there]
        type = "url"
        account = "mine"
        url = "{_url(server, "/products")}/{{SCENE}}.zip"
        """
    )
    return tmp_path


async def test_names_and_links_together(server: ServiceServer, folder: Path) -> None:
    ended = await _run(folder, NAME, _url(server, f"/open/{OTHER}.zip"), "-o", "out")
    assert (ended.code, ended.errors) == (0, "")
    assert set(ended.out) == {f"out/{NAME}.SAFE", f"out/{OTHER}.SAFE"}
    assert {path.name for path in (folder / "out").iterdir()} == {f"{NAME}.SAFE", f"{OTHER}.SAFE"}
    assert (folder / "out" / f"{NAME}.SAFE" / "GRANULE" / "B02.bin").read_bytes() == PIECE
    sent = server.sent
    assert (await _run(folder, NAME, "-o", "out")).code == 0
    assert server.sent == sent  # it is there


async def test_members_of_a_product(server: ServiceServer, folder: Path) -> None:
    ended = await _run(folder, NAME, "--members", "GRANULE/B01*", "--provider", "there")
    assert ended.code == 0, ended.errors
    assert {path.name for path in (folder / f"{NAME}.SAFE").rglob("*.*")} == {"MTD_MSIL1C.xml", "B01.bin"}
    assert server.sent < 1.3 * len(PIECE)


async def test_what_is_not_there_is_told_and_the_rest_comes(server: ServiceServer, folder: Path) -> None:
    ended = await _run(folder, NAME, NAME.replace("T48LWP", "T48LYP"), "no-such-place")
    assert ended.code == 1
    assert ended.out == [f"{NAME}.SAFE"]
    assert "error: " in ended.errors
    assert "there: " in ended.errors
    assert "does not exist (HTTP 404)" in ended.errors


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "PRODUCT"),
        (["../../etc/passwd"], 2, "cannot be part"),
        (["https://127.0.0.1:1/x.zip", "--provider", "nobody"], 1, "provider 'nobody' is not configured"),
        ([NAME, "--config", "missing.toml"], 1, "missing.toml does not exist"),
    ],
)
async def test_what_cannot_be_done_is_told(folder: Path, arguments: list[str], code: int, sentence: str) -> None:
    ended = await _run(folder, *arguments)
    assert (ended.code, ended.out) == (code, [])
    assert sentence in ended.errors


async def test_it_goes_on_where_it_was_killed(server: ServiceServer, folder: Path) -> None:
    """What came before the kill is not asked for again."""
    assert server.server is not None
    content = _zip(NAME)
    half, going = asyncio.Event(), asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        start = int((request.headers.get("Range", "bytes=0-").removeprefix("bytes=")).partition("-")[0])
        response = web.StreamResponse(
            status=206, headers={"ETag": '"same"', "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        )
        response.content_length = len(content) - start
        await response.prepare(request)
        for place in range(start, len(content), 2**18):
            if place >= len(content) // 2 and not going.is_set():
                half.set()
                await going.wait()
            await response.write(content[place : place + 2**18])
            slow.sent += min(2**18, len(content) - place)
        return response

    slow = ServiceServer()
    slow.app.router.add_get("/{name}", slowly)
    url = await slow.start() + f"/{NAME}.zip"
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "downloader.fetch", "--out", ".", url), cwd=folder, env={"PYTHONPATH": str(REPOSITORY)}
        )
        async with asyncio.timeout(60):
            await half.wait()
            await asyncio.sleep(1.5)  # what has come is written down once a second
        process.kill()
        await process.wait()
        going.set()
        ended = await _run(folder, url)
        assert ended.out == [f"{NAME}.SAFE"], ended.errors
        assert slow.sent < 1.3 * len(content)
    finally:
        await slow.close()
