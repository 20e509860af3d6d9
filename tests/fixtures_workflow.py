"""A small payload with as many scenes as one likes, and a worker by hand that reports what it likes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import nats
import pytest
from fixtures_services import RunningCatalogue
from jobs_by_hand import result

from common.messages import DatasetReport, JobKind, Outcome, RasterFormat, SceneJob, StoredFile, TileJob
from common.messaging import JOBS, JobQueue, Lane, result_subject
from common.pull import Pull

AREA = {"type": "Polygon", "coordinates": [[[10, 50], [11, 50], [11, 51], [10, 51], [10, 50]]]}
VARIABLE = {"name": "v", "dtype": "uint8", "nodata": 0, "min_value": 0, "max_value": 255, "instances": [{"name": "i"}]}


def payload(**more: Any) -> str:
    return json.dumps(
        {
            "name": "w",
            **AREA,
            "start_time": "2024-01-01T00:00:00Z",
            "end_time": "2025-01-01T00:00:00Z",
            "scene_type": {"constellation": "sentinel2"},
            "scene_graph_name": "Pass",
            "tile_graph_name": "Pass",
            "layers": {"layer": {"variable": "v", "instance": "i"}},
            **more,
        }
    )


def scenes(count: int, *, series: bool = True, first: int = 0) -> str:
    """Scenes a day apart, each with one tile `T` that follows that of the scene before."""
    wkt = "POLYGON ((10 50, 11 50, 11 51, 10 51, 10 50))"

    def link(number: int) -> dict[str, str] | None:
        return {"SourceID": "T", "SceneID": f"S2A_{number}", "Date": date(number)} if series and number >= 0 else None

    def date(number: int) -> str:
        return (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)).isoformat()

    return json.dumps(
        {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "geometry": None,
                    "properties": {
                        "source_id": f"S2A_{n}",
                        "aoi": "w",
                        "data": {"date": date(n)},
                        "tags": {},
                        "wkt": wkt,
                        "tiles": [
                            {
                                "SourceID": "T",
                                "SceneID": f"S2A_{n}",
                                "Date": date(n),
                                "data": {},
                                "wkt": wkt,
                                "previous": link(n - 1),
                                "reference": link(0) if n else None,
                            }
                        ],
                    },
                }
                for n in range(first, first + count)
            ],
        }
    )


async def post(catalogue: RunningCatalogue, tiles: str, **more: Any) -> None:
    async with catalogue.http.put(f"{catalogue.url}/cube/variables/v", json=VARIABLE) as response:
        assert response.status in (200, 201)
    response = await catalogue.post("/catalog/aoi", area=payload(**more), tiles=tiles)
    assert response.status == 200, await response.text()


async def statuses(catalogue: RunningCatalogue, table: str) -> list[str]:
    return [row["status"] for row in await catalogue.database.fetch(f"SELECT status FROM {table} ORDER BY id")]


async def until(catalogue: RunningCatalogue, table: str, wanted: list[str]) -> None:
    try:
        async with asyncio.timeout(10):
            while await statuses(catalogue, table) != wanted:
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{table}: {await statuses(catalogue, table)}, not {wanted}") from None


def layer(job: TileJob, uri: str) -> dict[str, Any]:
    """The report of one stored and indexed layer."""
    file = StoredFile(uri=uri, size=1, sha256="00")
    pixels = RasterFormat(dtype="uint8", nodata=0, min_value=0, max_value=255)
    report = DatasetReport(
        layer="layer", tile_id=job.tile.id, instance_id=job.instances["layer"], file=file, format=pixels, real_min=0, real_max=1
    )
    return {"files": [file], "datasets": [report]}


class Broker:
    """A worker by hand: takes jobs, reports what it likes."""

    def __init__(self, client: nats.aio.client.Client) -> None:
        self.client = client

    async def take(self, kind: JobKind, lane: Lane = Lane.NORMAL) -> Any:
        """The next job and its message."""
        pull = Pull(self.client, JOBS, JobQueue(kind, "python", lane).consumer)
        await pull.open()
        async with asyncio.timeout(10):
            while not (messages := await pull.receive(1)):
                pass
        await pull.close()
        model = SceneJob if kind is JobKind.SCENE else TileJob
        return model.model_validate_json(messages[0].data), messages[0]

    async def report(self, job: SceneJob | TileJob, carried: Any, outcome: Outcome = Outcome.DONE, **more: Any) -> None:
        await self.client.jetstream().publish(result_subject(JobKind(job.kind)), result(job, outcome, **more).model_dump_json().encode())
        await carried.ack()

    async def run(self, kind: JobKind, outcome: Outcome = Outcome.DONE, **more: Any) -> Any:
        job, carried = await self.take(kind)
        await self.report(job, carried, outcome, **more)
        return job


@pytest.fixture
async def broker(catalogue: RunningCatalogue) -> AsyncIterator[Broker]:
    client = await nats.connect(catalogue.settings.nats.url)
    yield Broker(client)
    await client.close()
