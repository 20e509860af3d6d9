"""What the extracting steps share: their command line, and how they tell their errors to the engine."""

from __future__ import annotations

import errno
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from rasterio.errors import RasterioError

from common.errors import ErrorKind, FatalError, ThresherError
from processor.clipping import read_area
from processor.optical.extraction import Extraction, extract
from processor.optical.product import Product

_FULL = (errno.ENOSPC, errno.EDQUOT)


def extraction_parser(description: str) -> ArgumentParser:
    """`--workdir` and `--pattern-out` are those of the reference; the others are ours and may be left out."""
    parser = ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--workdir", type=Path, required=True, help="folder that holds the product")
    parser.add_argument("--pattern-out", required=True, help="name of the files to write, with * for the layer")
    parser.add_argument("--scene", default="", help="name of the product, where the folder holds several")
    parser.add_argument("--layers", default="", help="separated by commas; all if empty")
    parser.add_argument("--clip", default="", help="GeoJSON file (EPSG:4326) to cut to")
    return parser


def run_extraction(options: Namespace, open_product: Callable[[Path, str], Product | None], harmonised_scale: float | None = None) -> int:
    """Extract what the command line asks for; the exit code. Errors are printed as the engines of graphs read them."""
    try:
        product = open_product(options.workdir, options.scene)
        if product is None:
            raise FatalError(f"there is no product of this kind in the working directory for {options.scene or 'any scene'}")
        wanted = Extraction(
            workdir=options.workdir,
            pattern=options.pattern_out,
            layers=tuple(dict.fromkeys(layer.strip() for layer in options.layers.split(",") if layer.strip())),
            area=read_area(options.workdir / options.clip) if options.clip else None,
            harmonised_scale=harmonised_scale,
        )
        for layer in extract(product, wanted):
            _tell(layer)
    except ThresherError as error:
        return _failed(error.kind, str(error))
    except OSError as error:
        return _failed(ErrorKind.TEMPORARY if error.errno in _FULL else ErrorKind.ERROR, str(error))
    except RasterioError as error:
        return _failed(ErrorKind.ERROR, str(error))
    return 0


def is_true(text: str) -> bool:
    """Whether a setting of a graph means yes; raises nothing: anything else means no."""
    return text.strip().lower() in ("true", "1", "yes", "on")


def _failed(kind: ErrorKind, message: str) -> int:
    prefix = {ErrorKind.FATAL: "FATAL ERROR", ErrorKind.TEMPORARY: "ERROR: temporary failure"}.get(kind, "ERROR")
    _tell(f"{prefix}: {message}")
    return 1


def _tell(line: str) -> None:
    sys.stdout.write(line.replace("\n", " ") + "\n")
    sys.stdout.flush()
