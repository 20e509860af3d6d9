"""Tokens from a real token endpoint: one request for everybody, renewed in time, shown to nobody else."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from service_server import CLIENT_SECRET, PASSWORD, USER, ServiceServer

from common.config import ProviderSettings, Settings
from common.errors import ErrorKind, TemporaryError, ThresherError
from downloader.shared import Shared
from downloader.tasks import gather_all
from downloader.transfer import Policy, Transfer

CONTENT = os.urandom(3 * 2**20)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServiceServer]:
    """Tokens at `/token`, a file at `/file` for whoever shows one, redirects from `/away?to=…`."""
    monkeypatch.setenv("THRESHER_ACCOUNT_MINE_USERNAME", USER)
    monkeypatch.setenv("THRESHER_ACCOUNT_MINE_PASSWORD", PASSWORD)
    monkeypatch.setenv("THRESHER_ACCOUNT_MINE_CLIENT_SECRET", CLIENT_SECRET)
    server = ServiceServer()
    server.add_tokens()

    async def get(request: web.Request) -> web.Response:
        return server.file(CONTENT, request) if server.is_known(request) else web.Response(status=401)

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    server.app.router.add_get("/file", get)
    server.app.router.add_get("/file/{tail:.*}", get)
    server.app.router.add_get("/away", away)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def stranger() -> AsyncIterator[ServiceServer]:
    """Another server, which gives everybody the file."""
    server = ServiceServer()

    async def get(request: web.Request) -> web.Response:
        return server.file(CONTENT, request)

    server.app.router.add_get("/{tail:.*}", get)
    await server.start()
    yield server
    await server.close()


def _url(server: ServiceServer, path: str) -> str:
    assert server.server is not None
    return str(server.server.make_url(path))


def _shared(server: ServiceServer, **account: Any) -> Shared:
    known = {"type": "oidc", "origins": [_url(server, "/")], "token_url": _url(server, "/token"), "client_id": "public", **account}
    return Shared(Settings.model_validate({"accounts": {"mine": known}}))


def _transfer(shared: Shared, **policy: Any) -> Transfer:
    access = shared.access(ProviderSettings(type="url", account="mine"))
    return Transfer(
        "there",
        allowed=["http://127.0.0.1"],
        s3=lambda: None,  # type: ignore[arg-type, return-value]
        access=access,
        policy=Policy(retries=1, backoff_s=0.01, **policy),
    )


def _allow(transfer: Transfer, *servers: ServiceServer) -> Transfer:
    transfer._allowed = [_url(server, "/") for server in servers]
    return transfer


async def test_one_token_serves_a_hundred_downloads(server: ServiceServer, tmp_path: Path) -> None:
    shared = _shared(server)
    async with _allow(_transfer(shared, connections=16), server) as transfer:
        await gather_all(transfer.fetch(_url(server, f"/file/{number}"), tmp_path / str(number), content=False) for number in range(100))
    assert server.grants == {"password": 1}
    assert len({authorization for _, path, authorization in server.seen if path.startswith("/file")}) == 1
    assert all((tmp_path / str(number)).stat().st_size == len(CONTENT) for number in range(100))


async def test_a_token_that_ends_in_the_middle_is_renewed_without_beginning_anew(server: ServiceServer, tmp_path: Path) -> None:
    shared = _shared(server)
    access = shared.access(ProviderSettings(type="url", account="mine"))
    await access.headers(_url(server, "/file"))
    await asyncio.sleep(1.1)  # a token that was only just made would not be asked for again
    asked = 0

    def progress(done: int, total: int | None) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            server.valid.clear()  # what was given out is worth nothing any more

    async with _allow(_transfer(shared, connections=1, first_piece=2**20, largest_piece=2**20, smallest_piece=2**20), server) as transfer:
        await transfer.fetch(_url(server, "/file"), tmp_path / "file", progress=progress, content=False)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.sent == len(CONTENT)
    assert server.grants == {"password": 1, "refresh_token": 1}


async def test_it_is_renewed_before_it_ends_by_its_refresh_token(server: ServiceServer) -> None:
    server.life_s = 0.5
    account = _shared(server).accounts.account("mine")
    first = await account.headers(_url(server, "/file"))
    assert await account.headers(_url(server, "/file")) == first
    await asyncio.sleep(0.45)
    later = await asyncio.gather(*(account.headers(_url(server, "/file")) for _ in range(50)))
    assert server.grants == {"password": 1, "refresh_token": 1}
    assert len({headers["Authorization"] for headers in later}) == 1
    assert later[0] != first
    server.refresh = False
    await asyncio.sleep(0.45)
    await account.headers(_url(server, "/file"))
    await asyncio.sleep(0.45)
    await account.headers(_url(server, "/file"))
    assert server.grants == {"password": 2, "refresh_token": 2}


async def test_client_credentials(server: ServiceServer) -> None:
    account = _shared(server, grant="client-credentials").accounts.account("mine")
    assert (await account.headers(_url(server, "/file")))["Authorization"].startswith("Bearer access-")
    assert server.grants == {"client_credentials": 1}


@pytest.mark.parametrize(("status", "kind"), [(400, ErrorKind.ERROR), (401, ErrorKind.ERROR), (503, ErrorKind.TEMPORARY)])
async def test_what_the_token_endpoint_refuses_is_told_without_secrets(
    server: ServiceServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int, kind: ErrorKind
) -> None:
    caplog.set_level(logging.DEBUG)
    server.token_status = status
    shared = _shared(server)
    async with _allow(_transfer(shared), server) as transfer:
        with pytest.raises(ThresherError, match=f"account 'mine'.*HTTP {status}") as caught:
            await transfer.fetch(_url(server, "/file"), tmp_path / "file")
        with pytest.raises(ThresherError):
            await transfer.fetch(_url(server, "/file"), tmp_path / "file")
    assert caught.value.kind is kind
    if kind is ErrorKind.ERROR:
        assert server.grants.total() == 1  # more would lock the account
    assert PASSWORD not in str(caught.value) + caplog.text + repr(shared.accounts.account("mine"))


async def test_a_token_is_never_shown_to_another_server(server: ServiceServer, stranger: ServiceServer, tmp_path: Path) -> None:
    shared = _shared(server)
    async with _allow(_transfer(shared), server, stranger) as transfer:
        away = _url(server, "/away") + f"?to={_url(stranger, '/elsewhere')}"
        await transfer.fetch(away, tmp_path / "file", content=False)
        await transfer.fetch(_url(stranger, "/direct"), tmp_path / "direct", content=False)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert next(authorization for _, path, authorization in server.seen if path.startswith("/away")).startswith("Bearer ")
    assert {authorization for *_, authorization in stranger.seen} == {""}


async def test_a_token_follows_to_the_servers_it_is_for(server: ServiceServer, tmp_path: Path) -> None:
    async with _allow(_transfer(_shared(server)), server) as transfer:
        await transfer.fetch(_url(server, "/away") + f"?to={_url(server, '/file')}", tmp_path / "file", content=False)
    assert (tmp_path / "file").read_bytes() == CONTENT


async def test_a_token_that_is_refused_at_once_is_not_asked_for_again_and_again(server: ServiceServer, tmp_path: Path) -> None:
    shared = _shared(server)
    account = shared.accounts.account("mine")
    await account.headers(_url(server, "/file"))
    server.valid.clear()
    server.valid = _NothingIsValid()
    async with _allow(_transfer(shared), server) as transfer:
        with pytest.raises(ThresherError, match=r"refuses access \(HTTP 401\)"):
            await transfer.fetch(_url(server, "/file"), tmp_path / "file")
    assert server.grants.total() <= 2


class _NothingIsValid(set[str]):
    def __contains__(self, value: object) -> bool:
        return False


async def test_signatures_are_shared_and_renewed(tmp_path: Path) -> None:
    server = ServiceServer()
    server.add_signing({"a.bin": CONTENT, "b.bin": CONTENT}, life=timedelta(hours=1))
    await server.start()
    try:
        shared = _shared(server, type="planetary-computer", token_url=_url(server, "/sas"))
        access = shared.access(ProviderSettings(type="url", account="mine"))
        async with _allow(_transfer(shared), server) as transfer:
            await gather_all(transfer.fetch(_url(server, f"/container/{name}.bin"), tmp_path / name, content=False) for name in "ab")
            assert server.grants == {"sas": 1}
            await asyncio.sleep(1.1)
            server.valid.clear()
            await transfer.fetch(_url(server, "/container/a.bin"), tmp_path / "c", content=False)
        assert server.grants == {"sas": 2}
        assert (tmp_path / "c").read_bytes() == CONTENT
        assert await access.link("https://elsewhere.org/container/a") == "https://elsewhere.org/container/a"
        assert await access.link(_url(server, "/container/a.bin") + "?sig=others") == _url(server, "/container/a.bin") + "?sig=others"
    finally:
        await server.close()


async def test_a_server_that_does_not_answer_is_waited_for(server: ServiceServer) -> None:
    account = _shared(server, token_url="http://127.0.0.1:9/token").accounts.account("mine")
    with pytest.raises(TemporaryError, match="does not answer"):
        await account.headers(_url(server, "/file"))
