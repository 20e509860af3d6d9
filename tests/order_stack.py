"""The whole of the service in a test's own process, with both workers, for orders: what it says, writes and sends can be looked through."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import nats
from fixtures_services import RunningCatalogue, run_catalogue
from pydantic import SecretStr

from common.access_settings import HookSettings, SecretsSettings
from common.config import LimitSettings, Settings
from common.messages import JobKind, SceneJob, TileJob
from common.messaging import connect
from common.work import JobContext, WorkReport
from common.worker import Worker
from downloader.shared import Shared
from downloader.work import download_scene
from processor.work import process_tile


def order_settings(settings: Settings, *allowed: str, **hook: Any) -> Settings:
    """Settings with a key, that allow the servers of the test and know no Data Lake."""
    return settings.model_copy(
        update={
            "secrets": SecretsSettings(keys=SecretStr(base64.urlsafe_b64encode(os.urandom(32)).decode())),
            "limits": LimitSettings(allowed_urls=["https://", "s3://", *allowed]),
            "hook": HookSettings(**{"desp_url": "", **hook}),
        }
    )


@dataclass
class OrderStack:
    """What a customer does."""

    catalogue: RunningCatalogue
    headers: dict[str, str] = field(default_factory=dict)
    replies: list[str] = field(default_factory=list)
    """Everything the service answered."""
    messages: list[bytes] = field(default_factory=list)
    """Everything that went over the broker."""

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """As the notebooks do: JSON without a content type."""
        data = json.dumps(body) if body is not None else None
        url = path if "://" in path else f"{self.catalogue.url}/odata/v1/{path}"
        async with self.catalogue.http.request(
            method, url, data=data, headers={**self.headers, **headers}, skip_auto_headers=["Content-Type"], allow_redirects=False
        ) as answer:
            text = await answer.text(errors="replace")
            self.replies.append(text + str(dict(answer.headers)))
            return answer.status, json.loads(text) if "json" in answer.content_type else text

    async def order(self, workflow: str, identifiers: list[str], **options: Any) -> int:
        """The number of a new order."""
        body = {
            "Name": f"order of {workflow}",
            "WorkflowName": workflow,
            "IdentifierList": identifiers,
            "WorkflowOptions": [{"Name": name, "Value": value} for name, value in options.items()],
        }
        status, answer = await self.ask("POST", "BatchOrder/OData.CSC.Order", body)
        assert status == 201, answer
        number = answer["value"]["Id"]
        assert isinstance(number, int)
        return number

    async def ended(self, order: int, status: str = "completed") -> list[dict[str, Any]]:
        """The items of an order, once it has ended."""
        async with asyncio.timeout(60):
            while True:
                _, answer = await self.ask("GET", f"BatchOrder({order})")
                if answer["value"]["Status"] in ("completed", "failed", "cancelled"):
                    break
                await asyncio.sleep(0.1)
        _, products = await self.ask("GET", f"BatchOrder({order})/Products")
        assert answer["value"]["Status"] == status, products
        items: list[dict[str, Any]] = products["value"]
        return items

    async def result(self, order: int) -> dict[str, bytes]:
        """The files in the TEMPORARY result of an order with one item, once it has completed."""
        async with asyncio.timeout(250):
            while (await self.ask("GET", f"BatchOrder({order})"))[1]["value"]["Status"] in ("queued", "in_progress"):
                await asyncio.sleep(0.2)
        [item] = await self.ended(order)
        async with self.catalogue.http.get(item["DownloadLink"]) as answer:
            assert answer.status == 200
            content = await answer.read()
        assert item["ProcessedSize"] == len(content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    async def dump(self) -> str:
        """Everything in the database, as text: every row of every table, bytes also as the text they may hold."""
        tables = await self.catalogue.database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        parts = []
        for table in tables:
            for row in await self.catalogue.database.fetch(f'SELECT * FROM "{table["tablename"]}"'):
                parts += [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row.values()]
        return "\n".join(parts)


@contextlib.asynccontextmanager
async def order_stack(settings: Settings) -> AsyncIterator[OrderStack]:
    async with run_catalogue(settings) as catalogue:
        stack = OrderStack(catalogue)
        client = await connect(settings.nats, "workers of a test")
        listener = await nats.connect(settings.nats.url)

        async def heard(message: Any) -> None:
            stack.messages.append(message.data)

        await listener.subscribe(">", cb=heard)
        shared = Shared(settings)

        async def download(job: SceneJob, context: JobContext) -> WorkReport:
            return await download_scene(job, context, shared)

        async def process(job: TileJob, context: JobContext) -> WorkReport:
            return await process_tile(job, context)

        workers = [Worker(client, JobKind.SCENE, download, settings, 2), Worker(client, JobKind.TILE, process, settings, 2)]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        try:
            yield stack
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.gather(*running)
            await listener.close()
            await client.close()
