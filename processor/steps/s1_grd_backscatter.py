"""Step `python/s1_grd_backscatter.py`: terrain-corrected layers of a Sentinel-1 GRD product."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path

from common.errors import FatalError
from processor.sar.burst_layers import LayerFiles
from processor.sar.compiled import use_processors
from processor.sar.geocoding import parse_resampling
from processor.sar.grd import GrdJob, GrdOptions, make_grd_layers
from processor.sar.grd_product import open_grd
from processor.sar.sources import open_dem, read_sources
from processor.steps._errors import exit_code, tell
from processor.steps._face import StepParser, area_of, is_true, names_of, pixel_format, step_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    options = _parser().parse_args(argv)

    def work() -> None:
        use_processors(options.parallelism)
        sources = read_sources(options.sources)
        layers = names_of(options.layers)
        job = GrdJob(
            product=options.product.name.removesuffix(".SAFE"),
            channels=open_grd(options.product, names_of(options.polarisations)),
            dem=open_dem(sources, options.dem),
            sources=sources,
            options=_grd_options(options),
            layers=layers,
        )
        files = LayerFiles(options.workdir, options.pattern_out, options.dformat_out, area_of(options.workdir, options.clip))
        for done in make_grd_layers(job, files):
            tell(done)

    return exit_code(work)


def _parser() -> StepParser:
    parser = step_parser("Backscatter of a GRD product on a map, with angles and a mask of layover and shadow")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--product", type=Path, required=True, help="SAFE folder")
    parser.add_argument("--pattern-out", required=True, help="name of the files to write, with * for the layer")
    parser.add_argument("--layers", default="", help="separated by commas; gamma0 of all polarisations if empty")
    parser.add_argument("--polarisations", default="", help="separated by commas; all if empty")
    parser.add_argument("--clip", default="", help="GeoJSON file (EPSG:4326) to cut to")
    parser.add_argument("--sources", default="", help="file that tells the DEMs and orbits")
    parser.add_argument("--dem", default="", help="name of the DEM in the configuration")
    parser.add_argument("--dformat-out", type=pixel_format, default="float32,0,0,1")
    parser.add_argument("--projection", default="UTM", help="CRS of the map; UTM: the zone of the scene")
    parser.add_argument("--resolution", type=float, default=20.0, help="metres")
    parser.add_argument("--flatten", default="false", help="true: radiometric terrain flattening")
    parser.add_argument("--noise-removal", default="true", help="false: leave thermal noise")
    parser.add_argument("--img-resampling", default="BILINEAR_INTERPOLATION")
    parser.add_argument("--parallelism", type=int, default=0, help="processors to use; 0: all")
    return parser


def _grd_options(options: Namespace) -> GrdOptions:
    if not (math.isfinite(options.resolution) and options.resolution > 0):
        raise FatalError(f"resolution: {options.resolution} is not a number of metres above 0")
    return GrdOptions(
        crs=options.projection,
        resolution_m=options.resolution,
        flatten=is_true(options.flatten),
        denoise=is_true(options.noise_removal),
        resampling=parse_resampling(options.img_resampling),
    )
