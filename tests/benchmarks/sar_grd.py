"""How long a whole GRD scene takes to layers of 20 m: a simulated image of full size (real annotation), a simulated DEM with mountains.

Run: python tests/benchmarks/sar_grd.py [--lines N] [--quick] [--scratch FOLDER]. Each run is a process of its own;
compiled code is kept from earlier runs: the very first takes some 10 s more.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import rasterio
from grd_simulator import NEW, Simulation, simulate_grd
from rasterio.transform import from_origin

from common.messages import RasterFormat
from common.radar_settings import RadarSources
from processor.sar.annotation import read_annotation
from processor.sar.burst_layers import LayerFiles
from processor.sar.dem import Dem
from processor.sar.dem_files import DemFiles
from processor.sar.geoid import open_geoid
from processor.sar.grd import GrdJob, GrdOptions, make_grd_layers
from processor.sar.grd_geometry import grd_geometry
from processor.sar.grd_product import open_grd

DATA = Path(os.environ.get("THRESHER_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
RUNS = (
    ("backscatter", ["gamma0_VV"]),
    ("backscatter, angles, mask", ["gamma0_VV", "local_incidence", "mask"]),
    ("flattened backscatter, mask", ["flatten", "gamma0_VV", "mask"]),
)
PUBLISHED = (
    "published, not measured here: SNAP 8 gpt, 12-thread i7, IW2 of an SLC (9 bursts), VV, calibration + terrain correction: 42.5 s;",
    "  a GRD scene has the area of three such sub-swaths. sarsen 0.9, GRD GTC: 33-63 s for 0.1-4.7 Mpx",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=0, help="of the image; 0: all 16705")
    parser.add_argument("--scratch", type=Path, help="folder for some 6 GB")
    parser.add_argument("--quick", action="store_true", help="only the plain backscatter")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        run(Path(arguments.only), *sys.stdin.read().split())
        return
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as text:
        folder = Path(text)
        safe = simulate_grd(folder, DATA / "s1_grd" / NEW, Simulation(even, lines=arguments.lines, samples=0))
        mountains(folder / "dem.tif", safe)
        print("simulated image and DEM; one polarisation, 20 m, UTM; blocks of 1024 pixels")
        for name, words in RUNS[: 1 if arguments.quick else len(RUNS)]:
            command = [sys.executable, __file__, "--only", str(folder)]
            result = subprocess.run(command, input=" ".join([safe.name, *words]), text=True, capture_output=True, check=False)
            print(f"{name}: {result.stdout.strip() or result.stderr[-500:]}")
    print("\n".join(PUBLISHED))


def run(folder: Path, safe: str, *words: str) -> None:
    """One run, in a process of its own."""
    layers = tuple(word for word in words if word != "flatten")
    dem = Dem(DemFiles(str(folder / "dem.tif")), open_geoid("egm2008"))
    job = GrdJob(safe, open_grd(folder / safe), dem, RadarSources(), GrdOptions(flatten="flatten" in words), layers)
    pixels = RasterFormat(dtype="float32", nodata=0, min_value=0, max_value=1)
    start = time.perf_counter()
    made = make_grd_layers(job, LayerFiles(folder, "out_*.tif", pixels))
    steps = [f"{done} after {time.perf_counter() - start:.0f} s" for done in made if not done.startswith("layer ")]
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with rasterio.open(folder / f"out_{layers[0]}.tif") as raster:
        size = f"{raster.width} x {raster.height}"
    for layer in layers:
        (folder / f"out_{layer}.tif").unlink()
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{seconds:.0f} s ({cpu:.0f} s of processor time), {peak_mb()} MB, map of {size} pixels; {', '.join(steps)}")


def peak_mb() -> int:
    """Of this process; what getrusage tells begins with that of its parent."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def even(line: np.ndarray, sample: np.ndarray) -> np.ndarray:
    return np.full(np.broadcast_shapes(line.shape, sample.shape), 0.1)


def mountains(path: Path, safe: Path) -> None:
    """A DEM of 1" around the image, 0 to 2500 m."""
    annotation = read_annotation(next((safe / "annotation").glob("s1*.xml")))
    longitude, latitude = grd_geometry(annotation).outline((0.0,))
    west, north, step = longitude.min() - 0.1, latitude.max() + 0.1, 1 / 3600
    columns, rows = int((longitude.max() + 0.1 - west) / step), int((north - latitude.min() + 0.1) / step)
    profile = {"driver": "GTiff", "width": columns, "height": rows, "count": 1, "dtype": "float32", "crs": "EPSG:4326", "tiled": True}
    transform = from_origin(west - step / 2, north + step / 2, step, step)
    x = np.arange(columns, dtype=np.float32) * step * 83
    with rasterio.open(path, "w", transform=transform, **profile) as raster:
        for first in range(0, rows, 512):
            y = (np.arange(first, min(first + 512, rows), dtype=np.float32) * step * 111)[:, None]
            heights = 1250 + 900 * np.sin(x / 7) * np.cos(y / 9) + 350 * np.sin(x / 1.3 + y / 2.1)
            raster.write(heights.astype(np.float32), 1, window=((first, first + y.shape[0]), (0, columns)))


if __name__ == "__main__":
    main()
