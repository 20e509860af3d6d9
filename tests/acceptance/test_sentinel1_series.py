"""A simulated Sentinel-1 series through the whole stack: catalogue, burst split, coregistration, coherence, layers on the map.

What the ground is made of is known, so backscatter, coherence and the places of corner reflectors can be compared with it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pyproj import Transformer

from thresher.answers import Dataset
from thresher.demo.kinds import RADAR
from thresher.demo.sentinel1.passes import NOISE
from thresher.demo.sentinel1.region import RadarRegion, make_region
from thresher.demo.sentinel1.terrain import COVERS, Reflector, Terrain
from thresher.demo.server import FolderServer
from thresher.demo.stack import DemoStack, remove_data
from thresher.notebook import Session
from thresher.variables import read_variables

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GROUND = Terrain(12.1, 51.62, parcel_m=2_000.0, reflectors=(Reflector(12.0780, 51.4600, 40.0), Reflector(12.0270, 51.6250, 40.0)))
BOTH = [[12.06, 51.50], [12.07, 51.50], [12.03, 51.62], [12.02, 51.62], [12.06, 51.50]]
"""An area that the bursts of IW1 alone are near."""
FIRST = [[12.065, 51.47], [12.075, 51.47], [12.073, 51.48], [12.063, 51.48], [12.065, 51.47]]
"""The first of them."""
FIRST_TILES = ["A88_IW1_8405", "A88_IW1_8405", "A88_IW1_8404"]
"""Of one place on the three dates: the second pass begins a little later, the third a little earlier."""
TRUE = {"VV": "BackscatterSigma0VV", "VH": "BackscatterSigma0VH"}


@dataclass(frozen=True)
class Running:
    """A stack whose only catalogue is the simulated region."""

    url: str
    region: RadarRegion
    config: Path

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def submit(self, name: str, ring: list[list[float]], folder: Path, *, succeeds: bool = True) -> str:
        """Post the payload of the demonstration for another area, and wait."""
        document = {**RADAR.document(), "name": name, "geometry": {"type": "Polygon", "coordinates": [ring]}, "is_retriable": False}
        (folder / f"{name}.json").write_text(json.dumps(document | {"retry_count": 0}))
        done = subprocess.run(
            [sys.executable, "-P", "-m", "thresher.cli", "submit", str(folder / f"{name}.json"), "--watch"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "THRESHER_URL": self.url},
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("series")
    region = make_region(folder / "region", GROUND, lines=620, bursts={"IW1": (0, 1)})
    with FolderServer(region.folder) as server:
        (folder / "thresher.toml").write_text(RADAR.configuration(server.url, region.folder))
        with DemoStack(folder, folder / "data", folder / "thresher.toml") as stack:
            url = stack.url()
            with Session(url) as session:
                for variable in read_variables((files("payloads") / RADAR.variables).read_text(encoding="utf-8")):
                    session.apply_variable(variable)
            yield Running(url, region, folder / "thresher.toml")
    remove_data(folder / "data")


def test_a_series_of_three_dates_and_one_whose_middle_date_fails(running: Running, tmp_path: Path) -> None:
    """In this order: the second area needs the images of the middle date to be gone."""
    running.submit("Whole", BOTH, tmp_path)
    check_whole(running)
    middle = running.region.scenes[1]
    # Its annotations are there, so that its bursts are listed; its images are not.
    shutil.rmtree(middle.folder / "measurement")
    said = running.submit("Gap", FIRST, tmp_path, succeeds=False)
    assert f"FAILED {middle.product}" in said
    check_gap(running)


def check_whole(running: Running) -> None:
    products = [scene.product for scene in running.region.scenes]
    with Session(running.url) as session:
        datasets = session.datasets(aoi="Whole")
        records = session.records()
    assert sorted(record.time.date() for record in records) == [scene.sensing.date() for scene in running.region.scenes]
    assert {record.tags["source"] for record in records} == {"simulated"}

    made = layers_by_tile(datasets)
    first_place = list(zip(products, FIRST_TILES, strict=True))
    assert list(made) == sorted([*first_place, *((product, "A88_IW1_8432") for product in products)])
    for (product, _), layers in made.items():
        coherence = set() if product == products[0] else {"CoherenceVV", "CoherenceVH"}
        assert set(layers) == {"BackscatterSigma0VV", "BackscatterSigma0VH"} | coherence

    tiles = {(tile["scene"]["source_id"], tile["source_id"]): tile for tile in running.get("/aoi/Whole/tiles/DONE")}
    ids = [tiles[key]["id"] for key in first_place]
    links = [follows(running, number) for number in ids]
    assert links == [(None, None), (ids[0], ids[0]), (ids[1], ids[0])]

    for place in (first_place, [(product, "A88_IW1_8432") for product in products]):
        grids = {(layer.transform, layer.shape, layer.epsg) for key in place for layer in made[key].values()}
        # All dates are on the pixels of the first.
        assert len(grids) == 1
        for key in place:
            check_ground(made[key], pairs=1)


def check_gap(running: Running) -> None:
    """The last date follows the first, and has a coherence with that: what is left after two steps."""
    products = [scene.product for scene in running.region.scenes]
    with Session(running.url) as session:
        made = layers_by_tile(session.datasets(aoi="Gap"))
    assert list(made) == [(products[0], FIRST_TILES[0]), (products[2], FIRST_TILES[2])]
    first, last = (tile["id"] for tile in sorted(running.get("/aoi/Gap/tiles/DONE"), key=lambda tile: tile["scene"]["source_id"]))
    assert follows(running, last) == (first, first)
    assert [tile["scene"]["source_id"] for tile in running.get("/aoi/Gap/tiles/FAILED")] == [products[1]]
    assert set(made[products[2], FIRST_TILES[2]]) == {"BackscatterSigma0VV", "BackscatterSigma0VH", "CoherenceVV", "CoherenceVH"}
    check_ground(made[products[2], FIRST_TILES[2]], pairs=2)


def follows(running: Running, tile: int) -> tuple[int | None, int | None]:
    """The ids of the tile's previous and reference."""
    document = running.get(f"/tile/{tile}")
    return document.get("PreviousID"), document.get("ReferenceID")


