"""The made-up ground of the radar simulation: hills, and fields, woods, water and towns, each with its backscatter and coherence.

It lies around an origin; east and north are metres in a local plate carrée (lengths in longitude by the cosine of the origin's latitude).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from thresher.demo.sentinel1.orbit import Floats, up

_EAST_M, _NORTH_M = 111_320.0, 110_574.0
"""Metres a degree, in longitude at the equator, in latitude."""


@dataclass(frozen=True)
class Cover:
    """What covers the ground: backscatter normalised for incidence, by polarisation, and coherence from one date to the next."""

    name: str
    backscatter: dict[str, float]
    coherence: float


WATER = Cover("water", {"VV": 0.008, "VH": 0.0012}, 0.0)
FIELD = Cover("field", {"VV": 0.09, "VH": 0.018}, 0.6)
WOOD = Cover("wood", {"VV": 0.13, "VH": 0.035}, 0.3)
TOWN = Cover("town", {"VV": 0.35, "VH": 0.06}, 0.9)
COVERS = (WATER, FIELD, WOOD, TOWN)


@dataclass(frozen=True)
class Hill:
    """A wave of the ground."""

    amplitude_m: float
    length_m: float
    heading: float
    """Degrees, of the crests' normal."""
    phase: float = 0.0


HILLS = (Hill(70, 9_000, 20), Hill(45, 5_300, 75, 1.0), Hill(25, 3_400, 140, 2.2))


@dataclass(frozen=True)
class Reflector:
    """A corner reflector: a point much brighter than its surroundings."""

    longitude: float
    latitude: float
    amplitude: float
    """Of its response, in units of the root of beta nought."""


@dataclass(frozen=True)
class Terrain:
    """The ground around an origin (degrees)."""

    longitude: float
    latitude: float
    base_m: float = 180.0
    hills: tuple[Hill, ...] = HILLS
    parcel_m: float = 2_600.0
    """Of the chequered covers; 0: everything is `cover`."""
    cover: Cover = FIELD
    reflectors: tuple[Reflector, ...] = ()
    coherences: dict[str, float] = field(default_factory=dict)
    """Instead of those of the covers, by name."""

    def height(self, longitude: Floats, latitude: Floats) -> Floats:
        """Metres above the ellipsoid."""
        east, north = self.local(longitude, latitude)
        return self.base_m + sum((hill.amplitude_m * np.sin(_phase(hill, east, north)) for hill in self.hills), np.zeros(np.shape(east)))

    def normal(self, longitude: Floats, latitude: Floats) -> Floats:
        """The outward normal of the ground, Earth-fixed, shape (..., 3)."""
        east, north = self.local(longitude, latitude)
        slope_east, slope_north = np.zeros(np.shape(east)), np.zeros(np.shape(east))
        for hill in self.hills:
            steep = hill.amplitude_m * 2 * math.pi / hill.length_m * np.cos(_phase(hill, east, north))
            slope_east += steep * math.sin(math.radians(hill.heading))
            slope_north += steep * math.cos(math.radians(hill.heading))
        # The local scales differ from true lengths by parts in a thousand, and so do the slopes.
        lon, lat = np.radians(longitude), np.radians(latitude)
        eastwards = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], axis=-1)
        northwards = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=-1)
        normal = up(longitude, latitude) - slope_east[..., None] * eastwards - slope_north[..., None] * northwards
        return np.asarray(normal / np.linalg.norm(normal, axis=-1, keepdims=True), dtype=np.float64)

    def classes(self, east: Floats, north: Floats) -> NDArray[np.uint8]:
        """The index in `COVERS` of what covers the ground at local places."""
        if not self.parcel_m:
            return np.full(np.shape(east), COVERS.index(self.cover), dtype=np.uint8)
        column = np.floor(east / self.parcel_m).astype(np.int64)
        row = np.floor(north / self.parcel_m).astype(np.int64)
        # A fixed scramble of row and column: woods and towns among fields, and a lake now and then.
        mixed = ((column * 73_856_093) ^ (row * 19_349_663)) // 16 % 8
        chosen = np.array([1, 1, 2, 1, 3, 2, 1, 0], dtype=np.uint8)
        return np.asarray(chosen[mixed], dtype=np.uint8)

    def coherence_of(self, cover: Cover) -> float:
        return self.coherences.get(cover.name, cover.coherence)

    def local(self, longitude: Floats, latitude: Floats) -> tuple[Floats, Floats]:
        """Metres east and north of the origin."""
        east = (np.asarray(longitude) - self.longitude) * _EAST_M * math.cos(math.radians(self.latitude))
        return east, (np.asarray(latitude) - self.latitude) * _NORTH_M

    def write_dem(self, path: Path, west: float, south: float, east: float, north: float, step: float = 1 / 3600) -> None:
        """Write the heights above the ellipsoid as a GeoTIFF (EPSG:4326, `step` degrees), pixels centred on whole steps."""
        columns, rows = math.ceil((east - west) / step) + 1, math.ceil((north - south) / step) + 1
        longitude, latitude = np.meshgrid(west + np.arange(columns) * step, north - np.arange(rows) * step)
        transform = Affine(step, 0, west - step / 2, 0, -step, north + step / 2)
        profile = {"driver": "GTiff", "width": columns, "height": rows, "count": 1, "dtype": "float32", "compress": "ZSTD", "predictor": 3}
        with rasterio.open(path, "w", crs="EPSG:4326", transform=transform, tiled=True, **profile) as raster:
            raster.write(self.height(longitude, latitude).astype(np.float32), 1)
            raster.update_tags(DESCRIPTION="SIMULATED heights above the WGS 84 ellipsoid")


def _phase(hill: Hill, east: Floats, north: Floats) -> Floats:
    heading = math.radians(hill.heading)
    return np.asarray(2 * math.pi / hill.length_m * (east * math.sin(heading) + north * math.cos(heading)) + hill.phase, dtype=np.float64)
