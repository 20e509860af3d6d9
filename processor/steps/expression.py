"""Step `python/expression.py`: a formula over the bands of a Sentinel-2 or Landsat product, or a spectral index by name, as one layer."""

from __future__ import annotations

from argparse import Namespace

from processor.optical.indices import IndexLayer, write_index
from processor.optical.opening import open_optical
from processor.steps._errors import exit_code
from processor.steps._face import area_of, encoding, number_pair, pixel_format, product_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = product_parser("Compute a formula over the bands of a product")
    parser.add_argument("--out", required=True, help="name of the file to write")
    parser.add_argument("--expression", required=True, help="such as NDVI, or (B08 - B04) / (B08 + B04); bands are reflectances")
    parser.add_argument("--dformat-out", type=pixel_format, default="int16,-32768,-10000,10000", help="dtype,nodata,min,max")
    parser.add_argument("--range", type=number_pair, default="-1,1", help="low,high: the real values of min and max")
    parser.add_argument("--mask", default="", help="classes of SCL or bits of QA_PIXEL to leave out; 'default' for the usual ones")
    parser.add_argument("--grow", type=int, default=0, help="pixels to grow what is left out by")
    parser.add_argument("--resolution", type=float, default=0.0, help="metres; that of the finest band if 0")
    options = parser.parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    layer = IndexLayer(
        formula=options.expression,
        encoding=encoding(options.dformat_out, options.range),
        mask=options.mask,
        grow=options.grow,
        resolution=options.resolution,
        area=area_of(options.workdir, options.clip),
    )
    write_index(open_optical(options.workdir, options.scene), layer, options.workdir / options.out)
