"""Step `python/maja.py`: a Sentinel-2 Level-1C product through CNES's MAJA, then the flat reflectances (FRE) of what it makes.

Sources: MAJA Software User Manual, section 3 (`maja -i DIR -w DIR -o DIR -ucs DIR -m MODE`); THEIA's MUSCATE format of Sentinel-2
Level-2A products (`…_FRE_B4.tif`: reflectance = pixel / 10000, no-data -10000).
"""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

from common.errors import FatalError
from processor.external import find_program, run_program
from processor.optical.extraction import Extraction, extract
from processor.optical.product import Band, Product, of_scene, product_files
from processor.steps._errors import exit_code, tell
from processor.steps._extraction import extraction_parser
from processor.steps._face import area_of, names_of

_IMAGE = re.compile(r".*_FRE_B(?P<band>\d{1,2}A?)\.(?:tif|TIF)")
_MODES = ("L2INIT", "L2NOMINAL", "L2BACKWARD")


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = extraction_parser("Correct a Level-1C product for the atmosphere with MAJA")
    parser.add_argument("--mode", default="L2INIT", help=", ".join(_MODES))
    options = parser.parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    program = find_program("maja", "MAJA_HOME")
    if options.mode not in _MODES:
        raise FatalError(f"mode '{options.mode[:40]}' is not one of {', '.join(_MODES)}")
    workdir: Path = options.workdir.resolve()
    metadata = of_scene(product_files(workdir, "MTD_MSIL1C.xml"), options.scene, workdir)
    if metadata is None:
        raise FatalError(f"there is no Level-1C SAFE product in the working directory for {options.scene or 'any scene'}")
    given, made, scratch = workdir / "maja-input", workdir / "maja", workdir / "maja-work"
    for folder in (given, made, scratch):
        folder.mkdir()
    (given / metadata.parent.name).symlink_to(metadata.parent)
    settings = program.parent.parent / "userconf"
    run_program(program, ["-i", str(given), "-w", str(scratch), "-o", str(made), "-ucs", str(settings), "-m", options.mode], workdir)
    wanted = Extraction(workdir, options.pattern_out, names_of(options.layers), area_of(options.workdir, options.clip))
    for layer in extract(muscate_product(made, options.scene), wanted):
        tell(layer)


def muscate_product(folder: Path, scene: str) -> Product:
    """The bands of a product in MUSCATE format; raises FatalError where there are none."""
    bands = {}
    for path in sorted(folder.rglob("*_FRE_B*")):
        if match := _IMAGE.fullmatch(path.name):
            name = match["band"]
            bands[f"B{name}" if name.endswith("A") else f"B{int(name):02d}"] = Band(path, 1e-4, 0.0, -10000.0)
    if not bands:
        raise FatalError("MAJA made no flat reflectances (FRE)")
    return Product(scene, bands)
