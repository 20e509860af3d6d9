"""The services themselves, running in the test's own process on real PostgreSQL and NATS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from catalogue.service import running_catalogue
from common.config import DatabaseSettings, LimitSettings, NatsSettings, ServerSettings, Settings, WorkerSettings


@dataclass(frozen=True)
class RunningCatalogue:
    """A catalogue without workers, and the ways to look into it."""

    url: str
    settings: Settings
    http: aiohttp.ClientSession
    database: asyncpg.Connection

    async def post(self, path: str, **parts: str | list[str]) -> aiohttp.ClientResponse:
        """POST a multipart form; a list sends a part several times."""
        form = aiohttp.FormData(default_to_multipart=True)
        for name, values in parts.items():
            for value in values if isinstance(values, list) else [values]:
                form.add_field(name, value)
        return await self.http.post(self.url + path, data=form)

    async def get(self, path: str, **headers: str) -> aiohttp.ClientResponse:
        return await self.http.get(self.url + path, headers=headers)

    async def count(self, table: str) -> int:
        return await self.database.fetchval(f"SELECT count(*) FROM {table}")


@pytest.fixture
def catalogue_settings(database_url: str, clean_nats_url: str, tmp_path: Path) -> Settings:
    return settings_for(database_url, clean_nats_url, tmp_path)


def settings_for(database_url: str, nats_url: str, folder: Path) -> Settings:
    """Of a catalogue on these servers, with its storage and scratch in `folder`."""
    return Settings(
        storage=str(folder / "storage"),
        database=DatabaseSettings(url=database_url),
        nats=NatsSettings(url=nats_url),
        server=ServerSettings(port=0),
        worker=WorkerSettings(ack_wait_s=2, grace_s=1, scratch=folder),
        limits=LimitSettings(allowed_urls=["https://", "s3://", "http://127.0.0.1"]),
    )


@pytest.fixture
async def catalogue(catalogue_settings: Settings) -> AsyncIterator[RunningCatalogue]:
    async with run_catalogue(catalogue_settings) as running:
        yield running


@contextlib.asynccontextmanager
async def run_catalogue(settings: Settings) -> AsyncIterator[RunningCatalogue]:
    async with running_catalogue(settings) as url, aiohttp.ClientSession() as http:
        database = await asyncpg.connect(settings.database.url)
        try:
            yield RunningCatalogue(url, settings, http, database)
        finally:
            await database.close()
