"""A whole Sentinel-2 band (10980 x 10980, JPEG 2000 and COG) as a COG: ours against `gdal_translate -of COG`, same settings and threads.

The band is simulated: a smooth landscape with the noise of a sensor. Each runs in a process of its own, in turns; shown are the best wall
time and processor time of the rounds and the largest memory. Ours starts Python and counts the statistics of the band besides. Overviews
are averaged anew; where the source has some, `gdal_translate` is also shown as it is by default, copying those. Needs `gdal_translate`
on the path (its version is printed: it may be another than that of rasterio).

Run: python tests/benchmarks/cog.py [--rounds 3] [--pixels 10980]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.windows import Window

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

OURS = """
import sys
from pathlib import Path
from processor.cog import LayerTags, write_cog
write_cog(Path(sys.argv[1]), Path(sys.argv[2]), LayerTags("B04", 0.0, 1e-4))
"""

WATCH = """
import resource, subprocess, sys, time
before = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - before, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""


@dataclass
class Cost:
    """Of a process."""

    wall_s: float
    cpu_s: float
    memory_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=10_980)
    options = parser.parse_args()
    gdal = shutil.which("gdal_translate")
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        sources = simulated(Path(folder), options.pixels)
        if gdal:
            print(subprocess.run([gdal, "--version"], capture_output=True, text=True, check=True).stdout.strip(), end="; ")
        print(f"rasterio with GDAL {rasterio.__gdal_version__}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for source in sources:
            target = source.with_name("target.tif")
            commands = {"ours": [sys.executable, "-c", OURS, str(source), str(target)]}
            if gdal:
                commands["gdal_translate"] = [gdal, *settings(), "-co", "OVERVIEWS=IGNORE_EXISTING", str(source), str(target)]
                if has_overviews(source):
                    commands["… its overviews"] = [gdal, *settings(), str(source), str(target)]
            costs: dict[str, list[Cost]] = {name: [] for name in commands}
            for _ in range(options.rounds):
                for name, command in commands.items():
                    target.unlink(missing_ok=True)
                    costs[name].append(measured(command))
            for name, found in costs.items():
                wall, cpu = min(cost.wall_s for cost in found), min(cost.cpu_s for cost in found)
                memory = max(cost.memory_mb for cost in found)
                speed = options.pixels**2 / wall / 1e6
                print(f"{source.name:12} {name:16} {wall:7.2f} s  {cpu:7.2f} s of processor  {speed:6.1f} Mpixel/s  {memory:6.0f} MB")


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


def has_overviews(path: Path) -> bool:
    with rasterio.open(path) as raster:
        return bool(raster.overviews(1))


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


def measured(command: Sequence[str]) -> Cost:
    """Of a process that a small one starts: a child counts the memory of who forked it as its own."""
    output = subprocess.run([sys.executable, "-c", WATCH, *command], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    wall, cpu, memory = map(float, output.splitlines()[-1].split())
    return Cost(wall, cpu, memory)


if __name__ == "__main__":
    main()
