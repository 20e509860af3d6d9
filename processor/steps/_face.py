"""What the command lines of the optical steps share: options, and what their values stand for."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import NoReturn

from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from common.graph.formats import parse_raster_format
from common.messages import RasterFormat
from processor.blocks import Encoding
from processor.clipping import read_area
from processor.steps._errors import tell


class StepParser(ArgumentParser):
    """Tells wrong options as a fatal error: no retry will mend them."""

    def error(self, message: str) -> NoReturn:
        tell(f"FATAL ERROR: {message}")
        raise SystemExit(1)


def step_parser(description: str) -> StepParser:
    """A parser that takes options by their whole names only, as graphs write them."""
    return StepParser(description=description, allow_abbrev=False)


def product_parser(description: str) -> StepParser:
    """Options of steps that work on a product in the working directory."""
    parser = step_parser(description)
    parser.add_argument("--workdir", type=Path, required=True, help="folder that holds the product")
    parser.add_argument("--scene", default="", help="name of the product, where the folder holds several")
    parser.add_argument("--clip", default="", help="GeoJSON file (EPSG:4326) to cut to")
    return parser


def area_of(workdir: Path, clip: str) -> BaseGeometry | None:
    """The area of `--clip`, None without."""
    return read_area(workdir / clip) if clip else None


def names_of(text: str) -> tuple[str, ...]:
    """Names separated by commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def is_true(text: str) -> bool:
    """Whether a setting of a graph means yes; raises nothing: anything else means no."""
    return text.strip().lower() in ("true", "1", "yes", "on")


def number_pair(text: str) -> tuple[float, float]:
    """`low,high`, for argparse."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"'{text[:40]}' is not 'low,high'") from None
    if not low < high:
        raise ArgumentTypeError(f"'{text[:40]}' does not go up")
    return low, high


def pixel_format(text: str) -> RasterFormat:
    """`dtype,nodata,min,max`, for argparse."""
    try:
        return parse_raster_format(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def block_pixels(text: str) -> int:
    """The size of the blocks of a file, for argparse: TIFF wants multiples of 16."""
    if not text.isdigit() or not 16 <= int(text) <= 4096 or int(text) % 16:
        raise ArgumentTypeError(f"'{text[:40]}' is no size of a block: a multiple of 16 from 16 to 4096")
    return int(text)


def encoding(format_out: RasterFormat, valid: tuple[float, float]) -> Encoding:
    """Of a layer; raises FatalError for complex pixels."""
    if format_out.dtype.startswith("complex"):
        raise FatalError("dformat_out: real values cannot be written as complex numbers")
    return Encoding(format_out, valid)
