"""Downloads that go on where another process, killed or ended, left them; and the area of the scratch disk where they wait."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_server import Bytes, FaultyServer, Generated, always
from transfers import CONTENT, MIB, SIZE, no_s3

from common.errors import TemporaryError
from downloader.transfer import Area, Expectation, Policy, Transfer
from downloader.transfer.area import check_room, file_key, open_partial
from downloader.transfer.partial import kept_partial
from downloader.transfer.source import Version

POLICY = Policy(smallest_piece=MIB, largest_piece=2 * MIB, first_piece=MIB, backoff_s=0.01, retries=0, connections=1, timeout_s=2)
NOTHING = Expectation()
CHILD = Path(__file__).parents[1] / "download_child.py"


def transfer(server: FaultyServer, folder: Path) -> Transfer:
    return Transfer("there", allowed=[server.url], s3=no_s3, area=Area(folder / "area"), policy=POLICY, scope="scene")


async def fetch(server: FaultyServer, folder: Path, expected: Expectation = NOTHING, query: str = "") -> bytes:
    async with transfer(server, folder) as one:
        await one.fetch(server.url + query, folder / "target", expected=expected)
    return (folder / "target").read_bytes()


async def half(server: FaultyServer, folder: Path, query: str = "") -> int:
    """A download that failed half way: the bytes that came."""
    server.rule = lambda _, reply: replace(reply, status=500) if server.sent > SIZE // 2 else reply
    with pytest.raises(TemporaryError):
        await fetch(server, folder, query=query)
    sent, server.sent, server.rule = server.sent, 0, always()
    assert SIZE // 2 < sent < SIZE
    return sent


async def kill_at(server: FaultyServer, part: float, *arguments: str) -> None:
    """Run the child and kill it without warning once it has fetched this part."""
    child = await asyncio.create_subprocess_exec(sys.executable, str(CHILD), *arguments, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    async for line in child.stdout:
        done, total = line.split()
        if int(done) >= part * int(total):
            child.send_signal(signal.SIGKILL)
            break
    assert await child.wait() == -signal.SIGKILL


def written(data: Path, content: Generated) -> int:
    """How much of a file is what it should be; a little less where what was written does not end with a block."""
    step = MIB // 16
    with data.open("rb") as file:
        return sum(step for start in range(0, content.size, step) if file.read(step) == content.read(start, start + step))


async def test_a_worker_killed_in_a_gigabyte_loses_less_than_a_hundredth(tmp_path: Path) -> None:
    content = Generated(2**30)
    sha256 = content.sha256()
    async with FaultyServer(content) as server:
        server.rule = always(rate=50 * MIB)
        await kill_at(server, 0.45, server.url, str(tmp_path / "scratch"), str(tmp_path / "job" / "target"), sha256)
        [data] = (tmp_path / "scratch").glob("thresher-partial/*/data")
        there = written(data, content)
        before, server.sent = server.sent, 0
        assert 0.4 * content.size < there <= before < 0.6 * content.size
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, str(CHILD), server.url, str(tmp_path / "scratch"), str(tmp_path / "other" / "target"), sha256),
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await child.wait() == 0
    twice = server.sent - (content.size - there)
    assert -MIB < twice < content.size / 100, f"{twice / MIB:.1f} MiB were fetched twice"
    # What lay in the buffers of the system when it was killed had not reached it: on a busy machine that may be all they hold.
    assert before + server.sent < content.size * 1.05
    target = tmp_path / "other" / "target"
    assert target.stat().st_size == content.size
    assert list((tmp_path / "scratch" / "thresher-partial").iterdir()) == []
    target.unlink()


async def test_a_worker_killed_again_and_again_gets_there(tmp_path: Path) -> None:
    content = Generated(40 * MIB)
    async with FaultyServer(content) as server:
        server.rule = always(rate=10 * MIB)
        arguments = (server.url, str(tmp_path / "scratch"), str(tmp_path / "target"))
        for part in (0.2, 0.5, 0.8):
            await kill_at(server, part, *arguments)
        child = await asyncio.create_subprocess_exec(sys.executable, str(CHILD), *arguments, stdout=asyncio.subprocess.DEVNULL)
        assert await child.wait() == 0
        assert server.sent - content.size < 3 * 8 * MIB
    assert (tmp_path / "target").read_bytes() == content.read(0, content.size)


async def test_only_what_is_missing_is_fetched(server: FaultyServer, tmp_path: Path) -> None:
    sent = await half(server, tmp_path)
    assert not (tmp_path / "target").exists()
    assert await fetch(server, tmp_path) == CONTENT
    assert sent + server.sent == SIZE


async def test_a_cancelled_download_is_taken_up(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = always(rate=2 * MIB)
    task = asyncio.create_task(fetch(server, tmp_path))
    while server.sent < 4 * MIB:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.rule = always()
    assert await fetch(server, tmp_path) == CONTENT
    assert server.sent < SIZE + MIB


@pytest.mark.parametrize("etag", ['"two"', 'W/"two"'])
async def test_a_source_that_changed_meanwhile_is_begun_anew(server: FaultyServer, tmp_path: Path, etag: str) -> None:
    await half(server, tmp_path)
    server.content = Bytes(os.urandom(SIZE))
    server.rule = always(etag=etag)
    assert await fetch(server, tmp_path) == server.content.read(0, SIZE)


async def test_a_source_of_another_size_is_begun_anew(server: FaultyServer, tmp_path: Path) -> None:
    await half(server, tmp_path)
    server.content = Bytes(CONTENT[: 5 * MIB])
    assert await fetch(server, tmp_path) == CONTENT[: 5 * MIB]


async def test_a_server_that_names_no_version_is_trusted_only_with_a_checksum(server: FaultyServer, tmp_path: Path) -> None:
    known = Expectation(checksum=f"1220{hashlib.sha256(CONTENT).hexdigest()}")

    async def run(expected: Expectation) -> int:
        server.rule = lambda _, reply: replace(reply, etag="", status=500 if server.sent > SIZE // 2 else None)
        with pytest.raises(TemporaryError):
            await fetch(server, tmp_path, expected)
        server.rule = always(etag="")
        assert await fetch(server, tmp_path, expected) == CONTENT
        sent, server.sent = server.sent, 0
        return sent

    assert await run(known) == SIZE
    assert await run(Expectation()) > SIZE * 3 // 2


async def test_by_the_date_where_there_is_no_etag(server: FaultyServer, tmp_path: Path) -> None:
    date = {"Last-Modified": "Tue, 01 Oct 2024 10:00:00 GMT"}
    server.rule = lambda _, reply: replace(reply, etag="", headers=date, status=500 if server.sent > SIZE // 2 else None)
    with pytest.raises(TemporaryError):
        await fetch(server, tmp_path)
    server.rule = always(etag="", headers={"Last-Modified": "Wed, 02 Oct 2024 10:00:00 GMT"})
    server.content = Bytes(os.urandom(SIZE))
    assert await fetch(server, tmp_path) == server.content.read(0, SIZE)


async def test_a_link_signed_anew_is_the_same_file_and_no_secret_is_kept(server: FaultyServer, tmp_path: Path) -> None:
    sent = await half(server, tmp_path, "?X-Amz-Signature=secret&part=1")
    [state] = (tmp_path / "area").glob("*/journal")
    assert "secret" not in state.read_text()
    assert await fetch(server, tmp_path, query="?X-Amz-Signature=other&part=1") == CONTENT
    assert sent + server.sent == SIZE


def test_what_names_a_file() -> None:
    url = "https://host/a?b=1&c=2"
    assert file_key("s", url) == file_key("s", "https://host/a?c=2&b=1&sig=x&se=2030&access_token=t")
    others = ["https://host/a?b=1", "https://host/b?b=1&c=2", "https://other/a?b=1&c=2", url + "&size=3"]
    assert len({file_key("s", url), file_key("t", url), *(file_key("s", other) for other in others)}) == 6


async def test_files_that_were_whole_are_not_fetched_again_for_the_sake_of_another(server: FaultyServer, tmp_path: Path) -> None:
    async def first() -> None:
        async with transfer(server, tmp_path) as one:
            await one.fetch(server.url, tmp_path / "first")
            server.rule = always(status=500)
            await one.fetch(server.url + "/second", tmp_path / "second")

    with pytest.raises(TemporaryError):
        await first()
    shutil.rmtree(tmp_path / "first", ignore_errors=True)
    server.rule, server.sent = always(), 0
    async with transfer(server, tmp_path) as one:
        await one.fetch(server.url, tmp_path / "again")
        assert server.sent == 1
        await one.fetch(server.url + "/second", tmp_path / "second")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "second").read_bytes() == CONTENT
    assert list((tmp_path / "area").iterdir()) == []


async def test_products_of_many_files_hold_none_of_them_open(server: FaultyServer, tmp_path: Path) -> None:
    server.content = Bytes(b"small")
    async with transfer(server, tmp_path) as one:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for number in range(40):
            await one.fetch(f"{server.url}/{number}", tmp_path / f"{number}")
        assert len(list(Path("/proc/self/fd").iterdir())) < before + 20
        assert len(list((tmp_path / "area").iterdir())) == 40
    assert list((tmp_path / "area").iterdir()) == []


async def test_what_somebody_wrote_to_is_not_handed_out_again(server: FaultyServer, tmp_path: Path) -> None:
    async def failing() -> None:
        async with transfer(server, tmp_path) as one:
            await one.fetch(server.url, tmp_path / "target")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await failing()
    with (tmp_path / "target").open("r+b") as file:
        file.write(b"changed")
    assert await fetch(server, tmp_path) == CONTENT


async def test_two_at_the_same_time_never_share_a_partial_file(server: FaultyServer, tmp_path: Path) -> None:
    server.rule = always(delay=0.05)

    async def one(name: str) -> bytes:
        async with transfer(server, tmp_path) as mine:
            await mine.fetch(server.url, tmp_path / name)
        return (tmp_path / name).read_bytes()

    assert await asyncio.gather(one("a"), one("b")) == [CONTENT, CONTENT]
    assert server.sent == 2 * SIZE


def _partial(area: Area, content: bytes, url: str = "https://host/a") -> Path:
    """Left behind by somebody; its folder."""
    partial = area.open("", url)
    assert partial is not None
    partial.begin(Version(len(content), '"e"'))
    half = len(content) // 2
    partial.write(0, [content[:half]])
    partial.add(0, half)
    partial.leave()
    return partial.path.parent


def _done(area: Area, url: str = "https://host/a") -> int:
    partial = area.open("", url)
    assert partial is not None
    total = partial.done.total
    partial.leave()
    return total


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "journal").write_text("{"),
        lambda folder: (folder / "journal").unlink(),
        lambda folder: (folder / "data").unlink(),
        lambda folder: os.truncate(folder / "data", 100),
        lambda folder: _change(folder, boot="another"),
        lambda folder: _change(folder, size=10**9),
        lambda folder: _change(folder, size=-1),
        lambda folder: _change(folder, format=2),
        lambda folder: _change(folder, more=1),
        lambda folder: _add(folder, "5 3\n"),
        lambda folder: _add(folder, "-5 3\n"),
        lambda folder: _add(folder, f"0 {10**9}\n"),
        lambda folder: _add(folder, "0 1 2\n"),
        lambda folder: _add(folder, "sealed 1\n"),
        lambda folder: _add(folder, "x y\n"),
        lambda folder: _add(folder, "\0\n"),
    ],
)
def test_a_state_that_cannot_be_relied_upon_is_forgotten(tmp_path: Path, damage: object) -> None:
    area = Area(tmp_path)
    folder = _partial(area, CONTENT)
    assert _done(area) == SIZE // 2
    damage(folder)  # type: ignore[operator]
    assert _done(area) == 0


def test_a_line_that_was_cut_off_does_not_count_and_is_mended(tmp_path: Path) -> None:
    area = Area(tmp_path)
    folder = _partial(area, CONTENT)
    _add(folder, f"{SIZE // 2} {SIZE}")
    partial = area.open("", "https://host/a")
    assert partial is not None
    assert partial.done.total == SIZE // 2
    partial.write(SIZE - 10, [CONTENT[-10:]])
    partial.leave()
    assert _done(area) == SIZE // 2 + 10


def test_old_ones_are_swept_and_those_in_use_are_not(tmp_path: Path) -> None:
    area = Area(tmp_path, max_age_s=60)
    old, new, used = (_partial(area, CONTENT, f"https://host/{name}") for name in ("old", "new", "used"))
    for folder in (old, used):
        for path in (folder, *folder.iterdir()):
            os.utime(path, (time.time() - 100,) * 2)
    holder = kept_partial(used, "")
    assert holder is not None
    area.sweep()
    assert not old.exists()
    assert new.exists()
    assert used.exists()
    holder.open()
    assert holder.done.total == SIZE // 2
    holder.leave()


def test_partial_files_make_room_for_a_new_one_the_oldest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    area = Area(tmp_path)
    folders = [_partial(area, CONTENT, f"https://host/{number}") for number in range(3)]
    for number, folder in enumerate(folders):
        for path in (folder, *folder.iterdir()):
            os.utime(path, (time.time() - 100 + number,) * 2)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000 * (3 - sum(folder.exists() for folder in folders))))
    check_room(tmp_path, 1500, 0, area)
    assert [folder.exists() for folder in folders] == [False, False, True]
    with pytest.raises(TemporaryError, match="the disk is full"):
        check_room(tmp_path, 5000, 0, area)


def test_a_lock_goes_with_its_process_alone(tmp_path: Path) -> None:
    """The lock is on the folder that is there, not on one that was removed."""
    first = kept_partial(tmp_path / "a", "")
    assert first is not None
    assert kept_partial(tmp_path / "a", "") is None
    first.open()
    first.discard()
    second = kept_partial(tmp_path / "a", "")
    assert second is not None
    with (tmp_path / "a" / "lock").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    second.discard()


def test_an_area_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "area").symlink_to(tmp_path / "theirs")
    partial = open_partial(Area(tmp_path / "area"), "", "https://host/a", tmp_path / "job" / "target")
    assert partial.path.parent == tmp_path / "job"
    assert not partial.is_kept
    partial.leave()
    assert list((tmp_path / "job").iterdir()) == []
    assert list((tmp_path / "theirs").iterdir()) == []


def test_a_full_disk_is_temporary(tmp_path: Path) -> None:
    """A real one: as large a file as the limit of this process allows."""
    import resource

    partial = Area(tmp_path).open("", "https://host/a")
    assert partial is not None
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
    try:
        with pytest.raises(Exception, match="cannot be written"):
            partial.begin(Version(2 * MIB, '"e"'))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
        partial.discard()


def _change(folder: Path, **changes: object) -> None:
    head, *lines = (folder / "journal").read_text().split("\n")
    (folder / "journal").write_text("\n".join([json.dumps({**json.loads(head), **changes}), *lines]))


def _add(folder: Path, text: str) -> None:
    with (folder / "journal").open("a") as file:
        file.write(text)
