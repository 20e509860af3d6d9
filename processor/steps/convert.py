"""Step `python/convert.py`: a raster in another data type, one range of values mapped onto another. Options as in the reference."""

from __future__ import annotations

from pathlib import Path

from processor.conversion import write_converted
from processor.steps._errors import exit_code
from processor.steps._face import block_pixels, number_pair, pixel_format, step_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = step_parser("Convert the data type of a raster")
    parser.add_argument("--file-in", type=Path, required=True)
    parser.add_argument("--file-out", type=Path, default=None, help="the input file if not given")
    parser.add_argument("--range-in", type=number_pair, required=True, help="low,high: values that become min and max")
    parser.add_argument("--dformat-out", type=pixel_format, required=True, help="dtype,nodata,min,max")
    parser.add_argument("--tiling", type=block_pixels, default=256, help="pixels of a block of the file, each way")
    options = parser.parse_args(argv)
    target = options.file_out or options.file_in
    return exit_code(lambda: write_converted(options.file_in, target, options.range_in, options.dformat_out, block=options.tiling))
