"""The two notebooks that people use with the on-demand service, run cell by cell against `thresher up`, as they are.

Filled in are hosts, user, keys, bucket, order numbers and product names. Two things stand in: `destinelab`, a login helper with its host
written into it, and `IPython.display.JSON`. What cannot succeed, and why, is in `REFUSED` and `NOT_SHOWN`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import order_source
import pytest
import requests
from fixtures_s3 import ACCESS_KEY, SECRET_KEY, S3Server
from notebook_cells import Notebook, cells_beginning, filled, marked_cells
from order_source import Listed, OrderSource, safe_files

from common.storage.s3 import client_for

pytestmark = [
    pytest.mark.timeout(400),
    # The notebooks leave the closing of files and clients to chance.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

REPOSITORY = Path(__file__).resolve().parents[2]
TUTORIAL = "001_458b4265b8b598a4.txt"
PRESENTATION = "002_60da6760313a3f92.txt"
HARVESTED = "S2A_MSIL2A_20180124T092251_N0213_R093_T35TLG_20210214T010009"
TUTORIAL_PRODUCT = "S2A_MSIL1C_20230910T050701_N0509_R019_T47VLH_20230910T074321"
OTHERS = [
    "S2A_MSIL2A_20230906T102601_N0509_R108_T32UMA_20230906T164400",
    "S1A_IW_GRDH_1SDV_20230910T054256_20230910T054321_050261_060CD9_BF21",
    "S1A_IW_GRDH_1SDV_20230908T170841_20230908T170906_050239_060C22_92AB",
    "S1A_IW_SLC__1SDV_20230930T172417_20230930T172444_050560_06170F_59DF",
]

REFUSED = {
    "c2rcc": "needs ESA SNAP",
    "sen2cor_private": "needs Sen2Cor",
    "maja_private": "needs MAJA",
}
"""Orders that this deployment refuses: the tools are not there, and it does not say it had them."""
NOT_SHOWN = ("increased priority - first", "increased priority - second")
"""Cells that hand a response instead of its content to JSON(): the order is placed, and the notebook then raises TypeError."""

TUTORIAL_CELLS = (
    "import os",
    "# By default users should use their DESP credentials",
    "# Hook service url",
    "# Send request and return json object listing all provided workfows",
    "# Print result JSON object: containing provided workflow list",
    "# Select workflow : defaults to data-harvest",
    "# Here we set the variable order_name",
    "# Output storage - Islet service",
    "# URL of the STAC server where your collection/item can be downloaded",
    "########## BUILD ORDER BODY : CHOOSE PRIVATE or TEMPORARY",
    "# ProductionOrders endpoint gives status of orders",
    "# PRIVATE STORAGE: Prints contents of Private Bucket",
    "# List order items within a production order",
)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The notebooks, which stand beside the repository."""
    data = Path(os.environ.get("THRESHER_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    folder = data.parent / "seeds"
    if not (folder / TUTORIAL).is_file():
        pytest.skip(f"the notebooks are not in {folder}")
    return {name: (folder / name).read_text() for name in (TUTORIAL, PRESENTATION)}


@dataclass
class Deployment:
    """A stack with a login, and what its customers use."""

    url: str
    source: str
    s3: S3Server
    username: str
    password: str
    logs: Path

    def token(self, username: str, password: str) -> str:
        form = {"grant_type": "password", "client_id": "hda-public", "username": username, "password": password}
        answer = requests.post(f"{self.url}/auth/realms/dedl/protocol/openid-connect/token", form, timeout=30)
        return str(answer.json()["access_token"])

    def ask(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token(self.username, self.password)}"}
        return requests.get(f"{self.url}/odata/v1/{path}", headers=headers, timeout=30).json()["value"]

    def ended(self, order: int) -> str:
        """The state of an order, once it has ended."""
        deadline = time.monotonic() + 150
        while (state := self.ask(f"BatchOrder({order})")["Status"]) in ("queued", "in_progress"):
            assert time.monotonic() < deadline, json.dumps(self.ask(f"BatchOrder({order})/Products"))
            time.sleep(0.1)
        return str(state)


@pytest.fixture(scope="module")
def source() -> Iterator[OrderSource]:
    """The catalogue of the Data Lake, as far as these customers see it, in a thread of its own."""
    products = {name: Listed(name) for name in (HARVESTED, TUTORIAL_PRODUCT, *OTHERS)}
    started, loop, running = threading.Event(), asyncio.new_event_loop(), OrderSource(products)
    stop = asyncio.Event()

    async def serve() -> None:
        async with running:
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(20)
    yield running
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def deployment(source: OrderSource, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("stack")
    client = client_for(s3_server.settings)
    for bucket in ("customer-bucket", "odp-input"):
        client.create_bucket(Bucket=bucket)
    client.put_object(Bucket="odp-input", Key="example.data", Body=b"hello world\n")
    config = folder / "thresher.toml"
    config.write_text(
        f"""[limits]
allowed_urls = ["https://", "s3://", "{source.url}", "{s3_server.endpoint_url}"]
[hook]
desp_url = "{source.url}/stac"
desp_token_url = "{source.token_url}"
[worker]
min_memory_mb = 0
concurrency = 8  # two of the orders sleep for two minutes
"""
    )
    command = [sys.executable, "-P", "-m", "thresher.cli", "up", "--port", "0", "--demo-auth"]
    data = folder / "data"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("THRESHER_")}
    with (folder / "up.log").open("wb") as said:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data), "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            cwd=folder,
            env={**environment, "PYTHONPATH": str(REPOSITORY)},
        )
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith("ready ")), "")
        assert line, (folder / "up.log").read_text()
        user = json.loads((data / "auth" / "user.json").read_text())
        yield Deployment(line.split()[1], source.url, s3_server, user["username"], user["password"], data / "logs")
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()  # type: ignore[union-attr]


