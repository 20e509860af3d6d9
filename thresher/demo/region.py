"""The simulated region: a static STAC catalogue of Sentinel-2 L2A-like scenes, two neighbouring MGRS tiles on four dates.

Names, grid, projection, baseline, offset and metadata are those of real products (STAC items as Earth Search writes them); only the
pixels are invented (`thresher.demo.landscape`), at 100 m instead of 10 m so that whole tiles stay small. Every item says so.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import Affine

from thresher.demo.landscape import Landscape, SceneClass, View, make_landscape, make_sky, see
from thresher.demo.static_stac import CATALOG, StaticStac, bounds, rfc3339

COLLECTION = "sentinel-2-l2a-simulated"
SIMULATED = "SIMULATED for demonstration: no satellite took this."

EPSG = 32631
PIXEL_M = 100
SIZE = 1098
"""Rows and columns of a tile of 109.8 km."""
BASELINE = "05.10"
SCALE = 0.0001
OFFSET = -0.1
"""Surface reflectance = pixel * SCALE + OFFSET, as all products since baseline 04.00."""

_SEED = 31_07
_WEST, _NORTH = 499_980, 5_800_020


@dataclass(frozen=True)
class MgrsTile:
    """A tile of the Sentinel-2 grid; `north` is the northing of its upper edge, `rows_down` its first row in the landscape."""

    code: str
    north: int

    @property
    def rows_down(self) -> int:
        return round((_NORTH - self.north) / PIXEL_M)


@dataclass(frozen=True)
class Pass:
    """A pass of a satellite over the region on relative orbit 51."""

    platform: str
    """Letter of the satellite."""
    datatake: datetime
    absolute_orbit: int
    cloud: float
    """Share of the region meant to be under clouds."""

    @property
    def sensing(self) -> datetime:
        return self.datatake + timedelta(minutes=5, seconds=39)


TILES = (MgrsTile("31UET", 5_800_020), MgrsTile("31UES", 5_700_000))
PASSES = (
    Pass("A", datetime(2024, 3, 20, 10, 50, 31, tzinfo=UTC), 45_665, 0.22),
    Pass("B", datetime(2024, 5, 14, 10, 46, 19, tzinfo=UTC), 37_543, 0.03),
    Pass("A", datetime(2024, 7, 18, 10, 50, 31, tzinfo=UTC), 47_381, 0.12),
    Pass("B", datetime(2024, 9, 11, 10, 46, 19, tzinfo=UTC), 39_259, 0.45),
)


@dataclass(frozen=True)
class RegionScene:
    """A scene of the region."""

    product: str
    """Product name, without `.SAFE`."""
    tile: str
    item: Path
    cloud_cover: float
    """Percent."""


@dataclass(frozen=True)
class Region:
    """A region on disk. `catalog` is the root document, relative to `folder` as all links in it."""

    folder: Path
    catalog: str
    scenes: tuple[RegionScene, ...]


_EXTENSIONS = ("eo/v1.1.0", "file/v2.1.0", "grid/v1.1.0", "mgrs/v1.0.0", "projection/v1.1.0", "raster/v1.1.0", "sat/v1.0.0", "view/v1.0.0")


@dataclass(frozen=True)
class _Asset:
    key: str
    layer: str
    title: str
    step: int
    """Every how many pixels of the landscape."""
    common_name: str = ""
    center_wavelength_um: float = 0.0


_ASSETS = (
    _Asset("blue", "B02", "Blue - 10m", 1, "blue", 0.49),
    _Asset("green", "B03", "Green - 10m", 1, "green", 0.56),
    _Asset("red", "B04", "Red - 10m", 1, "red", 0.665),
    _Asset("nir", "B08", "NIR 1 - 10m", 1, "nir", 0.842),
    _Asset("scl", "SCL", "Scene classification map (SCL)", 2),
)


def make_region(folder: Path) -> Region:
    """Write the region below `folder` (made if need be); the same pixels every time."""
    landscape = make_landscape(TILES[-1].rows_down + SIZE, SIZE, PIXEL_M, _SEED)
    stac = StaticStac(folder, "thresher-demo", COLLECTION, SIMULATED)
    with ThreadPoolExecutor(2) as threads:
        passes = threads.map(lambda index: list(_make_pass(stac, landscape, index)), range(len(PASSES)))
        scenes = tuple(scene for made in passes for scene in made)
    stac.write_roots(
        "Sentinel-2 L2A, simulated",
        f"{SIMULATED} {len(TILES)} MGRS tiles on {len(PASSES)} dates, 100 m pixels in the grid of Sentinel-2.",
        bounds([position for tile in TILES for position in _outline(tile)]),
        (PASSES[0].sensing, PASSES[-1].sensing),
        [scene.item for scene in scenes],
    )
    return Region(folder, CATALOG, scenes)


def _make_pass(stac: StaticStac, landscape: Landscape, index: int) -> Iterator[RegionScene]:
    overpass = PASSES[index]
    azimuth, elevation = _sun(overpass.sensing, 51.5, 4.0)
    view = see(landscape, make_sky(landscape, overpass.cloud, azimuth, elevation, _SEED + index), overpass.sensing, _SEED - index)
    for tile in TILES:
        yield _make_scene(stac, view, overpass, tile)


def _make_scene(stac: StaticStac, view: View, overpass: Pass, tile: MgrsTile) -> RegionScene:
    product = (
        f"S2{overpass.platform}_MSIL2A_{overpass.datatake:%Y%m%dT%H%M%S}_N{BASELINE.replace('.', '')}_R051_T{tile.code}_"
        f"{_generated(overpass):%Y%m%dT%H%M%S}"
    )
    place = stac.folder / COLLECTION / product
    place.mkdir(parents=True, exist_ok=True)
    rows = slice(tile.rows_down, tile.rows_down + SIZE)
    classes = view.classes[rows]
    assets: dict[str, Any] = {}
    for asset in _ASSETS:
        pixels = classes if asset.layer == "SCL" else _quantised(view.reflectance[asset.layer][rows])
        path = place / f"{asset.layer}.tif"
        transform = _write_raster(path, pixels[:: asset.step, :: asset.step], tile, asset)
        assets[asset.key] = _asset_document(asset, path, pixels[:: asset.step, :: asset.step], transform)
    properties = _properties(product, overpass, tile, classes)
    item = place / f"{product}.json"
    stac.write_item(item, _outline(tile), properties, assets, _EXTENSIONS)
    return RegionScene(product, tile.code, item, properties["eo:cloud_cover"])


def _quantised(reflectance: NDArray[np.float32]) -> NDArray[np.uint16]:
    numbers: NDArray[np.uint16] = np.clip(np.rint((reflectance - OFFSET) / SCALE), 1, 65_535).astype(np.uint16)
    return numbers


def _write_raster(path: Path, pixels: NDArray[Any], tile: MgrsTile, asset: _Asset) -> Affine:
    pixel_m = PIXEL_M * asset.step
    transform = Affine(pixel_m, 0, _WEST, 0, -pixel_m, tile.north)
    profile = {
        "driver": "COG",
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "count": 1,
        "dtype": pixels.dtype,
        "crs": f"EPSG:{EPSG}",
        "transform": transform,
        "nodata": 0,
        "compress": "ZSTD",
        "level": 1,
        "predictor": "YES",
        "blocksize": 512,
        "overview_resampling": "nearest" if asset.layer == "SCL" else "average",
    }
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(pixels, 1)
        raster.update_tags(TIFFTAG_IMAGEDESCRIPTION=SIMULATED)
    return transform


def _asset_document(asset: _Asset, path: Path, pixels: NDArray[Any], transform: Affine) -> dict[str, Any]:
    content = path.read_bytes()
    raster: dict[str, Any] = {"nodata": 0, "data_type": str(pixels.dtype), "spatial_resolution": PIXEL_M * asset.step}
    document: dict[str, Any] = {
        "href": f"./{path.name}",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "title": asset.title,
        "gsd": PIXEL_M * asset.step,
        "proj:shape": list(pixels.shape),
        "proj:transform": list(transform)[:6],
        "raster:bands": [raster],
        "file:size": len(content),
        # Multihash of SHA2-256: its code 0x12, then the length 0x20.
        "file:checksum": "1220" + hashlib.sha256(content).hexdigest(),
        "roles": ["data"],
    }
    if asset.common_name:
        raster.update(scale=SCALE, offset=OFFSET)
        document["roles"].append("reflectance")
        document["eo:bands"] = [{"name": asset.layer, "common_name": asset.common_name, "center_wavelength": asset.center_wavelength_um}]
    return document


def _properties(product: str, overpass: Pass, tile: MgrsTile, classes: NDArray[np.uint8]) -> dict[str, Any]:
    share = {scene_class: round(float(np.mean(classes == scene_class)) * 100, 6) for scene_class in SceneClass}
    azimuth, elevation = _sun(overpass.sensing, 51.5, 4.0)
    generated = _generated(overpass)
    baseline, letter = f"N{BASELINE}", overpass.platform
    made, seen = f"{generated:%Y%m%dT%H%M%S}", f"{overpass.sensing:%Y%m%dT%H%M%S}"
    return {
        "title": f"{product} (simulated)",
        "description": SIMULATED,
        "thresher:simulated": True,
        "datetime": rfc3339(overpass.sensing),
        "created": rfc3339(generated),
        "updated": rfc3339(generated),
        "platform": f"sentinel-2{overpass.platform.lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": PIXEL_M,
        "eo:cloud_cover": round(sum(share[kind] for kind in (SceneClass.CLOUD_MEDIUM, SceneClass.CLOUD_HIGH, SceneClass.CIRRUS)), 6),
        "proj:epsg": EPSG,
        "mgrs:utm_zone": int(tile.code[:2]),
        "mgrs:latitude_band": tile.code[2],
        "mgrs:grid_square": tile.code[3:],
        "grid:code": f"MGRS-{tile.code}",
        "sat:orbit_state": "descending",
        "sat:relative_orbit": 51,
        "sat:absolute_orbit": overpass.absolute_orbit,
        "view:sun_azimuth": azimuth,
        "view:sun_elevation": elevation,
        "s2:product_uri": f"{product}.SAFE",
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": BASELINE,
        "s2:generation_time": rfc3339(generated),
        "s2:datatake_id": f"GS2{letter}_{overpass.datatake:%Y%m%dT%H%M%S}_{overpass.absolute_orbit:06d}_{baseline}",
        "s2:datatake_type": "INS-NOBS",
        "s2:datastrip_id": f"S2{letter}_OPER_MSI_L2A_DS_SIMU_{made}_S{seen}_{baseline}",
        "s2:tile_id": f"S2{letter}_OPER_MSI_L2A_TL_SIMU_{made}_A{overpass.absolute_orbit:06d}_T{tile.code}_{baseline}",
        "s2:nodata_pixel_percentage": 0,
        "s2:cloud_shadow_percentage": share[SceneClass.CLOUD_SHADOW],
        "s2:vegetation_percentage": share[SceneClass.VEGETATION],
        "s2:not_vegetated_percentage": share[SceneClass.NOT_VEGETATED],
        "s2:water_percentage": share[SceneClass.WATER],
        "s2:medium_proba_clouds_percentage": share[SceneClass.CLOUD_MEDIUM],
        "s2:high_proba_clouds_percentage": share[SceneClass.CLOUD_HIGH],
        "s2:thin_cirrus_percentage": share[SceneClass.CIRRUS],
        "s2:snow_ice_percentage": 0,
    }


def _outline(tile: MgrsTile) -> list[list[float]]:
    """The closed outline of a tile in longitude and latitude, counter-clockwise from its north-western corner."""
    east, south = _WEST + SIZE * PIXEL_M, tile.north - SIZE * PIXEL_M
    corners = [(_WEST, tile.north), (_WEST, south), (east, south), (east, tile.north)]
    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    ring = [[round(value, 7) for value in to_degrees.transform(*corner)] for corner in corners]
    return [*ring, ring[0]]


def _generated(overpass: Pass) -> datetime:
    return overpass.datatake + timedelta(hours=5)


def _sun(moment: datetime, latitude: float, longitude: float) -> tuple[float, float]:
    """Azimuth and elevation of the sun in degrees, to about a degree (J. Spencer's declination; no equation of time)."""
    day = 2 * math.pi * (moment.timetuple().tm_yday - 1) / 365
    declination = 0.006918 - 0.399912 * math.cos(day) + 0.070257 * math.sin(day) - 0.006758 * math.cos(2 * day)
    hour_angle = math.radians((moment.hour + moment.minute / 60 - 12) * 15 + longitude)
    phi = math.radians(latitude)
    elevation = math.asin(math.sin(phi) * math.sin(declination) + math.cos(phi) * math.cos(declination) * math.cos(hour_angle))
    azimuth = math.atan2(
        -math.cos(declination) * math.sin(hour_angle),
        math.cos(phi) * math.sin(declination) - math.sin(phi) * math.cos(declination) * math.cos(hour_angle),
    )
    return round(math.degrees(azimuth) % 360, 4), round(math.degrees(elevation), 4)
