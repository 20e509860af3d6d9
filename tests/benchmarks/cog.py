"""A whole Sentinel-2 band (10980 x 10980, JPEG 2000 and COG) as a COG: ours against `gdal_translate -of COG`, same settings and threads.

The band is simulated: a smooth landscape with the noise of a sensor. Each runs in a process of its own, in turns; shown are the medians of
wall time and processor time and the largest memory. Ours runs as a worker runs it, `create_cog` in the pool of steps, and as a program that
has to start Python. It counts the statistics of the band and averages overviews anew; `gdal_translate` does both when told so, and is also
shown without statistics and, as it is by default, with the overviews of the source (of JPEG 2000: its wavelets) copied. Needs
`gdal_translate` on the path (its version is printed: it may be another than that of rasterio).

Run: python tests/benchmarks/cog.py [--rounds 5] [--pixels 10980]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import rasterio
import rasterio.shutil
import uvloop
from rasterio.windows import Window

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.graph import StepPool

ROOT = Path(__file__).resolve().parents[2]

STEP = """
import resource
from processor.steps import create_cog
def main(argv):
    code = create_cog.main(argv)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
    return code
"""

WATCH = """
import resource, subprocess, sys, time
before = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - before, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""

ALONE = "import sys; from processor.steps.create_cog import main; sys.exit(main(sys.argv[1:]))"

Run = Callable[[], Awaitable["Cost"]]


@dataclass
class Cost:
    """Of a process."""

    wall_s: float
    cpu_s: float
    memory_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pixels", type=int, default=10_980)
    options = parser.parse_args()
    gdal = shutil.which("gdal_translate")
    if gdal:
        print(subprocess.run([gdal, "--version"], capture_output=True, text=True, check=True).stdout.strip(), end="; ", flush=True)
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        uvloop.run(compare(Path(folder), options.rounds, options.pixels, gdal))


async def compare(folder: Path, rounds: int, pixels: int, gdal: str | None) -> None:
    sources = simulated(folder, pixels)
    package = folder / "timed_steps"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cog.py").write_text(STEP)
    print(f"rasterio with GDAL {rasterio.__gdal_version__}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    async with StepPool(["processor.steps", "timed_steps"], {**os.environ, "PYTHONPATH": str(folder)}) as pool:
        await pool.load()
        for source in sources:
            target = source.with_name("target.tif")
            runs: dict[str, Run] = {
                "in the pool": partial(pooled, pool, source, target),
                "own process": partial(alone, sys.executable, "-c", ALONE, *arguments(source, target)),
            }
            if gdal:
                translate = partial(alone, gdal, *settings(), str(source), str(target))
                anew = ("-co", "OVERVIEWS=IGNORE_EXISTING")
                runs |= {
                    "gdal_translate": partial(translate, "-stats", *anew),
                    "- no statistics": partial(translate, *anew),
                    "- its overviews": partial(translate, "-stats"),
                    "- neither": translate,
                }
            for name, costs in (await in_turns(runs, target, rounds)).items():
                wall, cpu = median(cost.wall_s for cost in costs), median(cost.cpu_s for cost in costs)
                memory, speed = max(cost.memory_mb for cost in costs), pixels**2 / wall / 1e6
                print(f"{source.name:12} {name:16} {wall:7.2f} s  {cpu:7.2f} s of processor  {speed:6.1f} Mpixel/s  {memory:6.0f} MB")


async def in_turns(runs: Mapping[str, Run], target: Path, rounds: int) -> dict[str, list[Cost]]:
    """What each costs, round by round: a machine has slow minutes."""
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            target.unlink(missing_ok=True)
            costs[name].append(await run())
    return costs


def simulated(folder: Path, pixels: int) -> Sequence[Path]:
    """The band as JPEG 2000 (lossless, tiles of 1024) and as a COG."""
    plain = folder / "plain.tif"
    transform = rasterio.Affine(10, 0, 600_000, 0, -10, 5_700_000)
    profile = {"driver": "GTiff", "width": pixels, "height": pixels, "count": 1, "dtype": "uint16", "nodata": 0, "crs": "EPSG:32631"}
    generator = np.random.default_rng(0)
    with rasterio.open(plain, "w", transform=transform, tiled=True, blockxsize=512, blockysize=512, **profile) as raster:
        x = np.arange(pixels)
        for top in range(0, pixels, 1024):
            rows = np.arange(top, min(top + 1024, pixels))[:, np.newaxis]
            smooth = 1500 + 600 * np.sin(x / 90) * np.cos(rows / 70) + 300 * np.sin((x + 2 * rows) / 400)
            values = smooth + generator.normal(0, 25, (len(rows), pixels))
            raster.write(np.clip(values, 1, None).astype("uint16"), 1, window=Window(0, top, pixels, len(rows)))
    jp2, cog = folder / "band.jp2", folder / "band_cog.tif"
    rasterio.shutil.copy(plain, jp2, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", BLOCKXSIZE=1024, BLOCKYSIZE=1024)
    rasterio.shutil.copy(plain, cog, driver="COG", COMPRESS="ZSTD", PREDICTOR="STANDARD", NUM_THREADS="2")
    plain.unlink()
    return jp2, cog


def settings() -> list[str]:
    """Ours, as options of `gdal_translate`."""
    threads = str(min(4, os.cpu_count() or 1))
    creation = {
        "COMPRESS": "ZSTD",
        "PREDICTOR": "STANDARD",
        "BLOCKSIZE": "512",
        "OVERVIEW_RESAMPLING": "AVERAGE",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": threads,
    }
    options = [part for key, value in creation.items() for part in ("-co", f"{key}={value}")]
    return ["-q", "-of", "COG", "--config", "GDAL_CACHEMAX", "256", "--config", "GDAL_NUM_THREADS", threads, *options]


def arguments(source: Path, target: Path) -> list[str]:
    return ["--filepath", str(source), "--fileout", str(target)]


async def pooled(pool: StepPool, source: Path, target: Path) -> Cost:
    """The wall time is that of the whole step, from the order to the exit."""
    lines: list[str] = []
    before = time.perf_counter()
    code = await pool.run("timed_steps.cog", arguments(source, target), workdir=source.parent, timeout_s=600, on_line=lines.append)
    wall = time.perf_counter() - before
    if code:
        raise SystemExit(f"the step failed: {lines}")
    cpu, memory = map(float, lines[-1].split())
    return Cost(wall, cpu, memory)


async def alone(*command: str) -> Cost:
    return await asyncio.to_thread(measured, command)


def measured(command: Sequence[str]) -> Cost:
    """Of a process that a small one starts: a child counts the memory of who forked it as its own."""
    output = subprocess.run([sys.executable, "-c", WATCH, *command], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    wall, cpu, memory = map(float, output.splitlines()[-1].split())
    return Cost(wall, cpu, memory)


if __name__ == "__main__":
    main()
