"""Storage in a folder and in a real bucket: the same promises, the same tests."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from common.config import S3Settings, Settings
from common.errors import ConfigurationError, ErrorKind, MissingFileError, StorageError, ThresherError, UserError
from common.storage import PART_PREFIX, Storage, is_below, open_storage
from common.storage.directory import disk_errors
from common.storage.s3 import MULTIPART_BYTES, client_for


@pytest.fixture(params=["directory", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "s3":
        found: Settings = request.getfixturevalue("s3_settings")
        return found
    return Settings(storage=str(tmp_path / "sto re"))


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings.storage, settings)


def _file(folder: Path, content: bytes, name: str = "source") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _parts(folder: Path) -> list[Path]:
    """What unfinished writes left behind."""
    return [path for path in folder.rglob("*") if path.name.startswith(PART_PREFIX)]


async def test_put_then_get_gives_the_same_bytes_and_proves_them(storage: Storage, tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20 + 17)
    stored = await storage.put(_file(tmp_path, content), "aoi/scene/tiles/tile/file.tif")
    assert stored.uri == storage.root + "/aoi/scene/tiles/tile/file.tif" == storage.uri("aoi/scene/tiles/tile/file.tif")
    assert stored.size == len(content)
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    await storage.get("aoi/scene/tiles/tile/file.tif", tmp_path / "new" / "target")
    assert (tmp_path / "new" / "target").read_bytes() == content
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["target"]


async def test_the_files_of_a_folder_are_listed(storage: Storage, tmp_path: Path) -> None:
    keys = ["aoi/scene/tiles/T1/file.tif", "aoi/scene/tiles/T1/run/layer.tif", "aoi/scene/tiles/T10/file.tif"]
    for key in keys:
        await storage.put(_file(tmp_path, b"x"), key)
    assert await storage.files(storage.uri("aoi/scene/tiles/T1")) == [storage.uri(key) for key in keys[:2]]
    assert await storage.files(storage.uri("aoi/none")) == []
    with pytest.raises(UserError):
        await storage.files("/elsewhere")


async def test_a_file_of_many_parts(storage: Storage, tmp_path: Path) -> None:
    content = os.urandom(MULTIPART_BYTES + 5 * 2**20 + 3)
    stored = await storage.put(_file(tmp_path, content), "big")
    assert (stored.size, stored.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    await storage.get("big", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == content


async def test_an_empty_file(storage: Storage, tmp_path: Path) -> None:
    stored = await storage.put(_file(tmp_path, b""), "empty")
    assert stored.size == 0
    await storage.get("empty", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b""


async def test_put_replaces_and_get_replaces(storage: Storage, tmp_path: Path) -> None:
    await storage.put(_file(tmp_path, b"first, and longer"), "key")
    await storage.put(_file(tmp_path, b"second"), "key")
    target = _file(tmp_path, b"what was there before", "target")
    await storage.get("key", target)
    assert target.read_bytes() == b"second"


async def test_what_is_missing_is_named(storage: Storage, tmp_path: Path) -> None:
    await storage.put(_file(tmp_path, b"x"), "there/is/this")
    with pytest.raises(MissingFileError, match=r"there/is/not"):
        await storage.get("there/is/not", tmp_path / "folder" / "target")
    with pytest.raises(MissingFileError):
        await storage.get("there/is", tmp_path / "folder" / "target")
    with pytest.raises(MissingFileError, match="no-such-source"):
        await storage.put(tmp_path / "no-such-source", "key")
    assert not await storage.exists("key")
    assert not await storage.exists("there/is")
    assert await storage.exists("there/is/this")
    assert not _parts(tmp_path)


async def test_delete_is_idempotent_and_touches_nothing_else(storage: Storage, tmp_path: Path) -> None:
    source = _file(tmp_path, b"x")
    for key in ("a/b/one", "a/b/two", "a/c"):
        await storage.put(source, key)
    await storage.delete(storage.uri("a/b/one"))
    await storage.delete(storage.uri("a/b/one"))
    await storage.delete(storage.uri("never/was/there"))
    assert [await storage.exists(key) for key in ("a/b/one", "a/b/two", "a/c")] == [False, True, True]
    await storage.delete(storage.uri("a/b/two"))
    assert await storage.exists("a/c")
    await storage.put(source, "a/b/two")
    assert await storage.exists("a/b/two")


async def test_delete_refuses_what_is_outside(storage: Storage, settings: Settings, tmp_path: Path) -> None:
    neighbour = open_storage(settings.storage + "-neighbour", settings)
    await neighbour.put(_file(tmp_path, b"x"), "key")
    outside = [neighbour.uri("key"), f"{storage.root}/../x", f"{storage.root}/a/../../x", storage.root, f"{storage.root}/", "/etc/passwd"]
    for uri in [*outside, f"{storage.root}//etc/passwd", "s3://other/key", "", "relative"]:
        with pytest.raises(UserError):
            await storage.delete(uri)
    assert await neighbour.exists("key")


@pytest.mark.parametrize("name", ["with space", "Zürich – été", "a+b&c=d?e#f%2F", "x:y", "...", "-rf", "~", "$HOME", "'quote\"", "日本"])
async def test_odd_names_are_only_names(storage: Storage, tmp_path: Path, name: str) -> None:
    stored = await storage.put(_file(tmp_path, name.encode()), f"{name}/{name}")
    assert await storage.exists(f"{name}/{name}")
    await storage.get(f"{name}/{name}", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == name.encode()
    await storage.delete(stored.uri)
    assert not await storage.exists(f"{name}/{name}")


@pytest.mark.parametrize(
    "key", ["", "/", "/a", "a/", "a//b", "..", "a/../b", "a/./b", "a\\b", "a\nb", "a\0b", ".part-1", "x" * 256, "y/" * 600 + "y"]
)
async def test_keys_that_lead_elsewhere_are_refused(storage: Storage, tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError):
        storage.uri(key)
    with pytest.raises(UserError):
        await storage.put(_file(tmp_path, b"x"), key)
    with pytest.raises(UserError):
        await storage.get(key, tmp_path / "target")


async def test_cancelling_leaves_no_part_of_a_file(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(2**30)
    task = asyncio.create_task(storage.put(source, "big/file"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await storage.exists("big/file")
    assert not _parts(tmp_path)


async def test_many_writers_of_one_key_leave_one_whole_file(storage: Storage, tmp_path: Path) -> None:
    sources = [_file(tmp_path, bytes([index]) * 2**20, f"source{index}") for index in range(6)]
    stored = await asyncio.gather(*(storage.put(source, "same/key") for source in sources))
    await storage.get("same/key", tmp_path / "target")
    content = (tmp_path / "target").read_bytes()
    assert len(content) == 2**20
    assert hashlib.sha256(content).hexdigest() in {file.sha256 for file in stored}


async def test_writing_beside_deleting_in_the_same_folder(tmp_path: Path) -> None:
    """A deletion that takes the empty folder away must not make a write fail."""
    storage = open_storage(str(tmp_path / "store"), Settings())
    source = _file(tmp_path, b"x")

    async def churn(name: str) -> None:
        for _ in range(60):
            stored = await storage.put(source, f"a/b/c/{name}")
            await storage.delete(stored.uri)

    await asyncio.gather(*(churn(str(index)) for index in range(4)))
    assert not list((tmp_path / "store").rglob("*"))


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    storage = open_storage(str(_file(tmp_path, b"a file, not a folder") / "store"), Settings())
    with pytest.raises(StorageError, match="cannot be written"):
        await storage.put(_file(tmp_path, b"x", "other"), "key")


def test_a_full_disk_is_temporary() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")

    def write() -> None:
        with disk_errors("key cannot be written"), full.open("wb", buffering=0) as file:
            file.write(b"x")

    with pytest.raises(ThresherError, match="key cannot be written: No space left") as caught:
        write()
    assert caught.value.kind is ErrorKind.TEMPORARY


async def test_a_bucket_that_does_not_exist_is_told(s3_settings: Settings, tmp_path: Path) -> None:
    storage = open_storage("s3://no-such-bucket-here/prefix", s3_settings)
    for attempt in (storage.put(_file(tmp_path, b"x"), "key"), storage.get("key", tmp_path / "target"), storage.exists("key")):
        with pytest.raises(StorageError, match=r"the bucket 'no-such-bucket-here' does not exist at http://127.0.0.1"):
            await attempt


async def test_a_server_that_is_down_is_temporary(tmp_path: Path, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    settings = Settings(s3=S3Settings(endpoint_url=f"http://127.0.0.1:{unused_tcp_port}"))
    storage = open_storage("s3://bucket", settings)
    with pytest.raises(ThresherError, match="does not answer") as caught:
        await storage.put(_file(tmp_path, b"x"), "key")
    assert caught.value.kind is ErrorKind.TEMPORARY


async def test_wrong_keys_are_told_without_repeating_them(s3_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-private")
    settings = Settings(s3=S3Settings(endpoint_url=s3_settings.s3.endpoint_url, region="eu-west-1"))
    with pytest.raises(StorageError, match="refuses access") as caught:
        await open_storage(s3_settings.storage, settings).put(_file(tmp_path, b"x"), "key")
    assert "wrong-and-private" not in str(caught.value)


async def test_no_parts_are_left_in_the_bucket(s3_settings: Settings, tmp_path: Path) -> None:
    """A cancelled multipart upload is aborted: its parts would be paid for for ever."""
    storage = open_storage(s3_settings.storage, s3_settings)
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(2**30)
    task = asyncio.create_task(storage.put(source, "big"))
    bucket = s3_settings.storage.removeprefix("s3://").split("/")[0]
    client = client_for(s3_settings.s3)
    for _ in range(200):
        if (await asyncio.to_thread(client.list_multipart_uploads, Bucket=bucket)).get("Uploads"):
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("the upload never began")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


@pytest.mark.parametrize(
    ("uri", "root"),
    [
        ("/data/layers/", "/data/layers"),
        ("/data/x/../layers", "/data/layers"),
        ("file:///data/my%20layers", "/data/my layers"),
        ("file://localhost/data", "/data"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket//a//b/", "s3://bucket/a/b"),
    ],
)
def test_one_spelling_of_a_root(uri: str, root: str) -> None:
    assert open_storage(uri, Settings()).root == root


def test_a_relative_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_storage("store", Settings()).root == str(tmp_path / "store")


@pytest.mark.parametrize(
    "uri", ["", " ", "gs://bucket", "http://host/x", "s3://", "s3://UPPER", "s3://b/../c", "file://host/x", "file:///x?y", "a\0b"]
)
def test_what_is_no_storage_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError):
        open_storage(uri, Settings())


def test_below_means_below_a_whole_name() -> None:
    assert is_below("s3://bucket/a/b", "s3://bucket/a/")
    assert is_below("/data/x", "file:///data")
    assert is_below("/data", "/data/")
    assert not is_below("s3://bucket/ab", "s3://bucket/a")
    assert not is_below("s3://bucket-other/a", "s3://bucket")
    assert not is_below("/data/../etc", "/data")
    assert not is_below("/data", "s3://data")
