"""Step `python/extract_dimap.py`: the images of a Pléiades or SPOT product. Options as in the reference."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from processor.optical.dimap import extract_dimap
from processor.steps._errors import exit_code, tell
from processor.steps._face import step_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = step_parser("Extract the images of a DIMAP product")
    parser.add_argument("--workdir", type=Path, required=True, help="folder that holds the product")
    parser.add_argument("--file-ms-out", required=True, help="name of the multispectral file to write")
    parser.add_argument("--file-pan-out", required=True, help="name of the panchromatic file to write")
    parser.add_argument("--constellation", required=True, help="PHR or SPOT")
    options = parser.parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    targets = {"P": options.workdir / options.file_pan_out, "MS": options.workdir / options.file_ms_out}
    for processing in extract_dimap(options.workdir, options.constellation, targets):
        tell(processing)
