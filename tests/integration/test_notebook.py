"""The notebook of the documentation, run from its first cell to its last against a catalogue with simulated layers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from cube_by_hand import HandTile, fill, pixels
from fixtures_services import run_catalogue
from pydantic import SecretStr

from common.config import Settings

TESTS = Path(__file__).resolve().parents[1]
TOKEN = "a-token-of-sixteen-letters-or-more"


async def test_reading_an_area_as_a_cube(catalogue_settings: Settings) -> None:
    tiles = [HandTile("Demo", day, size=80) for day in (0, 12, 24, 95)]
    server = catalogue_settings.server.model_copy(update={"token": SecretStr(TOKEN)})
    async with run_catalogue(catalogue_settings.model_copy(update={"server": server})) as catalogue:
        await fill(catalogue.database, Path(catalogue.settings.storage), tiles)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(TESTS / "run_notebook.py"), str(TESTS.parent / "docs/notebooks/reading.ipynb"), "series"),
            env={**os.environ, "THRESHER_URL": catalogue.url, "THRESHER_TOKEN": TOKEN, "AOI": "Demo"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await child.communicate()
    assert child.returncode == 0, errors.decode()[-3000:]
    series = json.loads(output.decode().splitlines()[-1])["series"]
    # The cloudiest, of 95 percent, is left out.
    assert series == pytest.approx([mean_ndvi(tile) for tile in tiles[:3]], rel=1e-5)


def mean_ndvi(tile: HandTile) -> float:
    red, nir = (pixels(tile, band)[1:].astype(float) * 0.0001 - 0.1 for band in ("B04", "B08"))
    return float(np.mean((nir - red) / (nir + red)))
