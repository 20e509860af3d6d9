"""Downloads from a real bucket: in ranges of one version, resumed, checked by its ETag."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.config import Settings
from common.errors import ErrorKind, TemporaryError
from common.storage.s3 import client_for
from downloader.checksums import parts_of_etag
from downloader.transfer import Area, Expectation, OpenAccess, Policy, Transfer
from downloader.transfer.s3 import S3Access, S3Source
from downloader.verification import CorruptError

MIB = 2**20
CONTENT = os.urandom(20 * MIB + 3)
POLICY = Policy(smallest_piece=MIB, largest_piece=4 * MIB, first_piece=2 * MIB, backoff_s=0.01, retries=2)


@pytest.fixture
def url(s3_settings: Settings, s3_bucket: str) -> str:
    client_for(s3_settings.s3).put_object(Bucket=s3_bucket, Key="a/b c.bin", Body=CONTENT)
    return f"s3://{s3_bucket}/a/b c.bin"


@pytest.fixture(autouse=True)
def _every_piece_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """However quickly they come: otherwise the first that is told of may be the last."""
    monkeypatch.setattr("downloader.transfer.pace._TOLD_EVERY_S", 0.0)


@contextmanager
def asked_of(settings: Settings) -> Iterator[list[tuple[int, int]]]:
    """The ranges that are asked for meanwhile."""
    client: Any = client_for(settings.s3)
    spans: list[tuple[int, int]] = []

    def note(params: dict[str, Any], **_: object) -> None:
        start, _, last = params["headers"].get("Range", f"bytes=0-{len(CONTENT) - 1}").removeprefix("bytes=").partition("-")
        spans.append((int(start), min(len(CONTENT), int(last) + 1)))

    client.meta.events.register("before-call.s3.GetObject", note, unique_id="asked")
    try:
        yield spans
    finally:
        client.meta.events.unregister("before-call.s3.GetObject", unique_id="asked")


def transfer(settings: Settings, folder: Path, access: Any = None, policy: Policy = POLICY) -> Transfer:
    return Transfer(
        "there",
        allowed=["s3://"],
        s3=lambda: client_for(settings.s3),
        area=Area(folder / "area"),
        scope="scene",
        policy=policy,
        access=access or OpenAccess(),
    )


async def fetch(settings: Settings, url: str, folder: Path, access: Any = None, expected: Expectation | None = None) -> bytes:
    async with transfer(settings, folder, access) as one:
        await one.fetch(url, folder / "target", expected=expected or Expectation())
    content = (folder / "target").read_bytes()
    (folder / "target").unlink()
    return content


async def test_an_object_is_read_in_ranges_each_once(s3_settings: Settings, url: str, tmp_path: Path) -> None:
    with asked_of(s3_settings) as spans:
        assert await fetch(s3_settings, url, tmp_path) == CONTENT
    assert len(spans) >= 5
    assert sum(stop - start for start, stop in spans) == len(CONTENT)
    assert list((tmp_path / "area").iterdir()) == []


async def test_small_and_empty_objects(s3_settings: Settings, s3_bucket: str, tmp_path: Path) -> None:
    for size in (0, 1, MIB):
        client_for(s3_settings.s3).put_object(Bucket=s3_bucket, Key=f"{size}", Body=CONTENT[:size])
        assert await fetch(s3_settings, f"s3://{s3_bucket}/{size}", tmp_path) == CONTENT[:size]


async def _half(settings: Settings, url: str, folder: Path) -> None:
    """A download that ends half way."""

    def stop(done: int, _total: int | None) -> None:
        if done > len(CONTENT) // 2:
            raise TemporaryError("enough")

    async with transfer(settings, folder, policy=Policy(connections=1, largest_piece=MIB, first_piece=MIB, retries=0)) as one:
        await one.fetch(url, folder / "target", progress=stop)


async def test_a_download_is_taken_up_where_it_ended(s3_settings: Settings, url: str, tmp_path: Path) -> None:
    with asked_of(s3_settings) as first, pytest.raises(TemporaryError, match="enough"):
        await _half(s3_settings, url, tmp_path)
    with asked_of(s3_settings) as then:
        assert await fetch(s3_settings, url, tmp_path) == CONTENT
    assert first[0][0] == 0
    assert then[0][0] > len(CONTENT) // 4
    # What was received and not yet written when it ended is asked for again: no more than the engine keeps in memory.
    assert sum(stop - start for start, stop in [*first, *then]) <= len(CONTENT) + 6 * MIB


async def test_an_object_that_was_replaced_is_begun_anew(s3_settings: Settings, s3_bucket: str, url: str, tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="enough"):
        await _half(s3_settings, url, tmp_path)
    other = os.urandom(len(CONTENT))
    client_for(s3_settings.s3).put_object(Bucket=s3_bucket, Key="a/b c.bin", Body=other)
    assert await fetch(s3_settings, url, tmp_path) == other


async def test_a_lost_permit_ends_a_connection_and_not_the_download(s3_settings: Settings, url: str, tmp_path: Path) -> None:
    class Leased(OpenAccess):
        number = 0

        @asynccontextmanager
        async def connection(self, url: str) -> Any:
            assert url.startswith("s3://")
            self.number += 1
            try:
                async with asyncio.timeout(0.02 if self.number == 1 else None):
                    yield
            except TimeoutError:
                raise TemporaryError("the permit was lost") from None

    access = Leased()
    assert await fetch(s3_settings, url, tmp_path, access) == CONTENT
    assert access.number > 1


async def test_the_etag_of_an_object_is_its_checksum(s3_settings: Settings, s3_bucket: str, url: str) -> None:
    client = client_for(s3_settings.s3)
    source = S3Source(url, S3Access(lambda: client, OpenAccess(), POLICY))
    async with source.line() as line, line.open((0, 10), None) as answer:
        [checksum] = answer.checksums
    assert (checksum.algorithm, checksum.digest) == ("md5", hashlib.md5(CONTENT).hexdigest())


async def test_an_object_put_in_parts_is_checked_where_the_server_tells_their_size(
    s3_settings: Settings, s3_bucket: str, tmp_path: Path
) -> None:
    client = client_for(s3_settings.s3)
    (tmp_path / "source").write_bytes(CONTENT)
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=8 * MIB)
    client.upload_file(str(tmp_path / "source"), s3_bucket, "parts", Config=config)
    assert parts_of_etag(client.head_object(Bucket=s3_bucket, Key="parts")["ETag"]) == 3
    assert await fetch(s3_settings, f"s3://{s3_bucket}/parts", tmp_path) == CONTENT


async def test_wrong_content_is_fetched_twice_then_told_and_not_kept(s3_settings: Settings, url: str, tmp_path: Path) -> None:
    with asked_of(s3_settings) as spans, pytest.raises(CorruptError, match="its sha256 is") as caught:
        await fetch(s3_settings, url, tmp_path, expected=Expectation(checksum="1220" + "0" * 64))
    assert caught.value.kind is ErrorKind.ERROR
    assert sum(stop - start for start, stop in spans) == 2 * len(CONTENT)
    assert list((tmp_path / "area").iterdir()) == []
    assert not (tmp_path / "target").exists()
