"""Step `python/create_cog.py`: a raster as a Cloud-Optimised GeoTIFF, in another CRS if asked. Options as in the reference."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling

from processor.cog import LayerTags, write_cog
from processor.grids import parse_crs
from processor.reprojection import reprojected_grid, write_reprojected
from processor.steps._errors import exit_code
from processor.steps._face import block_pixels, step_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = step_parser("Write a Cloud-Optimised GeoTIFF")
    parser.add_argument("--filepath", type=Path, required=True)
    parser.add_argument("--fileout", type=Path, required=True)
    parser.add_argument("--blocksize", type=block_pixels, default=512, help="pixels of a block of the file, each way")
    parser.add_argument("--projection", default="", help="such as EPSG:4326; as it is if empty")
    options = parser.parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    with rasterio.open(options.filepath) as raster:
        dtype, crs = raster.dtypes[0], raster.crs
        bands = tuple(name or "" for name in raster.descriptions)
        own = LayerTags(options.fileout.stem, raster.nodata, bands=bands, metadata=raster.tags())
        scaled = (raster.scales[0], raster.offsets[0]) != (1.0, 0.0)
        tags = LayerTags(own.description, own.nodata, raster.scales[0], raster.offsets[0], bands=bands) if scaled else own
    wanted = parse_crs(options.projection) if options.projection else crs
    if wanted == crs:
        write_cog(options.filepath, options.fileout, tags, block=options.blocksize)
        return
    if tags.nodata is None:
        # What GDAL leaves where the source has nothing; said, so that it is no value.
        nodata = float("nan") if np.issubdtype(np.dtype(dtype), np.floating) else 0.0
        tags = LayerTags(tags.description, nodata, tags.scale, tags.offset, bands=bands)
    # The resampling of GDAL's COG driver, which the reference leaves it to.
    write_reprojected(
        options.filepath,
        options.fileout,
        reprojected_grid(options.filepath, wanted),
        tags,
        resampling=Resampling.cubic,
        block=options.blocksize,
    )
