"""Downloads from a server that misbehaves, on real sockets: the right file or a clear error, nothing wrong stored, no byte sent twice."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_server import Asked, Bytes, FaultyServer, Reply, always, first, only
from transfers import CONTENT, KNOWN, MIB, ONE, POLICY, SHA256, SIZE, fails, fetch, transfer

from common.errors import ErrorKind
from downloader.checksums import Checksum
from downloader.transfer import Expectation
from downloader.verification import CorruptError


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
