"""Bad addresses, pages beyond the last, and tokens of any bytes."""

from __future__ import annotations

import pytest
from fixtures_bad_input import check_nothing_created, check_problem
from fixtures_services import RunningCatalogue, run_catalogue, settings_for
from pydantic import SecretStr
from yarl import URL

from common.config import ServerSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("method", "path", "status", "field"),
    [
        ("GET", "/scene/99999999999999999999", 400, "scene"),
        ("GET", "/scene/-1", 400, "scene"),
        ("GET", "/scene/%00", 400, "scene"),
        ("GET", "/scene/%D9%A1", 400, "scene"),
        ("GET", "/scene/999999999999999999", 404, "scene"),
        ("GET", "/tile/1.5", 400, "tile"),
        ("PUT", "/tile/9223372036854775808/retry", 400, "tile"),
        ("PUT", "/scene/1/force/DONE%00", 400, "status"),
        ("PUT", "/scene/1/force/FINE", 400, "status"),
        ("GET", "/aoi/a%00b", 400, "aoi"),
        ("GET", "/aoi/%00*", 400, "aoi"),
        ("GET", "/aoi/a%20b", 400, "aoi"),
        ("GET", "/aoi/" + "a" * 129, 400, "aoi"),
        ("GET", "/aoi/" + "a" * 130 + "*", 400, "aoi"),
        ("POST", "/aoi/a%2Fb", 400, "aoi"),
        ("POST", "/aoi/%C3%A9", 400, "aoi"),
        ("DELETE", "/aoi/nosuch", 404, "aoi"),
        ("GET", "/aoi/w/scenes?page=-1", 400, "page"),
        ("GET", "/aoi/w/scenes?limit=x", 400, "limit"),
        ("GET", "/aoi/w/tiles/NOSUCH", 400, "status"),
        ("GET", "/cube/variables/a%00", 400, "name"),
        ("GET", "/cube/variables/%ED%A0%80", 404, "name"),
        ("GET", "/cube/variables/nosuch", 404, "name"),
        ("GET", "/cube/records/x", 400, "id"),
        ("GET", "/cube/records/00000000-0000-0000-0000-000000000000", 404, "id"),
        ("GET", "/cube/records?name=%00", 400, "name"),
        ("GET", "/cube/records?limit=1e9", 400, "limit"),
        ("GET", "/cube/datasets?record=1", 400, "record"),
        ("GET", "/cube/datasets?aoi=%00", 400, "aoi"),
        ("GET", "/cube/datasets?variable=a%00", 400, "variable"),
        ("GET", "/cube/datasets?page=99999999999", 400, "page"),
        ("GET", "/nosuch", 404, None),
        ("GET", "/%00%ff", 404, None),
        ("GET", "/../../etc/passwd", 404, None),
        ("TRACE", "/aoi/w", 405, None),
        ("PATCH", "/cube/variables/w", 405, None),
    ],
)
async def test_bad_address(assailed: RunningCatalogue, method: str, path: str, status: int, field: str | None) -> None:
    async with assailed.http.request(method, URL(assailed.url + path, encoded=True)) as response:
        await check_problem(response, status, field)
    await check_nothing_created(assailed)


@pytest.mark.parametrize(
    "path", ["/aoi/?page=1", "/cube/records?page=999999999&limit=999999999", "/cube/datasets?page=999999999&limit=999999999"]
)
async def test_far_pages_are_empty(assailed: RunningCatalogue, path: str) -> None:
    async with assailed.http.get(assailed.url + path) as response:
        assert response.status == 200, await response.text()


async def test_token_of_any_bytes(module_database: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = settings_for(module_database, nats_url, tmp_path_factory.mktemp("guarded"))
    guarded = settings.model_copy(update={"server": ServerSettings(port=0, token=SecretStr("right"))})
    async with run_catalogue(guarded) as running:
        for given, status in (
            ("Bearer \udcff\udcfe", 401),
            ("Bearer é", 401),
            ("Bearer wrong", 401),
            ("Basic right", 401),
            ("Bearer right", 200),
        ):
            async with running.http.get(running.url + "/aoi/", headers={"Authorization": given}) as response:
                assert response.status == status, await response.text()
