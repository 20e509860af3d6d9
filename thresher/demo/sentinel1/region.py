"""The simulated radar region: a static STAC catalogue of three SLC products of one track, the products themselves, and a DEM of the ground.

Products are folders in the SAFE format. The bursts of IW1 and IW2 hold pixels; IW3, which the area does not touch, is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from thresher.demo.sentinel1.documents import SIMULATED, corners, start_and_stop
from thresher.demo.sentinel1.passes import NOISE, PASSES, RELATIVE_ORBIT, absolute_orbit, product_documents
from thresher.demo.sentinel1.product import ProductDocuments, Simulation, write_series
from thresher.demo.sentinel1.terrain import Reflector, Terrain
from thresher.demo.static_stac import CATALOG, StaticStac, rfc3339

COLLECTION = "sentinel-1-slc-simulated"
BURSTS = {"IW1": (0, 1), "IW2": (0, 1)}
REFLECTORS = (
    Reflector(12.0850, 51.5300, 40.0),
    Reflector(12.0350, 51.6900, 40.0),
    Reflector(12.1580, 51.5750, 40.0),
    Reflector(12.1080, 51.7300, 40.0),
)
GROUND = Terrain(12.1, 51.62, reflectors=REFLECTORS)
_DEM_BOUNDS = (11.85, 51.30, 12.45, 52.00)
_SEED = 1907


@dataclass(frozen=True)
class RadarScene:
    """A scene of the region."""

    product: str
    """Product name, without `.SAFE`."""
    sensing: datetime
    item: Path
    folder: Path
    """The SAFE folder."""


@dataclass(frozen=True)
class RadarRegion:
    """A region on disk. `catalog` is the root document, relative to `folder` as all links in it."""

    folder: Path
    catalog: str
    products: Path
    """Holds `{product}.SAFE`."""
    dem: Path
    """Heights above the ellipsoid."""
    scenes: tuple[RadarScene, ...]
    terrain: Terrain


def make_region(
    folder: Path, terrain: Terrain = GROUND, *, lines: int = 1_500, bursts: Mapping[str, Sequence[int]] = BURSTS
) -> RadarRegion:
    """Write the region below `folder` (made if need be); the same pixels every time.

    `lines`: of a burst; `bursts`: those that hold pixels, by sub-swath, from 0.
    """
    products, dem = folder / "products", folder / "dem.tif"
    products.mkdir(parents=True, exist_ok=True)
    documents = [product_documents(index, lines=lines) for index in range(len(PASSES))]
    terrain.write_dem(dem, *_DEM_BOUNDS)
    folders = write_series(products, documents, Simulation(terrain, _SEED, NOISE, bursts))
    stac = StaticStac(folder, "thresher-demo-sentinel1", COLLECTION, SIMULATED)
    scenes = []
    for index, (product, safe) in enumerate(zip(documents, folders, strict=True)):
        item = folder / COLLECTION / f"{product.name}.json"
        manifest = {"href": f"../products/{product.name}.SAFE/manifest.safe", "type": "application/xml", "roles": ["metadata"]}
        properties, assets = _properties(product, index), {"safe-manifest": manifest}
        stac.write_item(item, _outline(product, terrain), properties, assets, ("sar/v1.0.0", "sat/v1.0.0"))
        scenes.append(RadarScene(product.name, start_and_stop(product.images[0].swath)[0], item, safe))
    stac.write_roots(
        "Sentinel-1 SLC, simulated",
        f"{SIMULATED} One track on {len(scenes)} dates over ground of {len(terrain.hills)} waves of hills.",
        _DEM_BOUNDS,
        (scenes[0].sensing, scenes[-1].sensing),
        [scene.item for scene in scenes],
    )
    return RadarRegion(folder, CATALOG, products, dem, tuple(scenes), terrain)


def _properties(product: ProductDocuments, index: int) -> dict[str, Any]:
    start = min(start_and_stop(image.swath)[0] for image in product.images)
    stop = max(start_and_stop(image.swath)[1] for image in product.images)
    return {
        "title": f"{product.name} (simulated)",
        "description": SIMULATED,
        "thresher:simulated": True,
        "datetime": rfc3339(start),
        "start_datetime": rfc3339(start),
        "end_datetime": rfc3339(stop),
        "created": rfc3339(stop + timedelta(hours=3)),
        "platform": "sentinel-1a",
        "constellation": "sentinel-1",
        "instruments": ["c-sar"],
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:polarizations": sorted({image.polarisation for image in product.images}, reverse=True),
        "sar:product_type": "SLC",
        "sat:orbit_state": "ascending",
        "sat:relative_orbit": RELATIVE_ORBIT,
        "sat:absolute_orbit": absolute_orbit(index),
    }


def _outline(product: ProductDocuments, terrain: Terrain) -> list[list[float]]:
    """The closed outline of all sub-swaths, counter-clockwise."""
    swaths = sorted({image.swath.name: image.swath for image in product.images}.items())
    near, far = swaths[0][1], swaths[-1][1]
    last = len(near.bursts) - 1
    ring = [
        corners(near, 0, terrain.base_m)[0],
        corners(far, 0, terrain.base_m)[1],
        corners(far, last, terrain.base_m)[2],
        corners(near, last, terrain.base_m)[3],
    ]
    return [[round(longitude, 6), round(latitude, 6)] for longitude, latitude in [*ring, ring[0]]]
