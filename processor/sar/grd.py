"""Layers of a GRD product on a map: terrain-corrected backscatter, angles, layover and shadow; block by block, all layers at once.

The image is averaged to about the resolution of the map first (`processor.sar.grd_image`), then each pixel of the map takes its value by
range-Doppler terrain correction (`processor.sar.grd_look_up`). Flattened backscatter is beta0 over the area that the terrain shows
(`processor.sar.illumination`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.windows import Window
from shapely.geometry import MultiPoint, Polygon, box
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from common.radar_settings import RadarSources
from processor.clipping import area_on_grid, window_of
from processor.cog import LayerTags, chunks, new_cog
from processor.grids import Grid
from processor.sar.annotation import Annotation, read_annotation
from processor.sar.burst_layers import LayerFiles, encoded
from processor.sar.calibration import Quantity, read_calibration
from processor.sar.dem import Dem
from processor.sar.geocoding import Resampling, warp
from processor.sar.grd_geometry import GrdGeometry, grd_geometry
from processor.sar.grd_image import ImageStore, Looks, Tables, backscatter, plausible
from processor.sar.grd_look_up import GrdLookUp, look_up
from processor.sar.grd_product import GrdChannel
from processor.sar.illumination import Illumination, illuminate
from processor.sar.map_grid import MapGrid, grid_around, project
from processor.sar.noise import read_noise
from processor.sar.orbit import Orbit
from processor.sar.sources import image_orbit

Pixels = NDArray[np.float32]
Floats = NDArray[np.float64]

INCIDENCE, LOCAL_INCIDENCE, MASK = "incidence", "local_incidence", "mask"
_LAYER = re.compile(r"(gamma0|sigma0|beta0)_(VV|VH|HH|HV)")
_MASK_NODATA = 255

_BLOCK = 1024
"""Pixels of the map, each way, that are worked on at once."""
_OVERVIEW_M = 1000.0
_LEAST = 1e-6
"""Of a value that is there: what thermal noise leaves may be 0, which means that there is none."""
_LEAST_AREA = 0.01
"""Of a flat pixel: terrain that shows less is not seen."""
_LOWEST_M, _HIGHEST_M = -450.0, 9000.0


@dataclass(frozen=True)
class GrdOptions:
    """How the layers are made."""

    crs: str = "UTM"
    """Of the map; `UTM` for the zone of the scene."""
    resolution_m: float = 20.0
    flatten: bool = False
    """gamma0 and sigma0 over the area that the terrain shows, instead of over that of the ellipsoid."""
    denoise: bool = True
    resampling: Resampling = Resampling.BILINEAR


@dataclass(frozen=True)
class GrdJob:
    """What is wanted of which product."""

    product: str
    channels: Mapping[str, GrdChannel]
    dem: Dem
    sources: RadarSources
    options: GrdOptions = field(default_factory=GrdOptions)
    layers: tuple[str, ...] = ()
    """`gamma0_VV`, `sigma0_VH`, `beta0_VV`, …, `incidence`, `local_incidence` (degrees), `mask` (bits: 1 layover, 2 shadow); empty: gamma0
    of all polarisations."""


def make_grd_layers(job: GrdJob, files: LayerFiles) -> Iterator[str]:
    """Write the layers, yielding what was done. Raises FatalError for what cannot be made before anything is, MissingDemError where a
    height is needed that is not there."""
    layers = _wanted(job)
    scene = _Scene(job, files)
    scene.map_grid  # noqa: B018 - what cannot be is told before hours of work
    images: dict[str, Pixels] = {}
    base = sorted({_image_name(layer, flatten=job.options.flatten) for layer in layers if _LAYER.fullmatch(layer)})
    store = ImageStore(files.workdir, scene.shape, len(base) + 1)
    for polarisation in dict.fromkeys(name.partition("_")[2] for name in base):
        quantities = tuple(Quantity(name.partition("_")[0]) for name in base if name.endswith(f"_{polarisation}"))
        found = scene.images(polarisation, quantities, store)
        images |= {f"{quantity}_{polarisation}": image for quantity, image in found.items()}
        yield f"{polarisation}: calibrated"
    terrain = scene.terrain(layers)
    if terrain:
        yield "terrain: illuminated"
    scene.write(layers, images, terrain)
    yield from (f"layer {layer}" for layer in layers)


def _wanted(job: GrdJob) -> tuple[str, ...]:
    layers = job.layers or tuple(f"{Quantity.GAMMA0}_{polarisation}" for polarisation in job.channels)
    for layer in layers:
        match = _LAYER.fullmatch(layer)
        if match is None and layer not in (INCIDENCE, LOCAL_INCIDENCE, MASK):
            raise FatalError(
                f"layers: there is no layer '{layer}'; there are gamma0_, sigma0_ and beta0_ with a polarisation, {INCIDENCE}, "
                f"{LOCAL_INCIDENCE} and {MASK}"
            )
        if match and match[2] not in job.channels:
            raise FatalError(f"layer {layer}: {job.product} has no polarisation {match[2]}: {', '.join(job.channels)}")
    return tuple(dict.fromkeys(layers))


def _image_name(layer: str, *, flatten: bool) -> str:
    """The image a layer is made of: the calibrated one, or beta0 to be divided by areas."""
    return f"{Quantity.BETA0}_{layer.partition('_')[2]}" if flatten else layer


_Terrain = dict[Quantity | None, Illumination]


@dataclass(frozen=True)
class _Scene:
    """One product, with what all its layers share."""

    job: GrdJob
    files: LayerFiles
    denoised: dict[str, bool] = field(default_factory=dict)
    """Of each polarisation that was read, whether thermal noise was taken away."""

    @cached_property
    def annotation(self) -> Annotation:
        return read_annotation(next(iter(self.job.channels.values())).annotation)

    @cached_property
    def orbit(self) -> Orbit:
        return image_orbit(self.annotation, self.job.sources)

    @cached_property
    def geometry(self) -> GrdGeometry:
        return grd_geometry(self.annotation, self.orbit)

    @cached_property
    def looks(self) -> Looks:
        """Pixels of the image to about one of the map."""
        wanted, annotation = self.job.options.resolution_m, self.annotation
        return Looks(max(1, round(wanted / annotation.azimuth_spacing_m)), max(1, round(wanted / annotation.range_spacing_m)))

    @property
    def shape(self) -> tuple[int, int]:
        return self.geometry.grid.lines // self.looks.lines, self.geometry.grid.samples // self.looks.samples

    @cached_property
    def heights(self) -> tuple[float, float]:
        """Bounds of the terrain, metres above the ellipsoid; generous, because they are seen from far."""
        around = grid_around(*self.geometry.outline((0.0,)), "EPSG:4326", _OVERVIEW_M)
        heights = self.job.dem.on_grid(around, np.zeros(around.shape, np.bool_))
        known = heights[np.isfinite(heights)]
        if not known.size:
            self.job.dem.on_grid(around)
        lowest, highest = float(known.min()), float(known.max())
        return max(lowest - 100.0, _LOWEST_M), min(highest * 1.2 + 300.0, _HIGHEST_M)

    @cached_property
    def map_grid(self) -> MapGrid:
        """Whole pixels around all that the image shows, or of that around the area."""
        outline = self.geometry.outline(self.heights)
        grid = grid_around(*outline, self.job.options.crs, self.job.options.resolution_m)
        if self.files.area is None:
            return grid
        whole = Grid(grid.crs, grid.transform, grid.width, grid.height)
        window = window_of(area_on_grid(self.files.area, whole), whole)
        return grid.part(window.row_off, window.col_off, window.height, window.width)

    def images(self, polarisation: str, quantities: tuple[Quantity, ...], store: ImageStore) -> dict[Quantity, Pixels]:
        channel, samples = self.job.channels[polarisation], self.geometry.grid.samples
        calibration = read_calibration(channel.calibration, samples)
        gains = {quantity: calibration.table(quantity) for quantity in {*quantities, Quantity.SIGMA0}}
        told = read_noise(channel.noise, samples) if self.job.options.denoise and channel.noise else None
        noise = plausible(told, gains[Quantity.SIGMA0])
        self.denoised[polarisation] = noise is not None
        return backscatter(channel.image, Tables(gains, noise), self.looks, quantities, store)

    def terrain(self, layers: tuple[str, ...]) -> _Terrain:
        """Areas of each quantity that is to be flattened; under None, what is seen of the terrain."""
        found: dict[Quantity | None, Illumination] = {}
        looks = self.looks.lines, self.looks.samples
        flattened = {layer.partition("_")[0] for layer in layers} & {Quantity.GAMMA0, Quantity.SIGMA0}
        for name in sorted(flattened) if self.job.options.flatten else ():
            quantity = Quantity(name)
            across = quantity is Quantity.GAMMA0
            found[quantity] = found[None] = illuminate(self.geometry, self.job.dem, looks, self.heights, across_sight=across)
        if MASK in layers and not found:
            found[None] = illuminate(self.geometry, self.job.dem, looks, self.heights, areas=False)
        return found

    def write(self, layers: tuple[str, ...], images: Mapping[str, Pixels], terrain: _Terrain) -> None:
        grid = self.map_grid
        needed, seen = self._footprint((0.0,)), self._footprint(self.heights)
        outline = area_on_grid(self.files.area, Grid(grid.crs, grid.transform, *grid.shape[::-1])) if self.files.area is not None else None
        with ExitStack() as stack:
            outputs = {layer: stack.enter_context(self._output(layer)) for layer in layers}
            for window in chunks(grid.width, grid.height, _BLOCK):
                part = grid.part(window.row_off, window.col_off, window.height, window.width)
                if not seen.intersects(_bounds(part)):
                    self._write_nothing(outputs, window)
                    continue
                block = self._block(part, needed, terrain)
                inside = _inside(outline, part) if outline is not None else None
                for layer, output in outputs.items():
                    pixels = self._pixels(layer, block, images, terrain)
                    if inside is not None:
                        pixels[~inside] = output.nodata
                    output.write(pixels, 1, window=window)

    def _block(self, part: MapGrid, needed: BaseGeometry, terrain: _Terrain) -> GrdLookUp:
        wider = part.part(-1, -1, part.height + 2, part.width + 2)
        heights = self.job.dem.on_grid(wider, _inside(needed, wider))
        return look_up(self.geometry, part, heights, feet=bool(terrain))

    def _pixels(self, layer: str, block: GrdLookUp, images: Mapping[str, Pixels], terrain: _Terrain) -> NDArray[Any]:
        lines, samples = self.geometry.grid.lines, self.geometry.grid.samples
        with np.errstate(invalid="ignore"):
            inside = (block.line >= -0.5) & (block.line <= lines - 0.5) & (block.sample >= -0.5) & (block.sample <= samples - 0.5)
        if layer == MASK:
            return np.where(inside, terrain[None].flags_at(block.foot_line, block.foot_range), np.uint8(_MASK_NODATA))
        if layer in (INCIDENCE, LOCAL_INCIDENCE):
            cosine = block.cosine if layer == INCIDENCE else block.local_cosine
            return np.where(inside, np.degrees(np.arccos(np.clip(cosine, -1, 1))), np.float32(np.nan)).astype(np.float32)
        values = self._backscatter(layer, block, images, terrain)
        return encoded(np.where(inside, np.maximum(values, np.float32(_LEAST)), np.float32(np.nan)), self.files.format)

    def _backscatter(self, layer: str, block: GrdLookUp, images: Mapping[str, Pixels], terrain: _Terrain) -> Pixels:
        looks = self.looks
        row, column = (block.line + 0.5) / looks.lines - 0.5, (block.sample + 0.5) / looks.samples - 0.5
        flatten = self.job.options.flatten
        values = warp(images[_image_name(layer, flatten=flatten)], row, column, self.job.options.resampling)
        shown = terrain.get(Quantity(layer.partition("_")[0])) if flatten else None
        if shown is None:
            return values
        area = warp(shown.area, (block.foot_line + 0.5) / looks.lines - 0.5, column, Resampling.BILINEAR)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(area > _LEAST_AREA, values / area, np.float32(np.nan))

    def _output(self, layer: str) -> Any:
        grid = self.map_grid
        dtype, nodata = self.files.format.dtype, self.files.format.nodata
        if layer in (INCIDENCE, LOCAL_INCIDENCE):
            dtype, nodata = "float32", np.nan
        elif layer == MASK:
            dtype, nodata = "uint8", _MASK_NODATA
        profile = Grid(grid.crs, grid.transform, grid.width, grid.height).profile(dtype, 1, nodata)
        return new_cog(self.files.target(layer), profile, LayerTags(layer, categorical=layer == MASK, metadata=self._tags(layer)))

    def _tags(self, layer: str) -> dict[str, str]:
        """What went into a layer."""
        options = self.job.options
        tags = {
            "PRODUCT": self.job.product,
            "ACQUISITION": f"{self.annotation.grid.first_line_time:%Y-%m-%dT%H:%M:%S.%f}Z",
            "ORBIT": self.orbit.source,
            "DEM": self.job.dem.description,
        }
        if match := _LAYER.fullmatch(layer):
            tags["THERMAL_NOISE_REMOVED"] = str(self.denoised[match[2]]).lower()
            tags["TERRAIN_FLATTENED"] = str(options.flatten and match[1] != Quantity.BETA0).lower()
            tags["LOOKS"] = f"{self.looks.lines} lines, {self.looks.samples} samples"
        return tags

    def _footprint(self, heights: tuple[float, ...]) -> BaseGeometry:
        """What the image shows of terrain at these heights, in the CRS of the map."""
        rings = [np.column_stack(project(self.map_grid.crs, *ring)) for ring in zip(*self.geometry.outline(heights), strict=True)]
        return Polygon(rings[0]) if len(rings) == 1 else MultiPoint(np.concatenate(rings)).convex_hull

    def _write_nothing(self, outputs: Mapping[str, Any], window: Window) -> None:
        for output in outputs.values():
            nodata = output.nodata if output.nodata is not None else 0
            output.write(np.full((window.height, window.width), nodata, output.dtypes[0]), 1, window=window)


def _bounds(part: MapGrid) -> BaseGeometry:
    return box(part.west, part.north - part.height * part.pixel, part.west + part.width * part.pixel, part.north)


def _inside(outline: BaseGeometry, part: MapGrid) -> NDArray[np.bool_]:
    return np.asarray(geometry_mask([outline], part.shape, part.transform, all_touched=True, invert=True), np.bool_)
