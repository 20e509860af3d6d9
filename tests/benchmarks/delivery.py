"""How fast a result is handed over, and in how much memory: a product of a storage, as one zip, into a bucket of a real S3 server.

Run: pytest tests/benchmarks/delivery.py, with DELIVERY_MB for another size.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from catalogue.hook.orders import OutputFile
from catalogue.hook.packages import entries_of, write_zip
from common.config import Settings
from common.storage import open_storage
from common.storage.streams import write_stream
from common.threads import NEVER


def test_delivery(s3_settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    megabytes = int(os.environ.get("DELIVERY_MB", "300"))
    with tempfile.TemporaryDirectory() as folder:
        ours = open_storage(folder, Settings())
        path = Path(folder) / "aoi" / "product.zip"
        path.parent.mkdir()
        block = os.urandom(2**20)
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(10):
                with archive.open(f"X.SAFE/band-{number}.jp2", "w") as member:
                    for _ in range(megabytes // 10):
                        member.write(block)
        files = [OutputFile(str(path), "X.zip", packed=True, folder="X")]
        bucket = open_storage(s3_settings.storage, s3_settings)
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        size = write_stream(bucket, "on-demand/x.zip", lambda out: write_zip(entries_of(files, lambda _: ours, "X"), out), NEVER)
        seconds, grown = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    with capsys.disabled():
        rate = size / 1e6 / seconds
        print(f"\n{size / 1e6:.0f} MB as a zip to a bucket: {seconds:.1f} s, {rate:.0f} MB/s, {grown / 1024:.0f} MB of memory more")
