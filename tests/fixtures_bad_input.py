"""A catalogue that bad requests go to, and how they are told: what people send by mistake or in malice gets a 4xx problem that names the
field, and nothing is created.

All cases of a file go to one running service, which must still work after the last of them.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from fixtures_servers import delete_streams, empty_database
from fixtures_services import RunningCatalogue, run_catalogue, settings_for
from fixtures_workflow import VARIABLE, payload, scenes
from static_catalogue import static_catalogue

from common.config import LimitSettings
from thresher.embedded.postgres import PostgresServer

TABLES = ("aoi", "payload", "record", "scene", "tile", "job", "dataset")
NUL = chr(0)
HALF = "\ud800"
SQUARE = [[10, 50], [11, 50], [11, 51], [10, 51], [10, 50]]
WKT = "POLYGON ((10 50, 11 50, 11 51, 10 51, 10 50))"


@pytest.fixture(scope="module")
def module_database(postgres_server: PostgresServer) -> Iterator[str]:
    with empty_database(postgres_server) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def assailed(module_database: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningCatalogue]:
    """One catalogue for all cases, with the variable that good payloads need and two scenes to be found."""
    await delete_streams(nats_url)
    folder = tmp_path_factory.mktemp("bad")
    settings = settings_for(module_database, nats_url, folder)
    changes = {
        "catalogues": {"small": static_catalogue(folder / "stac")},
        "limits": LimitSettings(allowed_urls=["https://", "s3://", str(folder / "stac")]),
    }
    async with run_catalogue(settings.model_copy(update=changes)) as running:
        async with running.http.put(f"{running.url}/cube/variables/v", json=VARIABLE) as response:
            assert response.status == 201
        yield running
        await check_works(running)


@pytest_asyncio.fixture(loop_scope="module")
async def emptied(assailed: RunningCatalogue) -> AsyncIterator[None]:
    yield
    for (name,) in await assailed.database.fetch("SELECT name FROM aoi"):
        async with assailed.http.delete(f"{assailed.url}/aoi/{name}") as response:
            assert response.status == 204
    await assailed.database.execute("DELETE FROM record")


@dataclass(frozen=True)
class Case:
    """A bad request and what is to be said of it."""

    name: str
    body: bytes | dict[str, str | bytes]
    """The body, or the fields of a form."""
    field: str | None
    """None: the request as a whole cannot be read."""
    status: int = 400
    headers: dict[str, str] | None = None
    path: str = "/catalog/aoi"
    method: str = "POST"


def form(**parts: str | bytes) -> dict[str, str | bytes]:
    return parts


def encoded(body: bytes | dict[str, str | bytes]) -> io.BytesIO | aiohttp.FormData:
    if isinstance(body, bytes):
        return io.BytesIO(body)
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in body.items():
        data.add_field(name, io.BytesIO(value.encode() if isinstance(value, str) else value))
    return data


async def check_refused(assailed: RunningCatalogue, case: Case) -> None:
    """That the case gets its problem, and nothing is created."""
    async with assailed.http.request(case.method, assailed.url + case.path, data=encoded(case.body), headers=case.headers) as response:
        await check_problem(response, case.status, case.field)
    await check_nothing_created(assailed)


async def check_problem(response: aiohttp.ClientResponse, status: int, field: str | None) -> None:
    """That the answer is a problem of this status, about this field, and gives nothing of the inside away."""
    body = await response.text()
    assert (response.status, response.content_type) == (status, "application/problem+json"), body
    problem = json.loads(body)
    assert (problem["status"], problem.get("field")) == (status, field), body
    assert problem["detail"].strip()
    assert len(body) < 4000
    for word in ("Traceback", 'File "', "asyncpg", "SELECT ", "INSERT ", "site-packages", "validation error for"):
        assert word not in body


async def check_nothing_created(assailed: RunningCatalogue) -> None:
    for table in TABLES:
        assert await assailed.count(table) == 0, table


async def check_works(assailed: RunningCatalogue) -> None:
    """That it is ready, and ingests a good area."""
    async with assailed.http.get(assailed.url + "/readyz") as response:
        assert response.status == 200
    response = await assailed.post("/catalog/aoi", area=payload(), tiles=scenes(2))
    assert response.status == 200, await response.text()
    assert [await assailed.count(table) for table in ("aoi", "payload", "record", "scene", "tile", "job")] == [1, 1, 2, 2, 2, 2]
