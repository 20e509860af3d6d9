"""Step `python/vegetation.py`: leaf area index, fAPAR or FCOVER of a Sentinel-2 Level-2A product, with its flags as a second band."""

from __future__ import annotations

from argparse import Namespace

from processor.optical.biophysical import Variable
from processor.optical.opening import open_optical
from processor.optical.vegetation import RESOLUTIONS, VegetationLayer, write_vegetation
from processor.steps._errors import exit_code
from processor.steps._face import area_of, product_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = product_parser("Compute leaf area index, fAPAR or FCOVER")
    parser.add_argument("--variable", type=Variable, choices=list(Variable), default=Variable.LAI, help="what to compute")
    parser.add_argument("--out", required=True, help="name of the file to write")
    parser.add_argument("--resolution", type=float, default=20.0, help=f"metres: one of {', '.join(f'{value:g}' for value in RESOLUTIONS)}")
    parser.add_argument("--network", default="", help="2_1, 3_0_S2A or 3_0_S2B; that of the satellite if empty")
    options = parser.parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    layer = VegetationLayer(options.variable, options.resolution, options.network, area_of(options.workdir, options.clip))
    write_vegetation(open_optical(options.workdir, options.scene), layer, options.workdir, options.workdir / options.out)
