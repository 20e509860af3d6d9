"""Downloads with accounts, permits and redirects: tokens that expire, servers that ask for patience, hosts that may not be asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from faulty_server import Asked, Bytes, FaultyServer, Reply, always, first, only
from transfers import CONTENT, KNOWN, MIB, ONE, POLICY, SIZE, fails, fetch, no_s3

from common.errors import ErrorKind, TemporaryError, ThresherError, UserError
from downloader.transfer import Transfer


class Session:
    """An account whose tokens the server stops to like."""

    def __init__(self, renewals: int) -> None:
        self.token = 0
        self.told: list[tuple[int, str]] = []
        self.waits: list[float] = []
        self.open = 0
        self._renewals = renewals

    async def link(self, url: str) -> str:
        return url

    async def headers(self, url: str) -> Mapping[str, str]:  # noqa: ARG002
        return {"Authorization": f"Bearer {self.token}"}

    async def refused(self, url: str, status: int) -> bool:
        self.told.append((status, url))
        self._renewals -= 1
        if self._renewals < 0:
            return False
        self.token += 1
        return True

    @contextlib.asynccontextmanager
    async def connection(self, url: str) -> AsyncIterator[None]:  # noqa: ARG002
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def told_to_wait(self, url: str, seconds: float) -> None:  # noqa: ARG002
        self.waits.append(seconds)


async def test_a_token_that_expires_on_the_way_is_renewed_and_no_byte_is_lost(server: FaultyServer, tmp_path: Path) -> None:
    session = Session(renewals=3)

    def rule(asked: Asked, reply: Reply) -> Reply:
        """Every token is good for 4 MiB; then also the connection is cut."""
        token = int(asked.headers["authorization"].removeprefix("Bearer "))
        left = 4 * MIB * (token + 1) - server.sent
        if left <= 0:
            return replace(reply, status=401)
        return replace(reply, cut_after=left) if asked.span and asked.span[1] - asked.span[0] > left else reply

    server.rule = rule
    assert await fetch(server, tmp_path, policy=ONE, access=session) == CONTENT
    assert server.sent == SIZE
    assert session.token == 3
    assert {status for status, _ in session.told} == {401}
    assert session.open == 0


async def test_an_account_that_is_not_liked_is_told(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = always(status=403)
    for renewals, requests in ((0, 1), (99, 4)):
        server.asked.clear()
        with pytest.raises(ThresherError, match=r"refuses access \(HTTP 403\): check the account of provider 'there'") as caught:
            await fetch(server, tmp_path, policy=ONE, access=Session(renewals))
        assert caught.value.kind is ErrorKind.ERROR
        assert len(server.asked) == requests


async def test_a_storm_of_429_is_waited_out_and_told_to_those_who_share_the_host(server: FaultyServer, tmp_path: Path) -> None:
    session = Session(0)
    server.rule = first(10, status=429, headers={"Retry-After": "0"})
    assert await fetch(server, tmp_path, access=session) == CONTENT
    assert server.sent == SIZE
    assert len(session.waits) == 10


async def test_a_server_that_wants_fewer_connections_gets_fewer(server: FaultyServer, tmp_path: Path) -> None:
    def rule(asked: Asked, reply: Reply) -> Reply:
        return replace(reply, status=429) if server.at_once > 2 else replace(reply, delay=0.02)

    server.rule = rule
    assert await fetch(server, tmp_path) == CONTENT
    assert server.sent == SIZE


@pytest.mark.parametrize(
    "wait",
    ["3600", format_datetime(datetime.now(UTC) + timedelta(hours=1))],
    ids=["seconds", "date"],
)
async def test_a_server_that_asks_for_long_patience_is_left_to_the_queue(server: FaultyServer, tmp_path: Path, wait: str) -> None:
    server.rule = always(status=503, headers={"Retry-After": wait})
    error = await fails(server, tmp_path, "is busy")
    assert error.kind is ErrorKind.TEMPORARY
    assert error.retry_after_s == pytest.approx(3600, rel=0.2)
    assert len(server.asked) == 1


async def test_a_server_that_is_always_busy_is_given_up(server: FaultyServer, tmp_path: Path) -> None:
    for status, headers in ((500, {}), (502, {}), (429, {}), (503, {"Retry-After": "0"})):
        server.asked.clear()
        server.rule = always(status=status, headers=headers)
        assert (await fails(server, tmp_path, f"is busy .HTTP {status}.", policy=ONE)).kind is ErrorKind.TEMPORARY
        assert len(server.asked) <= 4 * ONE.retries + 1


async def test_credentials_are_not_shown_to_the_host_of_a_redirect(server: FaultyServer, tmp_path: Path) -> None:
    async with FaultyServer(Bytes(CONTENT)) as elsewhere:
        server.rule = always(status=302, headers={"Location": elsewhere.url + "?signature=mine"})

        class Account(Session):
            async def headers(self, url: str) -> Mapping[str, str]:
                return {"Authorization": "Bearer mine"} if url.startswith(server.url) else {}

        allowed = [server.url, elsewhere.url]
        async with Transfer("there", allowed=allowed, s3=no_s3, access=Account(0), policy=POLICY) as one:
            await one.fetch(server.url, tmp_path / "target", expected=KNOWN)
        assert (tmp_path / "target").read_bytes() == CONTENT
        assert elsewhere.sent == SIZE
        assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer mine"}
        assert not any("authorization" in asked.headers or "mine" in str(asked.headers) for asked in elsewhere.asked)
        assert all(asked.headers["host"] in elsewhere.url for asked in elsewhere.asked)


async def test_a_redirect_to_a_host_that_is_not_allowed(server: FaultyServer, tmp_path: Path) -> None:
    async with FaultyServer(Bytes(CONTENT)) as elsewhere:
        server.rule = always(status=302, headers={"Location": elsewhere.url})
        with pytest.raises(UserError, match=r"redirect of .* not below an allowed prefix"):
            await fetch(server, tmp_path)
        assert elsewhere.asked == []
        # A name of the public internet that leads to this machine is found when it is looked up.
        server.rule = always(status=302, headers={"Location": f"http://localtest.invalid:{elsewhere.url.split(':')[2]}"})
        with pytest.raises(ThresherError):
            await fetch(server, tmp_path)
        assert elsewhere.asked == []


async def test_where_a_redirect_leads_is_remembered_until_it_is_no_longer_good(server: FaultyServer, tmp_path: Path) -> None:
    """As with links that are signed for a while: one question to the front a connection, and another when the signature has expired."""
    async with FaultyServer(Bytes(CONTENT)) as elsewhere:
        server.rule = lambda asked, reply: replace(reply, status=302, headers={"Location": f"{elsewhere.url}?good={asked.number}"})
        good = 0

        def rule(asked: Asked, reply: Reply) -> Reply:
            nonlocal good
            good += 1
            return replace(reply, status=403) if good > 3 and asked.path.endswith("good=1") else reply

        elsewhere.rule = rule
        async with Transfer("there", allowed=[server.url, elsewhere.url], s3=no_s3, policy=ONE) as one:
            await one.fetch(server.url, tmp_path / "target", expected=KNOWN)
        assert (tmp_path / "target").read_bytes() == CONTENT
        assert elsewhere.sent == SIZE
        assert len(server.asked) == 2
        assert {asked.path.partition("?")[2] for asked in elsewhere.asked} == {"good=1", "good=2"}


async def test_a_permit_that_is_lost_closes_the_connection_and_another_goes_on(server: FaultyServer, tmp_path: Path) -> None:
    class Leased(Session):
        """Loses the first permit after a moment, as a lease that is not renewed."""

        number = 0

        @contextlib.asynccontextmanager
        async def connection(self, url: str) -> AsyncIterator[None]:  # noqa: ARG002
            self.number += 1
            try:
                async with asyncio.timeout(0.3 if self.number == 1 else None):
                    yield
            except TimeoutError:
                raise TemporaryError("the permit was lost") from None

    session = Leased(0)
    server.rule = lambda asked, reply: replace(reply, rate=1_500_000 if asked.number == 1 else None)
    assert await fetch(server, tmp_path, policy=ONE, access=session) == CONTENT
    assert session.number == 2
    assert server.sent < SIZE + 4 * 2**16


async def test_a_link_is_signed_anew_for_every_connection(server: FaultyServer, tmp_path: Path) -> None:
    class Signing(Session):
        async def link(self, url: str) -> str:
            self.token += 1
            return f"{url}?sig={self.token}"

    server.rule = only(3, cut_after=1000)
    assert await fetch(server, tmp_path, access=Signing(0)) == CONTENT
    assert len({asked.path for asked in server.asked}) >= 5
