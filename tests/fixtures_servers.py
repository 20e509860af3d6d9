"""Real servers for tests: PostgreSQL and NATS with JetStream, started once a session on free ports of loopback, gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import nats
import pytest

from thresher.embedded.nats import NatsServer
from thresher.embedded.postgres import PostgresServer
from thresher.embedded.process import running

_numbers = itertools.count(1)
_UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder every user can enter: pytest's own is closed to the user PostgreSQL runs as when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="thresher-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[PostgresServer]:
    """A running PostgreSQL; `url` is its database `thresher`."""
    server = PostgresServer(server_folder, settings=_UNSAFE_BUT_FAST, shelters=[server_folder])
    with running(server, server_folder / "postgres.log"):
        yield server


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of an empty database of this test alone."""
    with empty_database(postgres_server) as url:
        yield url


@contextlib.contextmanager
def empty_database(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a database that is dropped afterwards. Not to be entered from a running event loop."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _execute(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY wal_log")
    try:
        yield postgres_server.url_of(name)
    finally:
        _drop(postgres_server.url, name)


@pytest.fixture(scope="session")
def nats_url(server_folder: Path) -> Iterator[str]:
    """URL of a running NATS server with JetStream. Its streams outlive a test: for a server without any take `clean_nats_url`."""
    server = NatsServer(server_folder)
    with running(server, server_folder / "nats.log"):
        yield server.url


@pytest.fixture
async def clean_nats_url(nats_url: str) -> str:
    """The same server, all streams of earlier tests deleted."""
    await delete_streams(nats_url)
    return nats_url


async def delete_streams(url: str) -> None:
    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        for info in await stream.streams_info():
            await stream.delete_stream(info.config.name)
    finally:
        await client.close()


def _drop(url: str, name: str) -> None:
    # Autovacuum, which may be at work in it for a moment, belongs to the server: an owner may not end it.
    for _ in range(50):
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
            _execute(url, f"DROP DATABASE {name} WITH (FORCE)")
            return
        time.sleep(0.1)
    _execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(url: str, statement: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    # A loop of its own, without becoming the thread's current one: tests have theirs.
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(execute())
    finally:
        loop.close()
