"""The leaf area index of a Sentinel-2 Level-2A product as a layer of two bands: its values, and flags that say what to think of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.blocks import Block, Inputs, compute
from processor.cog import LayerTags
from processor.optical.angles import find_tile_metadata, read_angles
from processor.optical.biophysical import BANDS, leaf_area_index, network, satellite_of
from processor.optical.opening import OpticalProduct, grid_for

RESOLUTIONS = (10.0, 20.0)


@dataclass(frozen=True)
class LaiLayer:
    """What is wanted."""

    resolution: float = 20.0
    """Metres. At 20 the bands of 10 m are averaged; at 10 those of 20 m are repeated."""
    network: str = ""
    """Empty: that of the satellite."""
    area: BaseGeometry | None = None


def write_lai(source: OpticalProduct, layer: LaiLayer, workdir: Path, target: Path) -> None:
    """Write LAI (m2/m2, NaN without data) and its `Flag` as the two bands (float32) of the COG `target`.

    Raises FatalError naming the bands that are missing, for reflectance at the top of the atmosphere, without angles.
    """
    product = source.product
    if source.quality != "SCL":
        raise FatalError(f"LAI is computed from Sentinel-2 products; {product.name} is none")
    bands = product.chosen(BANDS)
    if "MSIL1C" in product.name.upper():
        raise FatalError(f"LAI needs reflectance at the surface: a Level-2A product, not {product.name}")
    chosen = network(satellite_of(product.name), layer.network)
    grid = grid_for(bands, layer.resolution)
    angles = read_angles(find_tile_metadata(workdir, product))
    if grid.crs != CRS.from_epsg(angles.epsg):
        raise FatalError(f"the angles of {product.name} are in EPSG:{angles.epsg}, but its bands are in {grid.crs}")

    def function(block: Block) -> NDArray[np.float32]:
        lai, flags = leaf_area_index(np.stack([block.bands[band] for band in BANDS]), angles.at(block.grid), chosen)
        return np.stack([lai, np.where(np.isnan(lai), np.nan, flags)]).astype(np.float32)

    tags = LayerTags("LAI", np.nan, bands=("LAI", "flags"), metadata={"LAI_NETWORK": chosen.name})
    compute(Inputs(bands, grid), function, target, tags, dtype="float32", nodata=np.nan, count=2, area=layer.area)
