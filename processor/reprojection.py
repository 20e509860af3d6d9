"""Rasters on another grid: by GDAL's warper, chunk by chunk, the way `gdalwarp` does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rasterio
from rasterio.enums import Resampling
from rasterio.features import geometry_mask
from rasterio.warp import calculate_default_transform, reproject, transform_bounds
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.clipping import area_on_grid, window_of
from processor.cog import LayerTags, chunks, gdal_settings, new_cog
from processor.grids import Grid, aligned_grid, grid_of

_MEMORY_MB = 128
_DENSE = 41
"""Points on each edge of a raster to find its bounds in another CRS."""

RESAMPLINGS = {
    name: Resampling[name]
    for name in ("nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "min", "max", "med", "q1", "q3", "rms")
}


def write_reprojected(
    source: Path,
    target: Path,
    grid: Grid,
    tags: LayerTags,
    *,
    resampling: Resampling = Resampling.nearest,
    area: BaseGeometry | None = None,
    block: int | None = None,
) -> None:
    """Write `source` on `grid` as the COG `target`, whole or not at all; what `source` does not cover, or lies beyond `area`, is no-data.

    Pixel by pixel what `gdalwarp` of the same version of GDAL makes with its default error threshold of 0.125 pixels. Raises FatalError
    where the area misses the grid, or there is no no-data value.
    """
    with gdal_settings(), rasterio.open(source) as raster:
        if raster.crs is None:
            raise FatalError(f"{source.name} has no CRS: it cannot be reprojected")
        nodata = raster.nodata if raster.nodata is not None else tags.nodata
        if nodata is None:
            raise FatalError(f"{tags.description} has no no-data value: what it does not cover could not be told")
        outline = area_on_grid(area, grid) if area is not None else None
        part = grid.window(window_of(outline, grid)) if outline is not None else grid
        with new_cog(target, part.profile(raster.dtypes[0], raster.count, nodata), tags, block=block) as output:
            for band in raster.indexes:
                reproject(
                    rasterio.band(raster, band),
                    rasterio.band(output, band),
                    src_nodata=nodata,
                    dst_nodata=nodata,
                    resampling=resampling,
                    num_threads=2,
                    warp_mem_limit=_MEMORY_MB,
                )
            if outline is not None:
                _blank(output, outline, nodata)


def reprojected_grid(source: Path, crs: Any, resolution: float = 0.0, area: BaseGeometry | None = None) -> Grid:
    """The grid for `source` in `crs`: aligned to multiples of `resolution` (units of the CRS); that of `gdalwarp` for 0.

    With `area` (EPSG:4326) an aligned grid holds only what of it the raster can cover. Raises FatalError.
    """
    with rasterio.open(source) as raster:
        if raster.crs is None:
            raise FatalError(f"{source.name} has no CRS: it cannot be reprojected")
        if resolution <= 0:
            if raster.crs == crs:
                return grid_of(raster)
            transform, width, height = calculate_default_transform(raster.crs, crs, raster.width, raster.height, *raster.bounds)
            if transform is None or not width or not height:
                raise FatalError(f"{source.name} cannot be brought to {crs}")
            return Grid(crs, transform, width, height)
        bounds = transform_bounds(raster.crs, crs, *raster.bounds, densify_pts=_DENSE)
    whole = aligned_grid(crs, bounds, resolution)
    if area is None:
        return whole
    return whole.window(window_of(area_on_grid(area, whole), whole))


def _blank(output: Any, outline: BaseGeometry, nodata: float) -> None:
    """Set pixels that `outline` does not touch to no-data."""
    for window in chunks(output.width, output.height):
        pixels = output.read(window=window)
        outside = geometry_mask([outline], pixels.shape[1:], output.window_transform(window), all_touched=True)
        if outside.any():
            pixels[:, outside] = nodata
            output.write(pixels, window=window)