@pytest.fixture
def notebook(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Notebook:
    monkeypatch.chdir(tmp_path)
    # The customer has one account for everything.
    monkeypatch.setattr(order_source, "USER", deployment.username)
    monkeypatch.setattr(order_source, "PASSWORD", deployment.password)
    running = Notebook(monkeypatch, deployment.username, deployment.password)
    running.log_in_with(deployment.token)
    return running


@pytest.mark.parametrize(("private", "source_type"), [(False, "DESP"), (True, "EXTERNAL")], ids=["temporary", "private"])
def test_the_tutorial(
    texts: dict[str, str],
    deployment: Deployment,
    notebook: Notebook,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    private: bool,
    source_type: str,
) -> None:
    settings = {
        "HOOK_ORDER_NAME": f"notebook-{source_type}",
        "HOOK_OUTPUT_BUCKET": "customer-bucket",
        "HOOK_OUTPUT_STORAGE_ACCESS_KEY": ACCESS_KEY,
        "HOOK_OUTPUT_STORAGE_SECRET_KEY": SECRET_KEY,
        "HOOK_IS_PRIVATE_STORAGE": str(private),
        "HOOK_SOURCE_TYPE": source_type,
        "HOOK_EXTERNAL_USERNAME": deployment.username,
        "HOOK_EXTERNAL_PASSWORD": deployment.password,
        "HOOK_EXTERNAL_TOKEN_URL": f"{deployment.source}/auth/realms/dedl/protocol/openid-connect/token",
        "HOOK_EXTERNAL_CLIENT_ID": "hda-public",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    hosts = {
        "https://odp.data.destination-earth.eu": deployment.url,
        "https://hda.data.destination-earth.eu": deployment.source,
        "https://s3.central.data.destination-earth.eu": deployment.s3.endpoint_url,
    }
    cells = [filled(cell, hosts) for cell in cells_beginning(texts[TUTORIAL], TUTORIAL_CELLS)]
    assert len(cells) == len(TUTORIAL_CELLS)
    for cell in cells[:10]:
        assert all(answer.ok for answer in notebook.run(cell))
    order = notebook.namespace["order_id"]
    assert isinstance(order, int)
    # Right after it was placed.
    states = notebook.run(cells[10])
    assert [len(answer.json()["value"]) for answer in states] == [1, 1]
    assert states[0].json()["value"][0]["Status"] in ("queued", "in_progress", "completed")

    assert deployment.ended(order) == "completed", deployment.ask(f"BatchOrder({order})/Products")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert all(answer.ok for answer in notebook.run(cells[11]) + notebook.run(cells[12]))
    expected = {f"{TUTORIAL_PRODUCT}.SAFE/{path}": content for path, content in safe_files(TUTORIAL_PRODUCT).items()}
    if private:
        prefix = f"dedl-data-harvest-{settings['HOOK_ORDER_NAME']}/"
        assert set(printed.getvalue().split()) >= {prefix + path for path in expected}
        assert in_bucket(deployment, prefix) == expected
    else:
        # Its last cell downloads what has been ordered, if one tells it to.
        notebook.run(cells[12].replace("is_download_products = False", "is_download_products = True"))
        [item] = deployment.ask(f"BatchOrder({order})/Products")
        archive = tmp_path / f"output-data-harvest-{order}-{item['Id']}.zip"
        assert in_zip(archive.read_bytes()) == expected
        assert item["ProcessedSize"] == archive.stat().st_size
        assert in_zip(requests.get(item["DownloadLink"], timeout=30).content) == expected


def test_the_presentation(texts: dict[str, str], deployment: Deployment, notebook: Notebook, tmp_path: Path) -> None:
    values = {
        "https://odp.data.destination-earth.eu": deployment.url,
        "https://identity.data.destination-earth.eu/auth/realms/dedl/protocol": f"{deployment.url}/auth/realms/dedl/protocol",
        "https://identity.data.destination-earth.eu": deployment.source,
        "https://hda.data.destination-earth.eu": deployment.source,
        "https://datahub.creodias.eu": deployment.source,
        "https://eodata.cloudferro.com": deployment.s3.endpoint_url,
        "https://s3.central.data.destination-earth.eu": deployment.s3.endpoint_url,
        "your-access-key": ACCESS_KEY,
        "your-secret-key": SECRET_KEY,
        "your-bucket-name": "customer-bucket",
    }
    cells = [filled(cell, values) for cell in marked_cells(texts[PRESENTATION])]
    assert len(cells) == 32
    placed: dict[str, int] = {}
    asked = 0
    for cell in cells:
        if "XXXX" in cell or "list_objects_v2" in cell:
            continue  # of orders that have ended: below
        shown = contextlib.nullcontext() if not any(name in cell for name in NOT_SHOWN) else pytest.raises(TypeError)
        before = len(notebook.answers)
        with shown:
            notebook.run(cell)
        answers = notebook.answers[before:]
        asked += len(answers)
        for answer in answers:
            check(answer, notebook.namespace.get("processor_name", ""), placed, cell)
    assert asked == 23
    assert set(placed) >= {"data-harvest", "dedl_hello_world", *NOT_SHOWN}

    assert deployment.ended(placed["data-harvest"]) == "completed", deployment.ask(f"BatchOrder({placed['data-harvest']})/Products")
    assert deployment.ended(placed["dedl_hello_world"]) == "completed", deployment.ask(f"BatchOrder({placed['dedl_hello_world']})/Products")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        notebook.run(next(cell for cell in cells if "list_objects_v2" in cell))
    stored = in_bucket(deployment, "dedl_060/")
    assert set(printed.getvalue().split()) == {f"dedl_060/{path}" for path in stored}
    harvested = {f"{HARVESTED}.SAFE/{path}": content for path, content in safe_files(HARVESTED).items()}
    assert {path: content for path, content in stored.items() if path.startswith(HARVESTED)} == harvested
    assert [content for path, content in stored.items() if path.endswith("example.data")] == [b"HELLO WORLD\n"]

    # Any completed order with a TEMPORARY result will do for the last cells.
    body = {"Name": "temporary", "WorkflowName": "data-harvest", "IdentifierList": [HARVESTED], "WorkflowOptions": own_source(deployment)}
    headers = notebook.namespace["api_headers"]
    answer = requests.post(f"{deployment.url}/odata/v1/BatchOrder/OData.CSC.Order", json.dumps(body), headers=headers, timeout=30)
    order = answer.json()["value"]["Id"]
    assert deployment.ended(order) == "completed"
    [item] = deployment.ask(f"BatchOrder({order})/Products")
    for cell in cells:
        if "XXXX" in cell:
            assert all(each.ok for each in notebook.run(filled(cell, {"XXXX": str(order), "YYYY": str(item["Id"])})))
    assert in_zip((tmp_path / "output.zip").read_bytes()) == harvested

    for name in NOT_SHOWN:
        number = placed[name]
        answer = requests.post(f"{deployment.url}/odata/v1/BatchOrder({number})/OData.CSC.Cancel", headers=headers, timeout=30)
        # On a slow machine they may have slept enough.
        assert (answer.status_code, answer.json().get("value", {}).get("Status")) in ((200, "cancelled"), (409, None))
    logs = "".join(path.read_text(errors="replace") for path in deployment.logs.glob("*.log"))
    assert logs
    assert all(secret not in logs for secret in (SECRET_KEY, deployment.password))


def test_the_command_line(deployment: Deployment, notebook: Notebook, tmp_path: Path) -> None:
    assert notebook.username == deployment.username
    token = deployment.token(deployment.username, deployment.password)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "THRESHER_URL": deployment.url, "THRESHER_TOKEN": token}
    environment["PASSWORD"] = deployment.password

    def order(*arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-P", "-m", "thresher.cli", "order", *arguments]
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**environment, "PASSWORD": deployment.password},
            cwd=tmp_path,
            timeout=120,
            check=False,
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    assert "data-harvest" in order("workflows")
    assert "desp_source_password" in order("workflows", "data-harvest")
    options = ["-o", "source_type=DESP", "-o", f"desp_source_username={deployment.username}", "--secret", "desp_source_password=PASSWORD"]
    said = order("submit", "data-harvest", f"{HARVESTED}.SAFE", *options, "--name", "by hand", "--key", "once", "--watch")
    number = said.split()[0]
    assert "completed" in said
    assert order("submit", "data-harvest", f"{HARVESTED}.SAFE", *options, "--name", "by hand", "--key", "once").split() == [number]
    assert "by hand" in order("list")
    order("fetch", number, "--out", "results")
    expected = {f"{HARVESTED}.SAFE/{path}": content for path, content in safe_files(HARVESTED).items()}
    assert in_zip((tmp_path / "results" / f"{HARVESTED}.zip").read_bytes()) == expected
    assert "sleep_time" in order("submit", "odp-test", "-o", "sleep_time=long", code=2)
    assert "no order" in order("watch", "999999", code=2)


def check(answer: requests.Response, workflow: str, placed: dict[str, int], cell: str) -> None:
    """What a cell was answered is what its author expects, or why it cannot be."""
    document = answer.json()
    if answer.request.method == "GET":
        assert answer.status_code == 200, document
        if "$expand" in answer.url:
            asked = [each["Name"] for each in document["value"]]
            assert len(asked) == 1
            assert f"'{asked[0]}'" in requests.utils.unquote(answer.url)
            assert document["value"][0]["WorkflowOptions"]
        elif "contains" in answer.url or "endswith" in answer.url:
            assert len(document["value"]) >= 2
            assert all("060" in each["Name"] for each in document["value"])
        return
    if workflow in REFUSED:
        assert answer.status_code == 422
        assert REFUSED[workflow] in document["detail"][0]["msg"]
        return
    assert answer.status_code == 201, document
    name = next((name for name in NOT_SHOWN if name in cell), workflow)
    placed[name] = document["value"]["Id"]
    assert document["value"]["Priority"] == {NOT_SHOWN[0]: 5, NOT_SHOWN[1]: 10}.get(name, 1)


def own_source(deployment: Deployment) -> list[dict[str, str]]:
    options = {
        "source_type": "DESP",
        "desp_source_username": deployment.username,
        "desp_source_password": deployment.password,
        "desp_source_collection": "EO.ESA.DAT.SENTINEL-2.MSI.L2A",
    }
    return [{"Name": name, "Value": value} for name, value in options.items()]


def in_bucket(deployment: Deployment, prefix: str) -> dict[str, bytes]:
    client = client_for(deployment.s3.settings)
    listed = client.list_objects_v2(Bucket="customer-bucket", Prefix=prefix).get("Contents", [])
    keys = [entry["Key"] for entry in listed]
    return {key.removeprefix(prefix): client.get_object(Bucket="customer-bucket", Key=key)["Body"].read() for key in keys}


def in_zip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
