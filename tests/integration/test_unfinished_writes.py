"""What killed writers leave in a storage, in a folder and in a real bucket, and who sweeps it."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fixtures_services import run_catalogue
from fixtures_workflow import post, scenes

from catalogue.database import open_pool
from catalogue.workflow.unfinished import UnfinishedSweeper
from common.config import Settings
from common.errors import StorageError
from common.storage import PART_PREFIX, Storage, open_storage
from common.storage.s3 import client_for

TWO_DAYS_S = 2 * 86_400.0


def yesterday() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)


def part(folder: Path, *, name: str = "", age_s: float = TWO_DAYS_S) -> Path:
    """What a writer to `folder` leaves when it is killed."""
    path = folder / (name or f"{PART_PREFIX}{uuid.uuid4().hex}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half of a file")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


async def test_old_parts_of_files_are_removed_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    storage = open_storage(str(root), Settings())
    assert await storage.discard_parts(yesterday()) == 0, "a storage that nothing was written to yet"
    tile = root / "aoi" / "scene" / "tiles" / "T"
    kept = [
        part(tile, name="20240101_T_layer.tif"),
        part(tile, age_s=3600),
        part(tile, name=f"{PART_PREFIX}product.zip"),
        part(tile, name=f"{PART_PREFIX}{uuid.uuid4().hex}.zip"),
        part(tmp_path / "beside"),
    ]
    link = tile / f"{PART_PREFIX}{uuid.uuid4().hex}"
    link.symlink_to(kept[0])
    os.utime(link, (time.time() - TWO_DAYS_S,) * 2, follow_symlinks=False)
    folder = tile / f"{PART_PREFIX}{uuid.uuid4().hex}"
    kept.append(part(folder, name="file"))
    gone = [part(tile), part(tile / str(uuid.uuid4())), part(root)]
    assert await storage.discard_parts(yesterday()) == 3
    assert [path for path in (*kept, link) if not path.exists()] == []
    assert [path for path in gone if path.exists()] == []
    assert not gone[1].parent.exists(), "the folder that only it was in goes with it"
    assert await storage.discard_parts(yesterday()) == 0


async def test_what_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted")

    part(tmp_path)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match=r"\.part-\w+ cannot be deleted: Operation not permitted"):
        await open_storage(str(tmp_path), Settings()).discard_parts(yesterday())


async def test_uploads_that_were_never_completed_are_aborted(s3_settings: Settings) -> None:
    client = client_for(s3_settings.s3)
    bucket, _, prefix = s3_settings.storage.removeprefix("s3://").partition("/")
    storage = open_storage(s3_settings.storage, s3_settings)

    def begin(key: str) -> str:
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"half of a file")
        return upload

    def unfinished() -> list[str]:
        return sorted(upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))

    keys = [f"{prefix}/aoi/scene/tiles/T/a.tif", f"{prefix}/aoi/scene/tiles/T/b.tif", f"{prefix}-of-others/a.tif"]
    for key in keys:
        await asyncio.to_thread(begin, key)
    assert await storage.discard_parts(yesterday()) == 0, "they may still be going on"
    assert unfinished() == sorted(keys)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    found = await asyncio.gather(*(storage.discard_parts(tomorrow) for _ in range(2)))
    assert max(found) == 2, "several replicas may at once"
    assert unfinished() == keys[2:]


async def test_a_bucket_that_is_not_there_is_told(s3_settings: Settings) -> None:
    bucket = s3_settings.storage.removeprefix("s3://").split("/")[0]
    with pytest.raises(StorageError, match="does not exist"):
        await open_storage(f"s3://{bucket}-other", s3_settings).discard_parts(yesterday())


async def test_the_catalogue_sweeps_its_storage_and_those_of_payloads(
    catalogue_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    default, other = Path(catalogue_settings.storage), tmp_path / "other"
    settings = catalogue_settings.model_copy(
        update={"limits": catalogue_settings.limits.model_copy(update={"allowed_storage": [str(other)]})}
    )
    left = part(default / "aoi")
    async with run_catalogue(settings) as running:
        async with asyncio.timeout(10):
            while left.exists():
                await asyncio.sleep(0.02)
        await post(running, scenes(1), storage_uri=str(other / "mine"))
        left, of_payload, of_others = part(default / "aoi"), part(other / "mine" / "aoi"), part(other / "aoi")
        pool = await open_pool(settings.database.url, size=2)

        def storage_at(uri: str) -> Storage:
            if uri == str(default):
                raise StorageError("it is out of order")
            return open_storage(uri, settings)

        try:
            await UnfinishedSweeper(pool, storage_at, str(default)).sweep()
        finally:
            await pool.close()
    assert left.exists()
    assert "cannot be swept: it is out of order" in caplog.text
    assert not of_payload.exists(), "one storage that cannot be swept does not stop the others"
    assert of_others.exists()
