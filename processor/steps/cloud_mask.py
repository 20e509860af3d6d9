"""Step `python/cloud_mask.py`: a mask from SCL (Sentinel-2 Level-2A) or QA_PIXEL (Landsat): 0 clear, 1 masked, 255 no data."""

from __future__ import annotations

from processor.optical.indices import write_mask
from processor.optical.opening import open_optical
from processor.steps._errors import exit_code
from processor.steps._face import area_of, product_parser


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = product_parser("Make a mask from the quality layer of a product")
    parser.add_argument("--out", required=True, help="name of the file to write")
    parser.add_argument("--classes", default="default", help="classes of SCL or bits of QA_PIXEL to mask: names or numbers")
    parser.add_argument("--grow", type=int, default=0, help="pixels to grow the mask by")
    options = parser.parse_args(argv)
    return exit_code(
        lambda: write_mask(
            open_optical(options.workdir, options.scene),
            options.classes,
            options.workdir / options.out,
            grow=options.grow,
            area=area_of(options.workdir, options.clip),
        )
    )
