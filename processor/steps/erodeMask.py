"""Step `python/erodeMask.py`: the outermost pixels of an image set to no-data. Name and options as in the reference."""  # noqa: N999

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

from processor.erosion import write_eroded
from processor.steps._errors import exit_code
from processor.steps._face import step_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = step_parser("Set the outermost pixels of an image to no-data")
    parser.add_argument("--file-in", type=Path, required=True)
    parser.add_argument("--file-out", type=Path, default=None, help="the input file if not given")
    parser.add_argument("--no-data", type=float, default=0.0)
    parser.add_argument("--iterations", type=int, required=True, help="pixels to take away; 0: the file as it is")
    options = parser.parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    target = options.file_out or options.file_in
    if options.iterations != 0:
        write_eroded(options.file_in, target, options.no_data, options.iterations)
    elif target != options.file_in:
        shutil.copyfile(options.file_in, target)
