"""What the extracting steps share: their command line, and the extraction of what it asks for."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from common.errors import FatalError
from processor.optical.extraction import Extraction, extract
from processor.optical.product import Product
from processor.steps._errors import exit_code, tell
from processor.steps._face import StepParser, area_of, is_true, names_of, product_parser

__all__ = ["extraction_parser", "is_true", "run_extraction"]


def extraction_parser(description: str) -> StepParser:
    """`--workdir` and `--pattern-out` are those of the reference; the others are ours and may be left out."""
    parser = product_parser(description)
    parser.add_argument("--pattern-out", required=True, help="name of the files to write, with * for the layer")
    parser.add_argument("--layers", default="", help="separated by commas; all if empty")
    return parser


def run_extraction(options: Namespace, open_product: Callable[[Path, str], Product | None], harmonised_scale: float | None = None) -> int:
    """Extract what the command line asks for; the exit code."""

    def work() -> None:
        product = open_product(options.workdir, options.scene)
        if product is None:
            raise FatalError(f"there is no product of this kind in the working directory for {options.scene or 'any scene'}")
        wanted = Extraction(
            workdir=options.workdir,
            pattern=options.pattern_out,
            layers=names_of(options.layers),
            area=area_of(options.workdir, options.clip),
            harmonised_scale=harmonised_scale,
        )
        for layer in extract(product, wanted):
            tell(layer)

    return exit_code(work)
