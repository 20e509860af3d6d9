"""Files of the storage as streams, in a folder and in a real bucket: the same bytes, whole or not at all, in little memory."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import aiohttp
import pytest
from fixtures_s3 import S3Server

from catalogue.hook.orders import OutputFile
from catalogue.hook.packages import entries_of, write_zip
from common.config import Settings
from common.errors import MissingFileError, StorageError, UserError
from common.storage import Storage, open_storage
from common.storage.streams import opened, presigned, write_stream
from common.threads import NEVER, Stop, StoppedError


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(str(tmp_path / "storage"), Settings())
    settings: Settings = request.getfixturevalue("s3_settings")
    return open_storage(settings.storage, settings)


def writing(content: bytes, *, fail: bool = False) -> Callable[[IO[bytes]], None]:
    def write(out: IO[bytes]) -> None:
        for start in range(0, len(content), 100_000):
            out.write(content[start : start + 100_000])
        if fail:
            raise MissingFileError("s3://somewhere/else")

    return write


@pytest.mark.parametrize("size", [0, 1, 20 * 2**20 + 7], ids=["empty", "one-byte", "several-parts"])
async def test_what_is_written_is_read_again(storage: Storage, size: int) -> None:
    content = os.urandom(size)
    assert write_stream(storage, "a/b.bin", writing(content), NEVER) == size
    with opened(storage, storage.uri("a/b.bin")) as file:
        assert file.read() == content
        file.seek(size // 2)
        assert file.read(10) == content[size // 2 : size // 2 + 10]
        assert file.seek(0, io.SEEK_END) == size


async def test_what_fails_leaves_what_was_there(storage: Storage) -> None:
    write_stream(storage, "a/b.bin", writing(b"before"), NEVER)
    for size in (1000, 20 * 2**20):
        with pytest.raises(MissingFileError, match="somewhere/else"):
            write_stream(storage, "a/b.bin", writing(os.urandom(size), fail=True), NEVER)
        with pytest.raises(MissingFileError):
            write_stream(storage, "a/c.bin", writing(os.urandom(size), fail=True), NEVER)
    with opened(storage, storage.uri("a/b.bin")) as file:
        assert file.read() == b"before"
    assert await storage.files(storage.uri("a")) == [storage.uri("a/b.bin")]


async def test_cancelling_ends_it(storage: Storage) -> None:
    stop = Stop()

    def write(out: IO[bytes]) -> None:
        out.write(b"x" * 1000)
        stop.set()
        out.write(b"x" * 20 * 2**20)

    with pytest.raises(StoppedError):
        write_stream(storage, "a/b.bin", write, stop)
    assert await storage.files(storage.uri("a")) == []


async def test_what_is_not_there_or_not_ours_is_told(storage: Storage) -> None:
    with pytest.raises(MissingFileError), opened(storage, storage.uri("missing")):
        pass
    for uri in ("/etc/passwd", "s3://other/key", storage.root + "/../x"):
        with pytest.raises(UserError), opened(storage, uri):
            pass


async def test_a_zip_is_made_of_zips_and_files_the_same_every_time(storage: Storage) -> None:
    """What was interrupted and begins again writes the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("S2A_X.SAFE/GRANULE/band.jp2", os.urandom(3 * 2**20))
        archive.writestr("S2A_X.SAFE/manifest.safe", b"<manifest/>" * 100)
        archive.writestr("S2A_X.SAFE/empty/", b"")
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as archive:
        archive.writestr("tile.data/a.img", b"a")
        archive.writestr("other/b.img", b"b")
    for key, content in (("a/product.zip", packed.getvalue()), ("a/dim.zip", inside.getvalue()), ("a/lai.tif", b"II*\0" * 1000)):
        write_stream(storage, key, writing(content), NEVER)
    files = [
        OutputFile(storage.uri("a/product.zip"), "S2A_X.zip", packed=True, folder="S2A_X"),
        OutputFile(storage.uri("a/dim.zip"), "tile.zip", packed=True, within="tile.data"),
        OutputFile(storage.uri("a/dim.zip"), "tile.zip", packed=True, folder="all"),
        OutputFile(storage.uri("a/lai.tif"), "20240101_lai.tif"),
    ]
    contents = set()
    for key in ("a/one.zip", "a/two.zip"):
        write_stream(storage, key, lambda out: write_zip(entries_of(files, lambda _: storage, "S2A_X"), out), NEVER)
        with opened(storage, storage.uri(key)) as file:
            contents.add(file.read())
    assert len(contents) == 1
    with zipfile.ZipFile(io.BytesIO(contents.pop())) as archive, zipfile.ZipFile(packed) as original:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            "S2A_X.SAFE/GRANULE/band.jp2",
            "S2A_X.SAFE/manifest.safe",
            "S2A_X/20240101_lai.tif",
            "S2A_X/a.img",
            "all/other/b.img",
            "all/tile.data/a.img",
        ]
        for name in ("S2A_X.SAFE/GRANULE/band.jp2", "S2A_X.SAFE/manifest.safe"):
            assert archive.read(name) == original.read(name)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "a//b", "a\\b", "a\nb"])
async def test_a_member_that_leads_elsewhere_is_refused(storage: Storage, name: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, b"x")
    write_stream(storage, "a/product.zip", writing(packed.getvalue()), NEVER)
    files = [OutputFile(storage.uri("a/product.zip"), "x.zip", packed=True)]
    with pytest.raises(StorageError, match="cannot be the name"):
        write_stream(storage, "a/x.zip", lambda out: write_zip(entries_of(files, lambda _: storage, "X"), out), NEVER)
    write_stream(storage, "a/product.zip", writing(b"no zip at all"), NEVER)
    with pytest.raises(StorageError, match="is no zip"):
        list(entries_of(files, lambda _: storage, "X"))


async def test_a_link_of_minutes_gives_the_file(s3_settings: Settings, s3_server: S3Server) -> None:
    storage = open_storage(s3_settings.storage, s3_settings)
    write_stream(storage, "a/result.zip", writing(b"content" * 1000), NEVER)
    link = presigned(storage, storage.uri("a/result.zip"), "S2A X.zip", 60)
    assert link is not None
    async with aiohttp.ClientSession() as http:
        async with http.get(link) as answer:
            assert (answer.status, await answer.read()) == (200, b"content" * 1000)
            assert answer.headers["Content-Disposition"] == 'attachment; filename="S2A X.zip"'
        async with http.get(link.replace("result.zip", "other.zip")) as answer:
            assert answer.status in (403, 404)
    assert presigned(open_storage("/tmp/folder", Settings()), "/tmp/folder/x", "x", 60) is None
