"""Step `python/reproject.py`: bands of an optical product in another CRS and resolution, on a grid that fits that of other tiles."""

from __future__ import annotations

from argparse import Namespace

from common.errors import FatalError
from processor.cog import LayerTags
from processor.grids import parse_crs
from processor.optical.opening import open_optical
from processor.optical.product import CATEGORICAL
from processor.reprojection import RESAMPLINGS, reprojected_grid, write_reprojected
from processor.steps._errors import exit_code, tell
from processor.steps._face import area_of, names_of, product_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = product_parser("Reproject the bands of a product")
    parser.add_argument("--pattern-out", required=True, help="name of the files to write, with * for the layer")
    parser.add_argument("--layers", required=True, help="separated by commas")
    parser.add_argument("--crs", required=True, help="such as EPSG:3035")
    parser.add_argument("--resolution", type=float, default=0.0, help="units of the CRS; as GDAL finds it best if 0")
    parser.add_argument("--resampling", default="bilinear", help=f"{', '.join(RESAMPLINGS)}; classes and flags are always nearest")
    options = parser.parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    if options.resampling not in RESAMPLINGS:
        raise FatalError(f"resampling '{options.resampling[:40]}' is not one of {', '.join(RESAMPLINGS)}")
    crs, area = parse_crs(options.crs), area_of(options.workdir, options.clip)
    bands = open_optical(options.workdir, options.scene).product.chosen(names_of(options.layers))
    for layer, band in bands.items():
        tell(layer)
        categorical = layer in CATEGORICAL
        write_reprojected(
            band.path,
            options.workdir / options.pattern_out.replace("*", layer),
            reprojected_grid(band.path, crs, options.resolution, area),
            LayerTags(layer, band.nodata, band.scale, band.offset, categorical),
            resampling=RESAMPLINGS["nearest" if categorical else options.resampling],
            area=area,
        )
