"""The simulated radar region: a static STAC catalogue of three SLC products of one track, the products themselves, and a DEM of the ground.

Products are folders in the SAFE format. The bursts of IW1 and IW2 hold pixels; IW3, which the area does not touch, is empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from thresher.demo.sentinel1.documents import SIMULATED, corners, start_and_stop
from thresher.demo.sentinel1.passes import NOISE, PASSES, RELATIVE_ORBIT, absolute_orbit, product_documents
from thresher.demo.sentinel1.product import ProductDocuments, Simulation, write_series
from thresher.demo.sentinel1.terrain import Reflector, Terrain

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
    scenes = []
    for index, (product, safe) in enumerate(zip(documents, folders, strict=True)):
        item = folder / COLLECTION / f"{product.name}.json"
        properties = _properties(product, index)
        _write_json(item, _item(product, terrain, properties))
        scenes.append(RadarScene(product.name, start_and_stop(product.images[0].swath)[0], item, safe))
    _write_json(folder / COLLECTION / "collection.json", _collection(scenes, terrain))
    _write_json(folder / "catalog.json", _catalog())
    return RadarRegion(folder, "catalog.json", products, dem, tuple(scenes), terrain)


def _properties(product: ProductDocuments, index: int) -> dict[str, Any]:
    start = min(start_and_stop(image.swath)[0] for image in product.images)
    stop = max(start_and_stop(image.swath)[1] for image in product.images)
    return {
        "title": f"{product.name} (simulated)",
        "description": SIMULATED,
        "thresher:simulated": True,
        "datetime": _rfc3339(start),
        "start_datetime": _rfc3339(start),
        "end_datetime": _rfc3339(stop),
        "created": _rfc3339(stop + timedelta(hours=3)),
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


def _item(product: ProductDocuments, terrain: Terrain, properties: dict[str, Any]) -> dict[str, Any]:
    ring = _outline(product, terrain)
    longitudes, latitudes = zip(*ring, strict=True)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/sar/v1.0.0/schema.json",
            "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
        ],
        "id": product.name,
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        "properties": properties,
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "./collection.json", "type": "application/json"},
            {"rel": "collection", "href": "./collection.json", "type": "application/json"},
        ],
        "assets": {
            "safe-manifest": {
                "href": f"../products/{product.name}.SAFE/manifest.safe",
                "type": "application/xml",
                "roles": ["metadata"],
            }
        },
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


def _collection(scenes: Sequence[RadarScene], terrain: Terrain) -> dict[str, Any]:
    west, south, east, north = _DEM_BOUNDS
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": COLLECTION,
        "title": "Sentinel-1 SLC, simulated",
        "description": f"{SIMULATED} One track on {len(scenes)} dates over ground of {len(terrain.hills)} waves of hills.",
        "license": "CC0-1.0",
        "extent": {
            "spatial": {"bbox": [[west, south, east, north]]},
            "temporal": {"interval": [[_rfc3339(scenes[0].sensing), _rfc3339(scenes[-1].sensing)]]},
        },
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
            *({"rel": "item", "href": f"./{scene.item.name}", "type": "application/geo+json"} for scene in scenes),
        ],
    }


def _catalog() -> dict[str, Any]:
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "thresher-demo-sentinel1",
        "description": SIMULATED,
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": "application/json"},
            {"rel": "child", "href": f"./{COLLECTION}/collection.json", "type": "application/json"},
        ],
    }


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
