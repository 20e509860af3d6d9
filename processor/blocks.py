"""Computing a layer from several bands block by block: bands on one grid, a pure function of arrays, one COG. Memory is bounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.features import geometry_mask
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from common.messages import RasterFormat
from processor.clipping import area_on_grid, window_of
from processor.cog import LayerTags, chunks, gdal_settings, new_cog
from processor.grids import Grid, grid_of
from processor.optical.product import Band

Arrays = dict[str, NDArray[Any]]

CHUNK = 1024
"""Pixels computed at once, each way."""


@dataclass(frozen=True)
class Encoding:
    """How real values become pixels: `valid` (real) stands for `format.min_value..max_value`, linearly."""

    format: RasterFormat
    valid: tuple[float, float]

    @property
    def scale(self) -> float:
        """Real value = pixel * scale + offset."""
        return (self.valid[1] - self.valid[0]) / (self.format.max_value - self.format.min_value)

    @property
    def offset(self) -> float:
        return self.valid[0] - self.format.min_value * self.scale

    def pixels(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (any shape, NaN: none) as pixels: rounded to the nearest and kept within the range. NaN becomes no-data."""
        dtype = np.dtype(self.format.dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = np.clip((values - self.offset) / self.scale, self.format.min_value, self.format.max_value)
        if np.issubdtype(dtype, np.integer):
            scaled = np.rint(scaled)
        return np.where(np.isnan(scaled), self.format.nodata, scaled).astype(dtype)


@dataclass(frozen=True)
class Block:
    """A window of the grid that is being computed."""

    grid: Grid
    """Of the window alone."""
    bands: Arrays
    """By layer: real values (float32, NaN where there is no data), or pixels as they are for `raw` bands."""


Function = Callable[[Block], NDArray[Any]]
"""The pixels of a block: rows, columns; or bands, rows, columns."""

Reader = Callable[[Window], NDArray[Any]]
"""What a band has in a window of the grid."""


@dataclass(frozen=True)
class Inputs:
    """Bands of a product to compute with, and the grid to do it on."""

    bands: Mapping[str, Band]
    grid: Grid
    raw: frozenset[str] = frozenset()
    """Bands of classes or flags: neither scaled nor averaged."""
    resampling: Resampling = Resampling.nearest
    """For bands coarser than the grid; finer ones are averaged."""
    halo: int = 0
    """Pixels around a block that its function needs to see, as far as there are any."""


def compute(
    inputs: Inputs,
    function: Function,
    target: Path,
    tags: LayerTags,
    *,
    dtype: str,
    nodata: float,
    count: int = 1,
    area: BaseGeometry | None = None,
) -> None:
    """Write `function` of every block of the grid as the COG `target`, whole or not at all; beyond `area` (EPSG:4326) it is no-data.

    Raises FatalError where the area misses the grid or a band cannot be brought onto it.
    """
    outline, window = _outline(inputs.grid, area)
    grid = inputs.grid.window(window)
    with gdal_settings(), _opened(inputs) as readers, new_cog(target, grid.profile(dtype, count, nodata), tags) as output:
        for part in chunks(grid.width, grid.height, CHUNK):
            there = Window(window.col_off + part.col_off, window.row_off + part.row_off, part.width, part.height)
            pixels = np.asarray(_computed(inputs, readers, function, there), dtype=dtype)
            if outline is not None:
                here = grid.window(part)
                pixels[:, geometry_mask([outline], (here.height, here.width), here.transform, all_touched=True)] = nodata
            output.write(pixels, window=part)


def _computed(inputs: Inputs, readers: Mapping[str, Reader], function: Function, window: Window) -> NDArray[Any]:
    """`function` of a window of the grid, its halo read and cut away: bands, rows, columns."""
    left, top = max(0, window.col_off - inputs.halo), max(0, window.row_off - inputs.halo)
    right = min(inputs.grid.width, window.col_off + window.width + inputs.halo)
    bottom = min(inputs.grid.height, window.row_off + window.height + inputs.halo)
    seen = Window(left, top, right - left, bottom - top)
    pixels = function(Block(inputs.grid.window(seen), {layer: read(seen) for layer, read in readers.items()}))
    pixels = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    row, column = window.row_off - top, window.col_off - left
    return pixels[:, row : row + window.height, column : column + window.width]


def real_values(pixels: NDArray[Any], nodata: float | None, scale: float = 1.0, offset: float = 0.0) -> NDArray[np.float32]:
    """`pixels * scale + offset` in single precision, NaN where there is no data."""
    values: NDArray[np.float32] = pixels.astype(np.float32)
    if (scale, offset) != (1.0, 0.0):
        values *= np.float32(scale)
        values += np.float32(offset)
    if nodata is not None and not math.isnan(nodata):
        values[pixels == nodata] = np.nan
    return values


@contextmanager
def _opened(inputs: Inputs) -> Iterator[dict[str, Reader]]:
    with ExitStack() as stack:
        yield {layer: _reader(layer, band, inputs, stack) for layer, band in inputs.bands.items()}


def _reader(layer: str, band: Band, inputs: Inputs, stack: ExitStack) -> Reader:
    source = stack.enter_context(rasterio.open(band.path))
    nodata = band.nodata if source.nodata is None else source.nodata
    scale, offset = band.scaling(source)
    raw = layer in inputs.raw
    on_grid = source
    if grid_of(source) != inputs.grid:
        if source.crs is None:
            raise FatalError(f"band {layer} has no CRS: it cannot be brought onto the grid of the others")
        on_grid = stack.enter_context(
            WarpedVRT(
                source,
                src_nodata=nodata,
                nodata=nodata,
                resampling=_resampling(grid_of(source), inputs, raw=raw),
                **inputs.grid.warp_options(),
            )
        )

    def read(window: Window) -> NDArray[Any]:
        pixels: NDArray[Any] = on_grid.read(band.index, window=window)
        return pixels if raw else real_values(pixels, nodata, scale, offset)

    return read


def _resampling(source: Grid, inputs: Inputs, *, raw: bool) -> Resampling:
    if raw:
        return Resampling.nearest
    finer = source.crs == inputs.grid.crs and source.pixel_size < inputs.grid.pixel_size * 0.99
    return Resampling.average if finer else inputs.resampling


def _outline(grid: Grid, area: BaseGeometry | None) -> tuple[BaseGeometry | None, Window]:
    if area is None:
        return None, Window(0, 0, grid.width, grid.height)
    outline = area_on_grid(area, grid)
    return outline, window_of(outline, grid)
