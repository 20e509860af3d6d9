"""A simulated landscape and its skies: reflectances, clouds and scene classification, drawn from seeded noise.

Nothing here is a measurement. A coast, a river, woods, towns and parcels whose crops green up and are harvested through the year look
enough like the Dutch and Belgian lowlands to show what the layers of a real place would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BANDS = ("B02", "B03", "B04", "B08")


class Cover(IntEnum):
    """What grows or stands on a pixel."""

    SEA = 0
    RIVER = 1
    DUNE = 2
    TOWN = 3
    WOOD = 4
    GRASS = 5
    CEREAL = 6
    MAIZE = 7


class SceneClass(IntEnum):
    """Classes of the Sentinel-2 scene classification (Level-2A Algorithm Theoretical Basis Document 2.10, table 3) used here."""

    CLOUD_SHADOW = 3
    VEGETATION = 4
    NOT_VEGETATED = 5
    WATER = 6
    CLOUD_MEDIUM = 8
    CLOUD_HIGH = 9
    CIRRUS = 10


# Surface reflectance of what a pixel mixes, in the order of BANDS.
_BARE = {
    Cover.SEA: (0.050, 0.048, 0.026, 0.012),
    Cover.RIVER: (0.062, 0.074, 0.060, 0.022),
    Cover.DUNE: (0.150, 0.200, 0.250, 0.320),
    Cover.TOWN: (0.110, 0.125, 0.140, 0.210),
    Cover.WOOD: (0.040, 0.050, 0.055, 0.140),
    Cover.GRASS: (0.065, 0.085, 0.095, 0.190),
    Cover.CEREAL: (0.080, 0.110, 0.145, 0.230),
    Cover.MAIZE: (0.070, 0.095, 0.125, 0.205),
}
_LEAF = (0.022, 0.055, 0.028, 0.460)
_CLOUD = (0.820, 0.800, 0.790, 0.770)


@dataclass(frozen=True)
class Landscape:
    """The ground, unchanging from date to date. Arrays are (rows, columns), row 0 in the north."""

    cover: Bytes
    """`Cover` of each pixel."""
    vigour: Floats
    """How well its plants do, about 1."""
    texture: Floats
    """Brightness of the soil and the water, about 1."""
    pixel_m: float


@dataclass(frozen=True)
class Sky:
    """Clouds and what they hide. Arrays are (rows, columns), 0 to 1."""

    opacity: Floats
    shadow: Floats


@dataclass(frozen=True)
class View:
    """What the sensor sees on a date."""

    reflectance: dict[str, Floats]
    """By band; surface reflectance, clouds included."""
    classes: Bytes
    """`SceneClass` of each pixel."""


def make_landscape(rows: int, columns: int, pixel_m: float, seed: int) -> Landscape:
    """A landscape of `rows` x `columns` pixels of `pixel_m` metres; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    shape = (rows, columns)
    north, east = np.meshgrid(
        np.arange(rows, 0, -1, dtype=np.float32) * pixel_m, np.arange(columns, dtype=np.float32) * pixel_m, indexing="ij"
    )
    broad = _noise(rng, shape, 250, 5)
    fine = _noise(rng, shape, 40, 4)
    cover, vigour = _parcels(rng, north, east, broad)

    cover[_noise(rng, shape, 120, 5) + 0.25 * fine > 0.62] = Cover.WOOD
    cover[_noise(rng, shape, 70, 4) > 0.78] = Cover.TOWN

    river_north = 78_000 + 9_000 * np.sin(east / 17_000) + 5_000 * np.sin(east / 6_100 + 1) + 3_000 * broad
    width = 350 + 2_600 * np.clip(1 - east / 60_000, 0, 1) ** 2
    cover[np.abs(north - river_north) < width] = Cover.RIVER

    # The coast runs from south-west to north-east.
    inland = east - (15_000 + 0.8 * (north - 100_000)) + 5_000 * broad + 700 * fine
    cover[(inland < 1_500) & (cover != Cover.RIVER)] = Cover.DUNE
    cover[inland < 0] = Cover.SEA
    texture = 1 + 0.18 * broad + 0.10 * fine
    return Landscape(cover, vigour.astype(np.float32), texture.astype(np.float32), pixel_m)


def make_sky(landscape: Landscape, cover: float, sun_azimuth: float, sun_elevation: float, seed: int) -> Sky:
    """Clouds over about the share `cover` (0 to 1) of the land, their shadows cast from the sun's direction (degrees)."""
    rng = np.random.default_rng(seed)
    shape = landscape.cover.shape
    field = _noise(rng, (shape[0], shape[1]), 300, 7)
    threshold = float(np.quantile(field, 1 - cover))
    opacity = np.clip((field - threshold) / 0.4 + 0.05, 0, 1).astype(np.float32)
    reach_px = 1_800 / math.tan(math.radians(sun_elevation)) / landscape.pixel_m
    away = math.radians(sun_azimuth + 180)
    return Sky(opacity, _moved(opacity, round(-reach_px * math.cos(away)), round(reach_px * math.sin(away))))


