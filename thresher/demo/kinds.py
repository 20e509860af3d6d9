"""The two demonstrations: what each simulates, how a stack finds it, what is posted, and which picture is drawn of the layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from thresher.answers import Dataset
from thresher.demo import region as optical
from thresher.demo.sheet import draw_sheet


@dataclass(frozen=True)
class Made:
    """A region on disk."""

    catalog: str
    """Its root document, relative to its folder."""
    said: str
    """What it is, in a few words."""


@dataclass(frozen=True)
class Kind:
    """A demonstration."""

    payload: str
    """Of the payloads that come with the program."""
    variables: str
    make: Callable[[Path], Made]
    """Draws the region into a folder."""
    configuration: Callable[[str, Path], str]
    """The `thresher.toml` for a region served at an URL from a folder; with it a stack looks for scenes there and nowhere else."""
    draw: Callable[[Sequence[Dataset], Path], tuple[int, int]]
    """Writes the contact sheet; its rows and columns of pictures."""

    def document(self) -> dict[str, Any]:
        """The payload, as it comes with the program."""
        document: dict[str, Any] = json.loads((files("payloads") / self.payload).read_text(encoding="utf-8"))
        return document


def configuration(region_url: str) -> str:
    """The configuration for the optical region served at `region_url`."""
    return f"""# The demonstration region: a static STAC catalogue on loopback, which has to be allowed by its exact origin.
[catalogues.demo]
type = "static-stac"
url = "{region_url}/catalog.json"
collections = {{ "sentinel2/S2MSI2A" = ["{optical.COLLECTION}"] }}

[providers.demo]
type = "stac-asset"
constellations = ["sentinel2"]

[limits]
allowed_urls = ["{region_url}/"]
"""


def radar_configuration(region_url: str, folder: Path) -> str:
    """The configuration for the radar region served at `region_url` from `folder`, where its products and annotations are read."""
    from thresher.demo.sentinel1.region import COLLECTION

    return f"""# The demonstration region: a static STAC catalogue on loopback, products and their annotations in a folder.
[catalogues.demo]
type = "static-stac"
url = "{region_url}/catalog.json"
collections = {{ "sentinel1/SLC" = ["{COLLECTION}"] }}

[providers.demo]
type = "local"
path = {json.dumps(str(folder / "products"))}
constellations = ["sentinel1"]

[annotations]
urls = [{json.dumps(str(folder / "products" / "{SCENE}.SAFE"))}]

[dems.default]
path = {json.dumps(str(folder / "dem.tif"))}
geoid = "ellipsoid"

[limits]
allowed_urls = ["{region_url}/"]
"""


def _make_optical(folder: Path) -> Made:
    made = optical.make_region(folder)
    tiles = sorted({scene.tile for scene in made.scenes})
    return Made(made.catalog, f"{len(made.scenes)} SIMULATED scenes of {' and '.join(tiles)}")


def _make_radar(folder: Path) -> Made:
    # Imported late: numba takes its time, and only this needs it.
    from thresher.demo.sentinel1.region import make_region

    made = make_region(folder)
    return Made(made.catalog, f"{len(made.scenes)} SIMULATED SLC products of one track")


def _draw_optical(datasets: Sequence[Dataset], path: Path) -> tuple[int, int]:
    return draw_sheet(datasets, path, "Simulated Sentinel-2 L2A, surface reflectance in true colour")


def _draw_radar(datasets: Sequence[Dataset], path: Path) -> tuple[int, int]:
    from thresher.demo.sentinel1.sheet import draw_radar_sheet

    return draw_radar_sheet(datasets, path)


OPTICAL = Kind("demo_sentinel2.json", "sentinel2.variables.yaml", _make_optical, lambda url, _: configuration(url), _draw_optical)
RADAR = Kind("demo_sentinel1.json", "sentinel1.variables.yaml", _make_radar, radar_configuration, _draw_radar)
