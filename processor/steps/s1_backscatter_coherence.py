"""Step `python/s1_backscatter_coherence.py`: the layers of one date of a Sentinel-1 burst series, from the burst products of its dates."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path

from common.errors import FatalError
from common.radar_settings import RadarSources
from processor.sar.burst_layers import COHERENCE, PHASE, DateJob, LayerFiles, make_layers
from processor.sar.burst_product import read_burst_product
from processor.sar.coherence import Window
from processor.sar.compiled import use_processors
from processor.sar.geocoding import parse_resampling
from processor.sar.series import SeriesOptions
from processor.sar.sources import open_dem, read_sources
from processor.steps._errors import exit_code, tell
from processor.steps._face import StepParser, area_of, is_true, names_of, pixel_format, step_parser

_MOST_PIXELS = 1000
"""Of a window or of looks: more cannot be meant."""


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    options = _parser().parse_args(argv)

    def work() -> None:
        use_processors(options.parallelism)
        sources = read_sources(options.sources)
        job = DateJob(
            current=read_burst_product(options.current),
            previous=read_burst_product(options.previous) if options.previous != options.current else None,
            reference=read_burst_product(options.reference),
            dem=open_dem(sources, _dem_name(options, sources)),
            sources=sources,
            options=_series_options(options),
            layers=_layers(options),
        )
        files = LayerFiles(options.workdir, options.pattern_out, options.dformat_out, area_of(options.workdir, options.clip))
        for layer in make_layers(job, files):
            tell(f"layer {layer}")

    return exit_code(work)


def _parser() -> StepParser:
    parser = step_parser("Backscatter, coherence and interferometric phase of a burst, on a map")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--current", type=Path, required=True, help="burst product of this date")
    parser.add_argument("--previous", type=Path, required=True, help="of the date before; on the first date the current one")
    parser.add_argument("--reference", type=Path, required=True, help="of the first date: all others are brought onto its pixels")
    parser.add_argument("--pattern-out", required=True, help="name of the files to write, with * for the layer")
    parser.add_argument("--layers", default="", help="separated by commas; backscatter and coherence if empty")
    parser.add_argument("--card-producttype", default="", help="CARD_INF: the phase with every coherence")
    parser.add_argument("--clip", default="", help="GeoJSON file (EPSG:4326) to cut to")
    parser.add_argument("--sources", default="", help="file that tells the DEMs and orbits")
    parser.add_argument("--dem", default="", help="name of the DEM in the configuration")
    parser.add_argument("--dem-name", default="", help="as --dem, but another one serves where it is not there")
    parser.add_argument("--dem-file", default="")
    parser.add_argument("--dformat-out", type=pixel_format, default="float32,0,0,1")
    parser.add_argument("--projection", default="EPSG:4326", help="CRS of the map; UTM: the zone of the burst")
    parser.add_argument("--resolution", type=float, default=20.0, help="metres")
    parser.add_argument("--img-resampling", default="BICUBIC_INTERPOLATION")
    parser.add_argument("--coherence-azimuth", type=_pixels, default=4)
    parser.add_argument("--coherence-range", type=_pixels, default=16)
    parser.add_argument("--azimuth-looks", type=_pixels, default=1)
    parser.add_argument("--range-looks", type=_pixels, default=4)
    parser.add_argument("--bs-erosion", type=int, default=10, help="pixels of the map")
    parser.add_argument("--coh-erosion", type=int, default=10)
    parser.add_argument("--noise-removal", default="false", help="true: take thermal noise away from the backscatter")
    parser.add_argument("--parallelism", type=int, default=0, help="processors to use; 0: all")
    return parser


def _series_options(options: Namespace) -> SeriesOptions:
    if not (math.isfinite(options.resolution) and options.resolution > 0):
        raise FatalError(f"resolution: {options.resolution} is not a number of metres above 0")
    if options.bs_erosion < 0 or options.coh_erosion < 0:
        raise FatalError("bs_erode_iterations and coh_erode_iterations count pixels: none may be below 0")
    return SeriesOptions(
        window=Window(options.coherence_azimuth, options.coherence_range, options.azimuth_looks, options.range_looks),
        crs=options.projection,
        resolution_m=options.resolution,
        resampling=parse_resampling(options.img_resampling),
        backscatter_erosion=options.bs_erosion,
        coherence_erosion=options.coh_erosion,
        denoise=is_true(options.noise_removal),
    )


def _layers(options: Namespace) -> tuple[str, ...]:
    layers = names_of(options.layers)
    if options.card_producttype not in ("", "CARD_COH", "CARD_INF"):
        raise FatalError(f"card_producttype: '{options.card_producttype}' is neither CARD_COH nor CARD_INF")
    phases = [layer.replace(COHERENCE, PHASE) for layer in layers if layer.startswith(COHERENCE)]
    return tuple(dict.fromkeys([*layers, *phases])) if options.card_producttype == "CARD_INF" else layers


def _dem_name(options: Namespace, sources: RadarSources) -> str:
    """`dem_name` and `dem_file` are settings of the reference: a payload that has them must not take another DEM unawares."""
    if options.dem_file:
        raise FatalError(
            "dem_file: no payload names files of the worker; put the DEM into its configuration, as [dems.NAME], and set 'dem'"
        )
    if options.dem or not options.dem_name:
        return str(options.dem)
    if options.dem_name in sources.dems:
        return str(options.dem_name)
    tell(f"there is no DEM '{options.dem_name}' in the configuration: the default is used instead")
    return ""


def _pixels(text: str) -> int:
    """A number of pixels, for argparse."""
    number = int(text)
    if not 1 <= number <= _MOST_PIXELS:
        raise ValueError(text)
    return number
