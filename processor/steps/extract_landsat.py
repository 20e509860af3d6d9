"""Step `python/extract_landsat.py`: the bands of a Landsat product (its folder, or assets with a manifest) as one file a layer."""

from __future__ import annotations

from pathlib import Path

from processor.optical.assets import open_assets
from processor.optical.landsat import default_band, open_landsat
from processor.optical.product import Product
from processor.steps._extraction import extraction_parser, run_extraction


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    return run_extraction(extraction_parser("Extract the bands of a Landsat product").parse_args(argv), _open)


def _open(workdir: Path, scene: str) -> Product | None:
    return open_assets(workdir, scene, default_band) or open_landsat(workdir, scene)
