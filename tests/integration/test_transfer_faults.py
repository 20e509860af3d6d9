"""Downloads from a server that misbehaves, on real sockets: the right file or a clear error, nothing wrong stored, no byte sent twice."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from faulty_server import Asked, Bytes, FaultyServer, Reply, always, first, only

from common.errors import ErrorKind, TemporaryError, ThresherError, UserError
from downloader.checksums import Checksum
from downloader.transfer import OPEN, Access, Area, Expectation, Policy, Transfer
from downloader.verification import CorruptError

MIB = 2**20
CONTENT = os.urandom(12 * MIB + 17)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KNOWN = Expectation(SIZE, f"1220{SHA256}")
POLICY = Policy(
    connections=4,
    smallest_piece=MIB,
    largest_piece=2 * MIB,
    first_piece=MIB,
    backoff_s=0.01,
    longest_backoff_s=0.05,
    retries=4,
    patience_s=20,
    timeout_s=1,
    slow_s=1,
    min_rate=1000,
)
ONE = replace(POLICY, connections=1)


@pytest.fixture
async def server() -> AsyncIterator[FaultyServer]:
    async with FaultyServer(Bytes(CONTENT)) as server:
        yield server


def transfer(server: FaultyServer, folder: Path, policy: Policy = POLICY, access: Access = OPEN, scope: str = "scene") -> Transfer:
    return Transfer("there", allowed=[server.url], s3=_no_s3, area=Area(folder / "area"), policy=policy, access=access, scope=scope)


async def fetch(
    server: FaultyServer, folder: Path, expected: Expectation = KNOWN, policy: Policy = POLICY, access: Access = OPEN, query: str = ""
) -> bytes:
    async with transfer(server, folder, policy, access) as one:
        await one.fetch(server.url + query, folder / "target", expected=expected)
    content = (folder / "target").read_bytes()
    (folder / "target").unlink()
    return content


async def fails(server: FaultyServer, folder: Path, match: str, expected: Expectation = KNOWN, policy: Policy = POLICY) -> ThresherError:
    """Its error; nothing is stored."""
    with pytest.raises(ThresherError, match=match) as caught:
        await fetch(server, folder, expected, policy)
    assert [path.name for path in folder.iterdir() if path.name != "area"] == []
    return caught.value


async def test_a_good_server_sends_every_byte_once_over_several_connections(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = always(delay=0.02)
    assert await fetch(server, tmp_path) == CONTENT
    assert server.sent == SIZE
    assert server.most_at_once == server.connections == 4
    assert all(server.spans)
    assert not list((tmp_path / "area").iterdir())


@pytest.mark.parametrize("expected", [KNOWN, Expectation(), Expectation(SIZE), Expectation(checksum=f"1220{SHA256}")])
async def test_what_is_not_known_of_a_file_is_learned(server: FaultyServer, tmp_path: Path, expected: Expectation) -> None:
    assert await fetch(server, tmp_path, expected) == CONTENT
    assert server.sent == SIZE


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1])
async def test_files_of_every_size(tmp_path: Path, size: int) -> None:
    content = CONTENT[:size]
    async with FaultyServer(Bytes(content)) as server:
        assert await fetch(server, tmp_path, Expectation()) == content
        assert await fetch(server, tmp_path, Expectation(size)) == content
        server.rule = always(ranges=False)
        assert await fetch(server, tmp_path, Expectation()) == content
        server.rule = always(ranges=False, chunked=True)
        assert await fetch(server, tmp_path, Expectation()) == content


async def test_cut_connections_cost_no_byte(server: FaultyServer, tmp_path: Path) -> None:
    def rule(asked: Asked, reply: Reply) -> Reply:
        return replace(reply, cut_after=700_001) if asked.number % 2 else reply

    server.rule = rule
    assert await fetch(server, tmp_path) == CONTENT
    assert server.sent == SIZE
    assert len(server.asked) > 12


async def test_a_server_that_always_cuts_is_given_up_but_what_came_is_kept(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = always(cut_after=100_000)
    error = await fails(server, tmp_path, "the connection failed", policy=ONE)
    assert error.kind is ErrorKind.TEMPORARY
    assert server.sent == 100_000 * (ONE.retries + 1)
    before, server.sent, server.rule = server.sent, 0, always()
    assert await fetch(server, tmp_path) == CONTENT
    assert server.sent == SIZE - before


async def test_a_server_without_ranges_is_read_in_one_go_and_again_from_zero(server: FaultyServer, tmp_path: Path) -> None:
    def rule(asked: Asked, reply: Reply) -> Reply:
        return replace(reply, ranges=False, cut_after=5 * MIB if asked.number <= 2 else None)

    server.rule = rule
    assert await fetch(server, tmp_path) == CONTENT
    assert server.sent == SIZE + 10 * MIB
    assert server.most_at_once == 1


async def test_a_server_without_ranges_that_always_cuts_is_given_up(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = always(ranges=False, cut_after=5 * MIB)
    assert (await fails(server, tmp_path, "the connection failed")).kind is ErrorKind.TEMPORARY
    assert len(server.asked) == POLICY.retries + 1


async def test_ranges_that_stop_working_half_way(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = lambda asked, reply: replace(reply, ranges=asked.number <= 3)
    assert await fetch(server, tmp_path) == CONTENT
    assert server.spans[-1] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"shifted": 5},
        {"headers": {"Content-Range": "bytes 0-9"}},
        {"headers": {"Content-Range": "bytes */*"}},
        {"length": 3 * MIB},
    ],
)
async def test_ranges_answered_wrongly_are_not_asked_for_again(server: FaultyServer, tmp_path: Path, wrong: Mapping[str, object]) -> None:
    def rule(asked: Asked, reply: Reply) -> Reply:
        if asked.span is None or asked.number == 1:
            return reply
        if "headers" in wrong:
            return replace(reply, ranges=False, **wrong)  # type: ignore[arg-type]
        return replace(reply, **wrong)  # type: ignore[arg-type]

    server.rule = rule
    assert await fetch(server, tmp_path) == CONTENT
    assert server.spans[-1] is None


async def test_other_bytes_in_a_range_are_found_and_fetched_in_one_go(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = lambda asked, reply: replace(reply, other=Bytes(bytes(SIZE))) if asked.span and asked.number > 2 else reply
    assert await fetch(server, tmp_path) == CONTENT
    assert server.spans[-1] is None
    assert server.sent == 2 * SIZE


async def test_other_bytes_again_and_again_are_an_error(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = always(other=Bytes(bytes(SIZE)))
    error = await fails(server, tmp_path, "its sha256 is .* instead of")
    assert error.kind is ErrorKind.ERROR
    assert server.url in str(error)
    assert server.sent == 2 * SIZE
    assert not list((tmp_path / "area").iterdir())


@pytest.mark.parametrize("lie", [{"length": SIZE + 1000}, {"length": SIZE - 1000}, {"total": SIZE + 5}])
async def test_lies_about_the_length_are_found(server: FaultyServer, tmp_path: Path, lie: Mapping[str, object]) -> None:
    server.rule = always(ranges="total" in lie, **lie)
    await fails(server, tmp_path, f"instead of the {SIZE}")
    if "total" in lie:
        assert await fetch(server, tmp_path, Expectation(checksum=f"1220{SHA256}")) == CONTENT
    else:
        await fails(server, tmp_path, "its sha256 is|the connection failed", Expectation(checksum=f"1220{SHA256}"))


async def test_a_chunked_answer_that_is_too_short_or_too_long(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = always(ranges=False, chunked=True)
    assert await fetch(server, tmp_path) == CONTENT
    for size in (SIZE - 1, SIZE + 1):
        await fails(server, tmp_path, "bytes instead of", Expectation(size))


async def test_a_file_that_changes_half_way_is_begun_anew(server: FaultyServer, tmp_path: Path) -> None:
    old = Bytes(os.urandom(SIZE))
    server.rule = lambda asked, reply: replace(reply, content=old, etag='"old"') if asked.number <= 5 else reply
    assert await fetch(server, tmp_path, Expectation()) == CONTENT
    assert server.sent < 2 * SIZE


async def test_a_file_that_grows_half_way_is_begun_anew(server: FaultyServer, tmp_path: Path) -> None:
    old = Bytes(CONTENT[: 8 * MIB])
    server.rule = lambda asked, reply: replace(reply, content=old if asked.number <= 3 else reply.content, etag="")
    assert await fetch(server, tmp_path, Expectation()) == CONTENT


async def test_a_file_that_never_rests_is_left_to_later(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = lambda asked, reply: replace(reply, etag=f'"{asked.number}"', cut_after=None if asked.span else MIB)
    error = await fails(server, tmp_path, "changes again and again|the connection failed", Expectation())
    assert error.kind is ErrorKind.TEMPORARY


async def test_servers_that_disagree_on_the_version_of_the_same_file(server: FaultyServer, tmp_path: Path) -> None:
    """As behind a balancer: read in one go, it is of one of them."""
    server.rule = lambda asked, reply: replace(reply, etag=f'"{asked.number}"')
    assert await fetch(server, tmp_path) == CONTENT
    assert server.spans[-1] is None


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


async def test_a_byte_a_second_is_not_waited_for(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = only(1, rate=20)
    assert await fetch(server, tmp_path, policy=replace(POLICY, timeout_s=5)) == CONTENT
    assert server.sent <= SIZE + 2**16
    server.rule = always(rate=20)
    patient = replace(ONE, retries=1)
    assert (await fails(server, tmp_path, "too slow", policy=replace(patient, timeout_s=5))).kind is ErrorKind.TEMPORARY


async def test_a_connection_that_falls_silent(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = first(3, stall_after=500_000)
    assert await fetch(server, tmp_path) == CONTENT
    assert server.sent == SIZE
    server.rule = always(stall_after=0)
    await fails(server, tmp_path, "nothing arrived for 1 s", policy=replace(ONE, retries=1))


async def test_credentials_are_not_shown_to_the_host_of_a_redirect(server: FaultyServer, tmp_path: Path) -> None:
    async with FaultyServer(Bytes(CONTENT)) as elsewhere:
        server.rule = always(status=302, headers={"Location": elsewhere.url + "?signature=mine"})

        class Account(Session):
            async def headers(self, url: str) -> Mapping[str, str]:
                return {"Authorization": "Bearer mine"} if url.startswith(server.url) else {}

        allowed = [server.url, elsewhere.url]
        async with Transfer("there", allowed=allowed, s3=_no_s3, access=Account(0), policy=POLICY) as one:
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
        async with Transfer("there", allowed=[server.url, elsewhere.url], s3=_no_s3, policy=ONE) as one:
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


def _zip(*, corrupt: bool) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/good.bin", CONTENT[:MIB])
        archive.writestr("a/image.bin", CONTENT[MIB : 2 * MIB])
    content = bytearray(buffer.getvalue())
    if corrupt:
        content[MIB + MIB // 2] ^= 1
    return bytes(content)


async def test_a_corrupt_zip_with_the_right_checksum_is_not_stored_and_not_fetched_twice(tmp_path: Path) -> None:
    content = _zip(corrupt=True)
    async with FaultyServer(Bytes(content)) as server:
        expected = Expectation(len(content), checksums=(Checksum("md5", hashlib.md5(content).hexdigest()),))
        error = await fails(server, tmp_path, r"its member a/image\.bin is broken", expected)
        assert isinstance(error, CorruptError)
        assert server.url in str(error)
        assert server.sent == len(content)
        assert not list((tmp_path / "area").iterdir())


async def test_a_zip_that_was_damaged_on_the_way_is_fetched_again(tmp_path: Path) -> None:
    good = _zip(corrupt=False)
    async with FaultyServer(Bytes(good)) as server:
        server.rule = lambda asked, reply: replace(reply, other=Bytes(_zip(corrupt=True))) if asked.span else reply
        assert await fetch(server, tmp_path, Expectation()) == good
        assert server.sent == 2 * len(good)


async def test_a_page_in_the_place_of_a_file_is_told(tmp_path: Path) -> None:
    async with FaultyServer(Bytes(b"<!DOCTYPE html><html>Please log in</html>")) as server:
        server.url += "/S1A.zip"
        await fails(server, tmp_path, "holds a web page instead of a file", Expectation())


async def test_checksums_a_server_tells_of_its_file_are_checked(server: FaultyServer, tmp_path: Path) -> None:
    import base64

    good = {"x-goog-hash": f"crc32c=AAAAAA==,md5={base64.b64encode(hashlib.md5(CONTENT).digest()).decode()}"}
    server.rule = always(headers=good)
    assert await fetch(server, tmp_path, Expectation()) == CONTENT
    server.rule = always(headers={"x-ms-blob-content-md5": base64.b64encode(bytes(16)).decode()})
    await fails(server, tmp_path, "its md5 is", Expectation())


async def test_a_disk_that_does_not_take_it_ends_the_download_and_is_not_the_fault_of_the_server(
    server: FaultyServer, tmp_path: Path
) -> None:
    """Whatever the writing fails with, nobody waits for it for ever; what was written is not fetched again."""

    def watch(done: int, _total: int | None) -> None:
        if done > 4 * MIB:
            raise OSError(5, "Input/output error")

    server.rule = always(rate=20 * MIB)
    with pytest.raises(OSError, match="Input/output error"):
        async with transfer(server, tmp_path) as one:
            await one.fetch(server.url, tmp_path / "target", expected=KNOWN, progress=watch)
    before, server.sent = server.sent, 0
    assert before < SIZE
    assert await fetch(server, tmp_path) == CONTENT
    assert 0 < server.sent < SIZE - 4 * MIB + MIB


async def test_progress_is_told_now_and_then_and_at_the_end(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = always(rate=8 * MIB)
    seen: list[tuple[int, int | None]] = []
    async with transfer(server, tmp_path) as one:
        await one.fetch(server.url, tmp_path / "target", expected=KNOWN, progress=lambda *step: seen.append(step))
    assert seen[-1] == (SIZE, SIZE)
    assert seen == sorted(seen)
    assert 1 < len(seen) < 13
    assert len(server.asked) >= 4


def _no_s3() -> object:  # type: ignore[misc]
    raise AssertionError
