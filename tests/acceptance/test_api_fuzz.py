"""The API against its own description: /openapi.json names every route, and requests made from it meet a service that keeps its word."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import asyncpg
import pytest
import requests
import schemathesis
from fixtures_servers import delete_streams, empty_database
from fixtures_services import settings_for
from fixtures_workflow import VARIABLE, payload, scenes
from hypothesis import HealthCheck, Phase, settings
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from static_catalogue import static_catalogue

from catalogue.http.endpoints import ENDPOINTS
from catalogue.http.openapi import describe
from catalogue.service import running_catalogue
from common.config import LimitSettings
from thresher.embedded.postgres import PostgresServer

SEEDED = "Example"
"""The AOI that the description gives as an example."""
TABLES = "job, tile, scene, payload, aoi, dataset, record, instance, variable, deletion"

SCHEMA = schemathesis.openapi.from_dict(describe()).exclude(path_regex="/events$")
"""Without the one answer that never ends."""

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, unsupported_method]
UNSAYABLE = {"/catalog/scenes", "/catalog/tiles", "/catalog/aoi", "/cube/variables/{name}", "/dead/{seq}/retry"} | {
    "/cube/records",
    "/stac/search",
    "/stac/collections/{collection}/items",
}
"""Their rules are more than a schema can say: that a ring is closed, that a graph exists, that a number fits into a type, that a text is a
time.
"""
ORDERING = "/odata/"
"""Below it, too: a filter is a language, and what an order may hold its workflow says."""


class Service:
    """A catalogue in a thread of its own, as requests are made by blocking calls."""

    def __init__(self, database_url: str) -> None:
        self.url = ""
        self.database_url = database_url

    def seed(self) -> None:
        """The same two scenes and their variable as before every test, under the same numbers."""
        asyncio.run(self._truncate())
        assert requests.put(f"{self.url}/cube/variables/CloudMask", json={**VARIABLE, "name": "CloudMask"}, timeout=10).status_code == 201
        area = payload(name=SEEDED, layers={"layer": {"variable": "CloudMask", "instance": "i"}})
        files = {"area": (None, area), "tiles": (None, scenes(2).replace('"aoi": "w"', f'"aoi": "{SEEDED}"'))}
        answer = requests.post(f"{self.url}/catalog/aoi", files=files, timeout=10)
        assert answer.status_code == 200, answer.text

    async def _truncate(self) -> None:
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE")
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def service(postgres_server: PostgresServer, nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("fuzz")
    changes = {
        "catalogues": {"small": static_catalogue(folder / "stac")},
        "limits": LimitSettings(allowed_urls=["https://", str(folder / "stac")]),
    }
    with empty_database(postgres_server) as database_url:
        config = settings_for(database_url, nats_url, folder).model_copy(update=changes)
        running, stop = Service(database_url), asyncio.Event()
        started = threading.Event()
        loop = asyncio.new_event_loop()

        async def run() -> None:
            await delete_streams(nats_url)
            async with running_catalogue(config) as running.url:
                started.set()
                await stop.wait()

        def work() -> None:
            try:
                loop.run_until_complete(run())
            finally:
                loop.close()
                started.set()

        thread = threading.Thread(target=work, name="catalogue")
        thread.start()
        started.wait(60)
        assert running.url, "the catalogue did not start"
        yield running
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


@pytest.fixture
def seeded(service: Service) -> Service:
    service.seed()
    return service


@SCHEMA.parametrize()
@settings(
    max_examples=10,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_service_keeps_its_word(seeded: Service, case: schemathesis.Case) -> None:
    unsayable = case.operation.path in UNSAYABLE or case.operation.path.startswith(ORDERING)
    checks = [*CHECKS, *([] if unsayable else [negative_data_rejection, positive_data_acceptance])]
    case.call_and_validate(base_url=seeded.url, checks=checks, timeout=30)


def test_description_is_valid_and_whole(service: Service) -> None:
    document = requests.get(f"{service.url}/openapi.json", timeout=10).json()
    assert document == describe()
    validate(document)
    described = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert described == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["responses"]
    identities = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert len(identities) == len(set(identities))