def layers_by_tile(datasets: list[Dataset]) -> dict[tuple[str, str], dict[str, Dataset]]:
    """By scene and tile, in order."""
    found: defaultdict[tuple[str, str], dict[str, Dataset]] = defaultdict(dict)
    for dataset in datasets:
        scene = next(part for part in Path(dataset.uri).parts if part.startswith("S1A_IW_SLC"))
        assert dataset.variable not in found[scene, dataset.tile]
        found[scene, dataset.tile][dataset.variable] = dataset
    return dict(sorted(found.items()))


def check_ground(layers: dict[str, Dataset], pairs: int) -> None:
    """Backscatter, coherence over `pairs` steps of 12 days, and reflectors are those of the ground."""
    checked = set()
    for polarisation, variable in TRUE.items():
        backscatter, classes, sine = read(layers[variable])
        coherence = read(layers[f"Coherence{polarisation}"])[0] if f"Coherence{polarisation}" in layers else None
        for index, cover in enumerate(COVERS):
            inside = (classes == index) & np.isfinite(backscatter)
            if inside.sum() < 2_000:
                continue
            checked.add(cover.name)
            # Thermal noise is part of what is measured; it is not taken away by default.
            noise = NOISE * sine
            assert np.mean(backscatter[inside]) == pytest.approx(cover.backscatter[polarisation] + noise, rel=0.05), (variable, cover)
            if coherence is not None:
                signal = cover.backscatter[polarisation]
                expected = biased(cover.coherence**pairs * signal / (signal + noise))
                assert np.nanmean(coherence[inside]) == pytest.approx(expected, abs=0.03), (variable, cover)
        check_reflectors(layers[variable])
    assert {"field", "wood"} <= checked


def read(layer: Dataset) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], float]:
    """Pixels (NaN where there is none), the index of what covers the ground there (255 near an edge or a reflector), sine of incidence."""
    with rasterio.open(layer.uri.removeprefix("file://")) as raster:
        pixels = raster.read(1, masked=True).astype(float).filled(np.nan)
        columns, rows = np.meshgrid(np.arange(raster.width) + 0.5, np.arange(raster.height) + 0.5)
        x, y = raster.transform * (columns, rows)
        longitude, latitude = Transformer.from_crs(raster.crs, 4326, always_xy=True).transform(x, y)
    east, north = GROUND.local(longitude, latitude)
    classes = GROUND.classes(east, north).astype(int)
    for aside in (-160, 0, 160):
        for ahead in (-160, 0, 160):
            classes[GROUND.classes(east + aside, north + ahead) != classes] = 255
    for reflector in GROUND.reflectors:
        at_east, at_north = GROUND.local(np.array(reflector.longitude), np.array(reflector.latitude))
        classes[np.hypot(east - at_east, north - at_north) < 600] = 255
    return pixels, classes, math.sin(math.radians(35))


def biased(coherence: float) -> float:
    """The mean of the estimator over a window of 4 x 16 pixels, which hold about 30 independent ones: the square is raised."""
    looks = 30
    return math.sqrt(coherence**2 + (1 - coherence**2) ** 2 / looks)


def check_reflectors(layer: Dataset) -> None:
    """Those inside lie where they were put, to a tenth of a pixel and a little for what surrounds them."""
    with rasterio.open(layer.uri.removeprefix("file://")) as raster:
        pixels = raster.read(1, masked=True).astype(float).filled(0)
        transform, crs = raster.transform, raster.crs
    found = 0
    for reflector in GROUND.reflectors:
        x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(reflector.longitude, reflector.latitude)
        column, row = (value - 0.5 for value in ~transform * (x, y))
        near = np.s_[round(row) - 3 : round(row) + 4, round(column) - 3 : round(column) + 4]
        part = pixels[near] if min(row, column) > 3 else np.zeros((0, 0))
        if part.shape != (7, 7) or not (part > 0).all():
            continue
        found += 1
        weight = np.where(part > part.max() / 10, part - np.median(part), 0)
        rows, columns = np.mgrid[near]
        assert part.max() > 20
        assert np.sum(weight * rows) / np.sum(weight) == pytest.approx(row, abs=0.25)
        assert np.sum(weight * columns) / np.sum(weight) == pytest.approx(column, abs=0.25)
    assert found == 1
