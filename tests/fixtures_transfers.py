"""The server of downloads that misbehaves as a test tells it to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from faulty_server import Bytes, FaultyServer
from transfers import CONTENT


@pytest.fixture
async def server() -> AsyncIterator[FaultyServer]:
    async with FaultyServer(Bytes(CONTENT)) as server:
        yield server
