"""How fast bursts are listed: scenes of six annotations (VV and VH, about 0.9 MB each) out of local zips.

Run: python tests/benchmarks/burst_inventory.py [--scenes N] [--zip SAFE.zip]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sentinel1_data import PAIR, pair_zip, scenes_document

from catalogue.sentinel1.annotations.reader import configured_reader
from catalogue.sentinel1.series import SeriesTile
from catalogue.tiles import find_tiles
from common.config import AnnotationSettings, Settings
from common.features import SceneCollection
from common.payload import parse_payload

DATA = Path(os.environ.get("THRESHER_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
PAYLOAD = {
    "name": "bench",
    "type": "Polygon",
    "coordinates": [[[-132, 50], [-126, 50], [-126, 53], [-132, 53], [-132, 50]]],
    "start_time": "2014-01-01T00:00:00Z",
    "end_time": "2030-01-01T00:00:00Z",
    "scene_type": {"constellation": "sentinel1"},
    "scene_graph_name": "Pass",
    "tile_graph_name": "Pass",
}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--zip", type=Path, default=pair_zip(DATA, PAIR[0]), help="a Sentinel-1 IW SLC with its annotations")
    arguments = parser.parse_args()
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        names = copies(arguments.zip, folder, arguments.scenes)
        await inventory(folder, names[: max(1, len(names) // 10)])
        before = peak_mb()
        seconds, tiles = await inventory(folder, names)
        print(f"{len(names)} scenes, {tiles} bursts: {seconds:.1f} s, {len(names) / seconds:.1f} scenes/s")
        print(f"memory, peak: {peak_mb()} MB; after the first tenth of the scenes: {before} MB")


async def inventory(folder: Path, names: Sequence[str]) -> tuple[float, int]:
    """Seconds it takes, and bursts found."""

    async def existing(_: Sequence[SeriesTile]) -> Sequence[SeriesTile]:
        return []

    reader = configured_reader(Settings(storage=str(folder / "storage"), annotations=AnnotationSettings(urls=[f"{folder}/{{SCENE}}.zip"])))
    scenes = SceneCollection.model_validate(scenes_document(names))
    begun = time.perf_counter()
    found = await find_tiles(parse_payload(PAYLOAD), scenes, reader, existing)
    seconds = time.perf_counter() - begun
    assert len(found.scenes) == len(names), found.notes
    return seconds, sum(len(scene.tiles) for scene in found.scenes)


def copies(source: Path, folder: Path, count: int) -> list[str]:
    """Products that differ in their names alone, each in a zip of its own, as every other date of one place."""
    original = source.name.split(".")[0]
    names: list[str] = []
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if "/annotation/s1" in name}
    for number in range(count):
        year = 1980 + number
        name = original.replace(original[17:21], f"{year}")
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member.replace(original[17:21], f"{year}"), content)
        names.append(name)
    return names


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    asyncio.run(main())
