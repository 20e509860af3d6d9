"""Step `python/composite.py`: the median of a place over its last dates, and the history that the next date needs."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

from common.errors import FatalError
from processor.composites import Composite, write_history, write_medians
from processor.optical.opening import open_optical
from processor.steps._errors import exit_code, tell
from processor.steps._face import area_of, encoding, names_of, number_pair, pixel_format, product_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = product_parser("Make a median composite of a place over its last dates")
    parser.add_argument("--pattern-out", required=True, help="name of the files to write, with * for the layer: YYYYMMDD_…")
    parser.add_argument("--layers", required=True, help="bands or spectral indices, separated by commas")
    parser.add_argument("--history-in", default="", help="history of the tile before; none if it is not there")
    parser.add_argument("--history-out", required=True, help="history to write")
    parser.add_argument("--depth", type=int, default=5, help="dates that take part, this one included")
    parser.add_argument("--mask", default="default", help="classes of SCL or bits of QA_PIXEL to leave out; 'default' for the usual ones")
    parser.add_argument("--grow", type=int, default=0, help="pixels to grow what is left out by")
    parser.add_argument("--dformat-out", type=pixel_format, default="int16,-32768,-10000,20000", help="dtype,nodata,min,max")
    parser.add_argument("--range", type=number_pair, default="-1,2", help="low,high: the real values of min and max")
    options = parser.parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    date = re.match(r"\d{8}(?=_)", options.pattern_out)
    if date is None:
        raise FatalError(f"'{options.pattern_out[:80]}' does not begin with a date")
    workdir: Path = options.workdir
    wanted = Composite(
        layers=names_of(options.layers),
        date=date[0],
        depth=options.depth,
        encoding=encoding(options.dformat_out, options.range),
        mask=options.mask,
        grow=options.grow,
        area=area_of(workdir, options.clip),
    )
    history, earlier = workdir / options.history_out, workdir / options.history_in
    has_earlier = bool(options.history_in) and options.history_in != options.history_out and earlier.is_file()
    write_history(open_optical(workdir, options.scene), wanted, earlier if has_earlier else None, history)
    for layer in write_medians(history, wanted, lambda layer: workdir / options.pattern_out.replace("*", layer)):
        tell(layer)
