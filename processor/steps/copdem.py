"""Step `python/copdem.py`: heights of the deployment's elevation model (Copernicus DEM, or any) on the grid of a product or its area."""

from __future__ import annotations

from argparse import Namespace

from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from processor.elevation import HeightLayer, area_grid, product_grid, write_heights
from processor.grids import Grid, parse_crs
from processor.optical.opening import open_optical
from processor.steps._errors import exit_code
from processor.steps._face import area_of, product_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = product_parser("Extract heights for the area of a product")
    parser.add_argument("--out", required=True, help="name of the file to write")
    parser.add_argument("--sources", default="", help="file that tells the elevation models of the configuration")
    parser.add_argument("--dem", default="", help="one of these by name")
    parser.add_argument("--crs", default="", help="such as EPSG:4326: the area of --clip in this CRS; empty: the grid of the product")
    parser.add_argument("--resolution", type=float, default=30.0, help="units of the CRS; of a product's grid, 0 is its finest band's")
    parser.add_argument("--align", default="edges", choices=("edges", "centres"), help="of pixels, at multiples of the resolution")
    options = parser.parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    area = area_of(options.workdir, options.clip)
    layer = HeightLayer(options.sources, options.dem, area)
    write_heights(_grid(options, area), layer, options.workdir / options.out)


def _grid(options: Namespace, area: BaseGeometry | None) -> Grid:
    if not options.crs:
        return product_grid(open_optical(options.workdir, options.scene), options.resolution)
    if area is None:
        raise FatalError("heights are extracted for an area: cut to it (graph_config.crop)")
    return area_grid(area, parse_crs(options.crs), options.resolution, centred=options.align == "centres")
