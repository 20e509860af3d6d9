"""Real annotations, and a server on loopback that serves what a test puts into its folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from annotation_sources import FIRST, Site, annotations_in_zip
from range_server import RangeServer

from catalogue.sentinel1.annotations import AnnotationFile


@pytest.fixture
def pair(shared_data: Path) -> Path:
    return shared_data / "s1_slc" / "pair_T108_20250406_20250418"


@pytest.fixture
def annotations(pair: Path) -> list[AnnotationFile]:
    """Those of the first scene, as the zip holds them."""
    return annotations_in_zip(pair, FIRST)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What the server serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


@pytest.fixture
async def site(files: Path) -> AsyncIterator[Site]:
    server = RangeServer(files)
    running = await server.start()
    yield Site(server, str(running.make_url("")).rstrip("/"))
    await running.close()
