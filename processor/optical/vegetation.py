"""Leaf area index, fAPAR or FCOVER of a Sentinel-2 Level-2A product: a layer of its values, and of flags that say what to think of them."""

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
from processor.optical.biophysical import BANDS, Variable, estimate, network, satellite_of
from processor.optical.opening import OpticalProduct, grid_for

RESOLUTIONS = (10.0, 20.0)


@dataclass(frozen=True)
class VegetationLayer:
    """What is wanted."""

    variable: Variable = Variable.LAI
    resolution: float = 20.0
    """Metres. At 20 the bands of 10 m are averaged; at 10 those of 20 m are repeated."""
    network: str = ""
    """Empty: that of the satellite."""
    area: BaseGeometry | None = None


def write_vegetation(source: OpticalProduct, layer: VegetationLayer, workdir: Path, target: Path) -> None:
    """Write the variable (NaN without data) and its `Flag` as the two bands (float32) of the COG `target`.

    Raises FatalError naming the bands that are missing, for reflectance at the top of the atmosphere, without angles.
    """
    product = source.product
    if source.quality != "SCL":
        raise FatalError(f"{layer.variable} is computed from Sentinel-2 products; {product.name} is none")
    bands = product.chosen(BANDS)
    if "MSIL1C" in product.name.upper():
        raise FatalError(f"{layer.variable} needs reflectance at the surface: a Level-2A product, not {product.name}")
    chosen = network(layer.variable, satellite_of(product.name), layer.network)
    grid = grid_for(bands, layer.resolution)
    angles = read_angles(find_tile_metadata(workdir, product))
    if grid.crs != CRS.from_epsg(angles.epsg):
        raise FatalError(f"the angles of {product.name} are in EPSG:{angles.epsg}, but its bands are in {grid.crs}")

    def function(block: Block) -> NDArray[np.float32]:
        values, flags = estimate(np.stack([block.bands[band] for band in BANDS]), angles.at(block.grid), chosen)
        return np.stack([values, np.where(np.isnan(values), np.nan, flags)]).astype(np.float32)

    tags = LayerTags(layer.variable, np.nan, bands=(layer.variable, "flags"), metadata={f"{layer.variable}_NETWORK": chosen.name})
    compute(Inputs(bands, grid), function, target, tags, dtype="float32", nodata=np.nan, count=2, area=layer.area)
