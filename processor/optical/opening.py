"""Opens the optical product in a working directory, whichever it is: Sentinel-2 or Landsat, one folder or separate assets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import rasterio

from common.errors import FatalError
from processor.grids import Grid, grid_of
from processor.optical import expressions, landsat, sentinel2
from processor.optical.assets import open_assets
from processor.optical.product import Band, Product


@dataclass(frozen=True)
class OpticalProduct:
    """A product and what is common to its sensor."""

    product: Product
    letters: Mapping[str, str]
    """Layers by the names that spectral indices give to bands."""
    quality: str
    """The layer that tells clouds."""


def open_optical(workdir: Path, scene: str) -> OpticalProduct:
    """The product of `scene` in `workdir`; raises FatalError where there is none, or its metadata are broken."""
    is_landsat = scene.upper().startswith("L")
    if is_landsat:
        product = open_assets(workdir, scene, landsat.default_band) or landsat.open_landsat(workdir, scene)
    else:
        product = open_assets(workdir, scene, sentinel2.default_band) or sentinel2.open_safe(workdir, scene)
    if product is None:
        kind = "Landsat" if is_landsat else "Sentinel-2"
        raise FatalError(f"there is no {kind} product in the working directory for {scene or 'any scene'}")
    if is_landsat:
        return OpticalProduct(product, expressions.LANDSAT, "QA_PIXEL")
    return OpticalProduct(product, expressions.SENTINEL2, "SCL")


def grid_for(bands: Mapping[str, Band], resolution: float = 0.0) -> Grid:
    """The grid to compute on: that of the finest band, or that of the first band with pixels of `resolution`, else the finest scaled to it.

    Raises FatalError where the finest grid does not divide into pixels of `resolution`.
    """
    grids = []
    for band in bands.values():
        with rasterio.open(band.path) as raster:
            grids.append(grid_of(raster))
    best = min(grids, key=lambda grid: grid.pixel_size)
    if resolution <= 0 or abs(best.pixel_size - resolution) < 1e-6 * resolution:
        return best
    same = [grid for grid in grids if abs(grid.pixel_size - resolution) < 1e-6 * resolution]
    return same[0] if same else best.scaled(resolution)
