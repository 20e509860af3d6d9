"""Heights on the grid of an optical product or of an area, from the elevation models that the configuration names (`[dems.NAME]`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform_bounds
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.blocks import Block, Inputs, compute
from processor.cog import LayerTags
from processor.grids import Grid, aligned_grid
from processor.optical.opening import OpticalProduct, grid_for
from processor.sar.geoid import open_geoid
from processor.sar.map_grid import MapGrid
from processor.sar.sources import open_dem, read_sources

NODATA = -32768.0


@dataclass(frozen=True)
class HeightLayer:
    """What is wanted."""

    sources: str
    """File that tells the elevation models."""
    dem: str = ""
    """Name of one; empty: `default`, or the only one."""
    area: BaseGeometry | None = None


def product_grid(source: OpticalProduct, resolution: float) -> Grid:
    """The grid of a product's bands in pixels of `resolution` (metres; 0: that of its finest band). Raises FatalError without bands."""
    bands = {name: band for name, band in source.product.bands.items() if band.path.suffix.lower() in (".tif", ".tiff", ".jp2")}
    if not bands:
        raise FatalError(f"{source.product.name} has no raster: where are heights wanted?")
    return grid_for(bands, resolution)


def area_grid(area: BaseGeometry, crs: Any, resolution: float, *, centred: bool = False) -> Grid:
    """The grid that holds `area` (EPSG:4326), its edges (`centred`: its pixels' centres) at multiples of `resolution` (units of `crs`)."""
    return aligned_grid(crs, transform_bounds("EPSG:4326", crs, *area.bounds, densify_pts=41), resolution, centred=centred)


def write_heights(grid: Grid, layer: HeightLayer, target: Path) -> None:
    """Write the heights as the elevation model tells them (metres above its geoid, bilinear, float32) as the COG `target`.

    Where it has none, pixels are no-data, or 0 for a model whose missing tiles are sea. Raises ConfigurationError without a model,
    TemporaryError where its server does not answer.
    """
    dem = open_dem(read_sources(layer.sources), layer.dem)
    # Left as they are told: undulations of 0.
    plain = replace(dem, geoid=open_geoid("ellipsoid"))

    def function(block: Block) -> NDArray[np.float32]:
        here = block.grid
        crs = here.crs.to_authority()
        square = MapGrid(
            ":".join(crs) if crs else here.crs.to_wkt(), here.transform.c, here.transform.f, here.transform.a, here.width, here.height
        )
        heights = plain.on_grid(square, needed=np.zeros(square.shape, bool))
        return np.where(np.isfinite(heights), heights, np.float32(NODATA))

    tags = LayerTags("height", NODATA, metadata={"DEM": dem.files.name, "HEIGHTS_ABOVE": dem.geoid.name})
    compute(Inputs({}, grid), function, target, tags, dtype="float32", nodata=NODATA, area=layer.area)
