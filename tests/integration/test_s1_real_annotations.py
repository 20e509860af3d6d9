"""Bursts simulated from the annotations of a real pair, twelve days apart: its orbits, timing, Doppler centroids and calibration.

The second image of the pair lies 40 samples and 3 lines beside the first. Only a part of a burst is simulated, as a burst of its own.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentinel1_data import PAIR, pair_zip

from processor.sar.burst import Burst as OpenedBurst
from processor.sar.burst_product import read_burst_product
from processor.sar.burst_split import WantedBurst, split_burst
from processor.sar.dem import Dem
from processor.sar.dem_files import DemFiles
from processor.sar.geoid import open_geoid
from processor.sar.series import Series, SeriesOptions
from thresher.demo.sentinel1.documents import ImageFacts, annotation_document, calibration_document, noise_document
from thresher.demo.sentinel1.orbit import LIGHT_M_S, geodetic, see
from thresher.demo.sentinel1.product import ImageDocuments, ProductDocuments, Simulation, write_series
from thresher.demo.sentinel1.swath import Burst, Swath, read_swath
from thresher.demo.sentinel1.terrain import FIELD, Terrain

LINES, SAMPLES = 420, 1_500
FIRST_LINE, FIRST_SAMPLE = 500, 9_000
COHERENCE = 0.6


@pytest.mark.parametrize("swath", ["iw1", "iw3"])
def test_a_pair_with_real_orbits_is_as_coherent_as_its_ground(shared_data: Path, tmp_path: Path, swath: str) -> None:
    parts = [part_of(read(shared_data, scene, swath), 4) for scene in PAIR]
    middle = see(
        parts[0].orbit,
        parts[0].time(parts[0].bursts[0], np.array(LINES / 2), np.array(SAMPLES / 2)),
        parts[0].range_time(np.array(SAMPLES / 2)) * LIGHT_M_S / 2,
        np.array(0.0),
    )
    longitude, latitude, _ = (float(value) for value in geodetic(middle))
    # On the ellipsoid, so that no phase is left once that of the flat earth is gone.
    ground = Terrain(longitude, latitude, base_m=0.0, hills=(), parcel_m=0, cover=FIELD, coherences={"field": COHERENCE})
    ground.write_dem(tmp_path / "dem.tif", longitude - 0.2, latitude - 0.2, longitude + 0.2, latitude + 0.2, step=1 / 600)
    bursts = opened(tmp_path, [product(scene, part) for scene, part in zip(PAIR, parts, strict=True)], ground)

    dem = Dem(DemFiles(str(tmp_path / "dem.tif")), open_geoid("ellipsoid"))
    series = Series(bursts[0], dem, SeriesOptions(crs="UTM"))
    first, second = (series.coregistered(burst) for burst in bursts)
    found = series.interferogram(first, second)
    coherence = found.coherence[40:-40, 40:-40]
    assert np.isfinite(coherence).mean() > 0.95
    assert np.nanmean(coherence) == pytest.approx(COHERENCE, abs=0.02)
    phasor = found.phasor[40:-40, 40:-40]
    for part in (phasor[:150], phasor[-150:], phasor[:, :120], phasor[:, -120:]):
        assert abs(np.angle(np.nanmean(part))) < 0.05


def read(data: Path, scene: str, swath: str) -> Swath:
    with zipfile.ZipFile(pair_zip(data, scene)) as archive:
        names = [name for name in archive.namelist() if re.search(rf"s1a-{swath}-slc-vv-.*\.xml$", name)]
        annotation = next(name for name in names if "/calibration/" not in name and "/rfi/" not in name)
        calibration = next(name for name in names if "/calibration/calibration-" in name)
        return read_swath(archive.read(annotation), archive.read(calibration))


def part_of(swath: Swath, index: int) -> Swath:
    """Some lines and samples of a burst, as the only burst."""
    burst = swath.bursts[index]
    late = FIRST_LINE * swath.line_s
    part = Burst(round(burst.time + late, 6), burst.anx_time + late, (4, LINES - 5), (8, SAMPLES - 9))
    near = float(swath.range_time(np.array(float(FIRST_SAMPLE))))
    return replace(swath, bursts=(part,), lines=LINES, samples=SAMPLES, first_range_s=near)


def product(scene: str, swath: Swath) -> ProductDocuments:
    facts = ImageFacts("S1A", "VV", int(scene.split("_")[-3]), int(scene.split("_")[-2], 16), 4, swath.epoch)
    documents = annotation_document(swath, facts), calibration_document(swath, facts), noise_document(swath, facts, 0.0)
    return ProductDocuments(scene, (ImageDocuments(swath, "VV", f"s1a-{swath.name}-slc-vv-part-004".lower(), *documents),))


def opened(folder: Path, products: list[ProductDocuments], ground: Terrain) -> list[OpenedBurst]:
    bursts = []
    for number, safe in enumerate(write_series(folder, products, Simulation(ground, seed=7))):
        split_burst(safe, WantedBurst("part", products[0].images[0].swath.name, 1), folder / f"{number}.data")
        bursts.append(OpenedBurst(read_burst_product(folder / f"{number}.data"), "VV"))
    return bursts