def see(landscape: Landscape, sky: Sky, moment: datetime, seed: int) -> View:
    """Reflectances and scene classification of `landscape` under `sky` at `moment`."""
    rng = np.random.default_rng(seed)
    greenness = np.array([_greenness(cover, moment.timetuple().tm_yday) for cover in Cover], dtype=np.float32)
    leaf = np.clip(greenness[landscape.cover] * landscape.vigour, 0, 0.97)
    light = (1 - 0.6 * sky.shadow) * (1 - sky.opacity)
    grain = rng.standard_normal(landscape.cover.shape, dtype=np.float32)
    reflectance: dict[str, Floats] = {}
    for index, band in enumerate(BANDS):
        bare = np.array([_BARE[cover][index] for cover in Cover], dtype=np.float32)[landscape.cover] * landscape.texture
        ground = bare + (np.float32(_LEAF[index]) - bare) * leaf
        seen = ground * light + np.float32(_CLOUD[index]) * sky.opacity * (0.85 + 0.15 * landscape.texture)
        reflectance[band] = (seen + np.float32(0.002) * np.roll(grain, index * 7, axis=1)).astype(np.float32)
    return View(reflectance, _classify(landscape, sky, leaf))


def _classify(landscape: Landscape, sky: Sky, leaf: Floats) -> Bytes:
    classes = np.where(leaf > 0.45, SceneClass.VEGETATION, SceneClass.NOT_VEGETATED).astype(np.uint8)
    classes[landscape.cover <= Cover.RIVER] = SceneClass.WATER
    classes[sky.shadow > 0.4] = SceneClass.CLOUD_SHADOW
    for above, scene_class in ((0.05, SceneClass.CIRRUS), (0.3, SceneClass.CLOUD_MEDIUM), (0.65, SceneClass.CLOUD_HIGH)):
        classes[sky.opacity > above] = scene_class
    return classes


def _moved(field: Floats, down: int, right: int) -> Floats:
    """`field` shifted by whole pixels; what comes in from outside is 0."""
    padded = np.pad(field, ((max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0))))
    rows, columns = field.shape
    return padded[max(-down, 0) :, max(-right, 0) :][:rows, :columns]


def _greenness(cover: Cover, day: int) -> float:
    """Share of the ground under green leaves on a day of the year, for plants of middling vigour."""
    summer = 0.5 - 0.5 * math.cos(2 * math.pi * (day - 15) / 365)
    match cover:
        case Cover.WOOD:
            return 0.40 + 0.50 * math.pow(summer, 0.7)
        case Cover.GRASS:
            return 0.45 + 0.25 * summer
        case Cover.CEREAL:
            return 0.10 + 0.85 * math.exp(-(((day - 135) / 42) ** 2))
        case Cover.MAIZE:
            return 0.04 + 0.90 * math.exp(-(((day - 218) / 40) ** 2))
        case Cover.TOWN:
            return 0.12 + 0.12 * summer
        case Cover.DUNE:
            return 0.10 + 0.08 * summer
        case _:
            return 0.0


def _parcels(rng: np.random.Generator, north: Floats, east: Floats, bend: Floats) -> tuple[Bytes, Floats]:
    """Fields in rotated, slightly bent blocks, each with one crop and its own vigour."""
    size = 512
    crops = rng.choice(np.array([Cover.GRASS, Cover.CEREAL, Cover.MAIZE], dtype=np.uint8), size=(size, size), p=[0.36, 0.38, 0.26])
    vigours = rng.normal(1.0, 0.12, (size, size)).astype(np.float32)
    angle = math.radians(24)
    along = (east * math.cos(angle) + north * math.sin(angle)) / 1_700 + 1.2 * bend
    across = (north * math.cos(angle) - east * math.sin(angle)) / 1_000 + 2 * bend
    u = np.floor(along).astype(np.int32) % size
    v = np.floor(across).astype(np.int32) % size
    return crops[u, v], vigours[u, v]


def _noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float, octaves: int) -> Floats:
    """Fractal value noise of zero mean, about -1 to 1; its largest features are `scale_px` pixels wide."""
    total = np.zeros(shape, dtype=np.float32)
    weight, weights = 1.0, 0.0
    for _ in range(octaves):
        grid = rng.uniform(-1, 1, (math.ceil(shape[0] / scale_px) + 3, math.ceil(shape[1] / scale_px) + 3)).astype(np.float32)
        box = (1.0, 1.0, 1.0 + shape[1] / scale_px, 1.0 + shape[0] / scale_px)
        layer = Image.fromarray(grid).resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box)
        total += np.float32(weight) * np.asarray(layer, dtype=np.float32)
        weights += weight**2
        weight, scale_px = weight * 0.55, max(scale_px / 2.1, 1.5)
    return total * np.float32(1.25 / math.sqrt(weights))
