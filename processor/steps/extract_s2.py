"""Step `python/extract_s2.py`: the bands of a Sentinel-2 product (SAFE, or assets with a manifest) as one file a layer."""

from __future__ import annotations

from pathlib import Path

from processor.optical.assets import open_assets
from processor.optical.product import Product
from processor.optical.sentinel2 import SCALE, default_band, open_safe
from processor.steps._extraction import extraction_parser, is_true, run_extraction


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = extraction_parser("Extract the bands of a Sentinel-2 product")
    parser.add_argument("--harmonize", default="false", help="true: shift pixels so that reflectance = pixel * 0.0001")
    options = parser.parse_args(argv)
    return run_extraction(options, _open, harmonised_scale=SCALE if is_true(options.harmonize) else None)


def _open(workdir: Path, scene: str) -> Product | None:
    return open_assets(workdir, scene, default_band) or open_safe(workdir, scene)
