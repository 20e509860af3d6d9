"""Step `python/landsat_reflectance.py`: Landsat bands as reflectance and temperature, one file a layer."""

from __future__ import annotations

from argparse import Namespace

from processor.optical.opening import open_optical
from processor.optical.radiometry import PhysicalLayers, write_physical
from processor.steps._errors import exit_code, tell
from processor.steps._face import area_of, encoding, names_of, number_pair, pixel_format, product_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = product_parser("Turn Landsat bands into reflectance and temperature")
    parser.add_argument("--pattern-out", required=True, help="name of the files to write, with * for the layer")
    parser.add_argument("--layers", default="", help="separated by commas; all if empty")
    parser.add_argument("--dformat-reflectance", type=pixel_format, default="int16,-32768,-2000,16000", help="dtype,nodata,min,max")
    parser.add_argument("--range-reflectance", type=number_pair, default="-0.2,1.6", help="low,high: the values of min and max")
    parser.add_argument("--dformat-temperature", type=pixel_format, default="uint16,0,15000,40000", help="dtype,nodata,min,max")
    parser.add_argument("--range-temperature", type=number_pair, default="150,400", help="low,high in kelvin")
    options = parser.parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    wanted = PhysicalLayers(
        layers=names_of(options.layers),
        reflectance=encoding(options.dformat_reflectance, options.range_reflectance),
        temperature=encoding(options.dformat_temperature, options.range_temperature),
        workdir=options.workdir,
        pattern=options.pattern_out,
        area=area_of(options.workdir, options.clip),
    )
    for layer in write_physical(open_optical(options.workdir, options.scene), wanted):
        tell(layer)
