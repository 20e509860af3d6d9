"""The layers of one date of a burst series as files: what is wanted of which bursts, and the COGs it becomes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from common.messages import RasterFormat
from common.radar_settings import RadarSources
from processor.clipping import area_on_grid, window_of
from processor.cog import LayerTags, chunks, new_cog
from processor.grids import Grid
from processor.sar.burst import Burst, Coregistered
from processor.sar.burst_product import BurstProduct
from processor.sar.dem import Dem
from processor.sar.series import Series, SeriesOptions

SIGMA0, COHERENCE, PHASE = "sigma0", "coh", "phase"
_LAYER = re.compile(rf"({SIGMA0}|{COHERENCE}|{PHASE})_(VV|VH|HH|HV)")

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class DateJob:
    """A date of a series. `previous` is None on the first date; the bursts may be one and the same product."""

    current: BurstProduct
    previous: BurstProduct | None
    reference: BurstProduct
    dem: Dem
    sources: RadarSources
    options: SeriesOptions
    layers: tuple[str, ...] = ()
    """`sigma0_VV`, `coh_VV`, `phase_VV`, …; empty: backscatter, and coherence if there is a previous date, of all polarisations."""


@dataclass(frozen=True)
class LayerFiles:
    """Where the layers go, and how their values are written."""

    workdir: Path
    pattern: str
    """Name of the files, with `*` for the layer."""
    format: RasterFormat
    """Of backscatter and coherence: real 0 to 1 becomes its minimum to maximum. Phases are always float32, radians, no-data NaN."""
    area: BaseGeometry | None = None
    """EPSG:4326: cut to it."""

    def target(self, layer: str) -> Path:
        return self.workdir / self.pattern.replace("*", layer)


def make_layers(job: DateJob, files: LayerFiles) -> Iterator[str]:
    """Write the layers of a date, yielding the name of each. Raises FatalError for what cannot be made, before the first."""
    wanted = _wanted(job)
    polarisations = list(dict.fromkeys(layer.partition("_")[2] for layer in wanted))
    reference = Burst(job.reference, next(iter(job.reference.channels)), job.sources)
    date = _Date(job, Series(reference, job.dem, job.options), files)
    for polarisation in polarisations:
        kinds = [layer.partition("_")[0] for layer in wanted if layer.endswith(f"_{polarisation}")]
        yield from date.of_polarisation(polarisation, kinds)


def _wanted(job: DateJob) -> tuple[str, ...]:
    kinds = (SIGMA0,) if job.previous is None else (SIGMA0, COHERENCE)
    wanted = job.layers or tuple(f"{kind}_{polarisation}" for polarisation in job.current.channels for kind in kinds)
    for layer in wanted:
        match = _LAYER.fullmatch(layer)
        if match is None:
            raise FatalError(f"layers: there is no layer '{layer}'; there are {SIGMA0}_, {COHERENCE}_ and {PHASE}_ with a polarisation")
        needed = [job.current] if match[1] == SIGMA0 else [job.current, job.previous] if job.previous else []
        for product in needed:
            if match[2] not in product.channels:
                raise FatalError(f"layer {layer}: {product.identity.product} has no polarisation {match[2]}: {', '.join(product.channels)}")
    # Without a date before there is no pair: graphs ask for the same layers on all dates.
    return tuple(layer for layer in wanted if job.previous is not None or layer.startswith(SIGMA0))


@dataclass(frozen=True)
class _Date:
    job: DateJob
    series: Series
    files: LayerFiles

    def of_polarisation(self, polarisation: str, kinds: list[str]) -> Iterator[str]:
        current = self.series.coregistered(Burst(self.job.current, polarisation, self.job.sources))
        if SIGMA0 in kinds:
            yield self._write(f"{SIGMA0}_{polarisation}", self.series.backscatter(current), self._tags(current))
        if self.job.previous is None or kinds == [SIGMA0]:
            return
        previous = self.series.coregistered(Burst(self.job.previous, polarisation, self.job.sources))
        found = self.series.interferogram(current, previous)
        tags = self._tags(current, previous)
        del current, previous
        if COHERENCE in kinds:
            yield self._write(f"{COHERENCE}_{polarisation}", self.series.coherence(found), tags)
        if PHASE in kinds:
            yield self._write(f"{PHASE}_{polarisation}", self.series.phase(found), tags)

    @cached_property
    def _grid(self) -> Grid:
        grid = self.series.map_grid
        return Grid(grid.crs, grid.transform, grid.width, grid.height)

    def _write(self, layer: str, values: Pixels, metadata: dict[str, str]) -> str:
        grid, pixel_format = self._grid, self.files.format
        if layer.startswith(PHASE):
            pixel_format = RasterFormat(dtype="float32", nodata=np.nan, min_value=-np.pi, max_value=np.pi)
        pixels = values if layer.startswith(PHASE) else encoded(values, pixel_format)
        if self.files.area is not None:
            outline = area_on_grid(self.files.area, grid)
            window = window_of(outline, grid)
            grid, (rows, columns) = grid.window(window), window.toslices()
            pixels = pixels[rows, columns]
            pixels[geometry_mask([outline], pixels.shape, grid.transform, all_touched=True)] = pixel_format.nodata
        with new_cog(
            self.files.target(layer), grid.profile(pixels.dtype.name, 1, pixel_format.nodata), LayerTags(layer, metadata=metadata)
        ) as output:
            for part in chunks(grid.width, grid.height):
                rows, columns = part.toslices()
                output.write(pixels[rows, columns], 1, window=part)
        return layer

    def _tags(self, current: Coregistered, previous: Coregistered | None = None) -> dict[str, str]:
        """What went into a layer."""
        tags = {
            "PRODUCT": current.burst.product.identity.product,
            "BURST": current.burst.product.identity.tile,
            "ACQUISITION": f"{current.burst.grid.first_line_time:%Y-%m-%dT%H:%M:%S.%f}Z",
            "ORBIT": current.burst.orbit.source,
            "REFERENCE_PRODUCT": self.job.reference.identity.product,
            "DEM": self.job.dem.description,
            "COREGISTRATION_RESIDUAL": _residual(current),
        }
        if previous is not None:
            tags["PREVIOUS_PRODUCT"] = previous.burst.product.identity.product
            tags["PREVIOUS_ORBIT"] = previous.burst.orbit.source
            tags["PREVIOUS_COREGISTRATION_RESIDUAL"] = _residual(previous)
        else:
            tags["THERMAL_NOISE_REMOVED"] = str(self.job.options.denoise).lower()
        return tags


def encoded(values: Pixels, pixel_format: RasterFormat) -> NDArray[Any]:
    """Real values as pixels: 0 to 1 becomes minimum to maximum, beyond that the line goes on as far as the data type does.

    Not a number becomes no-data; a value never does.
    """
    dtype = np.dtype(pixel_format.dtype)
    scaled = values * np.float32(pixel_format.max_value - pixel_format.min_value) + np.float32(pixel_format.min_value)
    missing = np.isnan(values)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        scaled = np.clip(np.rint(scaled.astype(np.float64)), limits.min, limits.max)
        if limits.min <= pixel_format.nodata <= limits.max:
            step = 1 if pixel_format.nodata < limits.max else -1
            scaled = np.where(scaled == pixel_format.nodata, pixel_format.nodata + step, scaled)
    nodata = pixel_format.nodata if np.issubdtype(dtype, np.floating) or not np.isnan(pixel_format.nodata) else 0
    return np.where(missing, nodata, scaled).astype(dtype)


def _residual(found: Coregistered) -> str:
    return f"{found.residual[0]:.6f} lines, {found.residual[1]:.6f} samples"
