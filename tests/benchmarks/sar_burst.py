"""How fast a Sentinel-1 burst becomes layers: coregistration, backscatter, coherence and geocoding to 20 m, of a burst of full size.

Annotations are real (two dates of one burst), pixels are noise: what they hold does not change the work. The DEM is made up.
Run: python tests/benchmarks/sar_burst.py [--runs N] [--swath iw2] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sentinel1_data import PAIR, pair_zip

from common.messages import RasterFormat
from common.radar_settings import RadarSources
from processor.sar.annotation import parse_annotation
from processor.sar.burst import Burst
from processor.sar.burst_layers import DateJob, LayerFiles, make_layers
from processor.sar.burst_product import BurstIdentity, BurstProduct, read_burst_product, write_samples
from processor.sar.compiled import use_processors
from processor.sar.dem import Dem
from processor.sar.dem_files import DemFiles
from processor.sar.geoid import open_geoid
from processor.sar.series import Series, SeriesOptions

DATA = Path(os.environ.get("THRESHER_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
BURST = 4
PUBLISHED = """Published, not measured here (one IW2 sub-swath of 9 bursts, VV, Intel i7 with 12 threads):
  SNAP 8, coregistration + coherence + terrain correction       85.7 s: 9.5 s a burst
  SNAP 8, calibration + terrain correction                      42.5 s: 4.7 s a burst
  ALUs (GPU), the same two                                      13.4 s and 7.4 s: 1.5 s and 0.8 s a burst"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--swath", default="iw2")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sar-burst-"))
    try:
        run(folder, options.data, options.swath, options.runs)
    finally:
        shutil.rmtree(folder)


def run(folder: Path, data: Path, swath: str, runs: int) -> None:
    first, second = (burst(folder, data, scene, swath, number) for number, scene in enumerate(PAIR))
    third = burst(folder, data, PAIR[1], swath, 2)
    dem = made_up_dem(folder / "dem.tif", first)
    print(f"{platform.machine()}, {os.cpu_count()} processors, {use_processors(0)} used; load {os.getloadavg()[0]:.1f}")
    size = f"{first.identity.lines} x {first.identity.samples}"
    print(f"burst of {size}, {swath.upper()}, VV, to 20 m in UTM; seconds by the clock, and of all processors together")
    cases = {
        "backscatter of the first date": (first, None),
        "second date on the first: backscatter, coherence": (second, first),
        "third date, both resampled: backscatter, coherence": (third, second),
    }
    for name, (current, previous) in cases.items():
        job = DateJob(current, previous, first, dem, RadarSources(), SeriesOptions(crs="UTM"))
        files = LayerFiles(folder, "layer_*.tif", RasterFormat(dtype="float32", nodata=0, min_value=0, max_value=1))
        for turn in range(runs + 1):
            started, worked = time.perf_counter(), time.process_time()
            computed(job)
            clock, work = time.perf_counter() - started, time.process_time() - worked
            label = "compiling or loading" if turn == 0 else "warm"
            print(f"  {name:52s} {label:20s} {clock:6.2f} s  {work:6.2f} s")
        started, worked = time.perf_counter(), time.process_time()
        made = list(make_layers(job, files))
        clock, work = time.perf_counter() - started, time.process_time() - worked
        print(f"  {'':52s} {'as COGs':20s} {clock:6.2f} s  {work:6.2f} s  {', '.join(made)}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB, COGs and DEM included")
    print(PUBLISHED)


def computed(job: DateJob) -> None:
    """The layers as arrays on the map."""
    series = Series(Burst(job.reference, "VV"), job.dem, job.options)
    current = series.coregistered(Burst(job.current, "VV"))
    series.backscatter(current)
    if job.previous is not None:
        series.coherence(series.interferogram(current, series.coregistered(Burst(job.previous, "VV"))))


def burst(folder: Path, data: Path, scene: str, swath: str, number: int) -> BurstProduct:
    """A burst product of real documents and noise."""
    target = folder / f"{number}.data"
    target.mkdir()
    with zipfile.ZipFile(pair_zip(data, scene)) as archive:
        for name in archive.namelist():
            stem = Path(name).name
            if not stem.endswith(".xml") or f"{swath}-slc-vv" not in stem:
                continue
            kind = "calibration" if stem.startswith("calibration") else "noise" if stem.startswith("noise") else "annotation"
            (target / f"{kind}_vv.xml").write_bytes(archive.read(name))
    annotation = parse_annotation((target / "annotation_vv.xml").read_bytes(), scene)
    shape = (annotation.lines_per_burst, annotation.samples_per_burst)
    rng = np.random.default_rng(number)
    write_samples(target / "samples_vv.tiff", 60 * rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0])
    identity = BurstIdentity(
        product=f"{scene}_{number}",
        swath=swath.upper(),
        number=BURST + 1,
        lines=shape[0],
        samples=shape[1],
        azimuth_time=annotation.bursts[BURST].azimuth_time,
        polarisations=("VV",),
    )
    (target / "burst.json").write_text(identity.model_dump_json())
    return read_burst_product(target)


def made_up_dem(path: Path, product: BurstProduct) -> Dem:
    """Hills of up to 1500 m around the burst, one second of arc."""
    points = parse_annotation(product.channels["VV"].annotation.read_bytes(), "annotation").geolocation
    near = np.abs(points.line - (BURST + 0.5) * product.identity.lines) < product.identity.lines
    west, east = points.longitude[near].min() - 0.3, points.longitude[near].max() + 0.3
    south, north = points.latitude[near].min() - 0.3, points.latitude[near].max() + 0.3
    step = 1 / 3600
    x, y = np.arange(west, east, step), np.arange(north, south, -step)
    heights = (
        750
        + 400 * np.sin(x / 0.05)[None, :] * np.cos(y / 0.04)[:, None]
        + 350 * np.sin(x / 0.011 + 1)[None, :] * np.sin(y / 0.013)[:, None]
    )
    profile = {"driver": "GTiff", "width": x.size, "height": y.size, "count": 1, "dtype": "float32", "tiled": True, "compress": "ZSTD"}
    with rasterio.open(path, "w", crs="EPSG:4326", transform=Affine(step, 0, west, 0, -step, north), **profile) as raster:
        raster.write(heights.astype(np.float32), 1)
    return Dem(DemFiles(str(path)), open_geoid("ellipsoid"))


if __name__ == "__main__":
    main()
