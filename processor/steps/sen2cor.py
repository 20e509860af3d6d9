"""Step `python/sen2cor.py`: a Sentinel-2 Level-1C product through ESA's Sen2Cor, then the bands of the Level-2A product it makes.

Source: Sen2Cor Configuration and User Manual (S2-PDGS-MPC-L2A-SUM), section 2.3: `L2A_Process --output_dir DIR --work_dir DIR INPUT`.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from common.errors import FatalError
from processor.external import find_program, run_program
from processor.optical.extraction import Extraction, extract
from processor.optical.product import of_scene, product_files
from processor.optical.sentinel2 import open_safe
from processor.steps._errors import exit_code, tell
from processor.steps._extraction import extraction_parser
from processor.steps._face import area_of, names_of


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    options = extraction_parser("Correct a Level-1C product for the atmosphere with Sen2Cor").parse_args(argv)
    return exit_code(lambda: _work(options))


def _work(options: Namespace) -> None:
    program = find_program("L2A_Process", "SEN2COR_HOME")
    workdir: Path = options.workdir.resolve()
    metadata = of_scene(product_files(workdir, "MTD_MSIL1C.xml"), options.scene, workdir)
    if metadata is None:
        raise FatalError(f"there is no Level-1C SAFE product in the working directory for {options.scene or 'any scene'}")
    made, scratch = workdir / "sen2cor", workdir / "sen2cor-work"
    for folder in (made, scratch):
        folder.mkdir()
    run_program(program, ["--output_dir", str(made), "--work_dir", str(scratch), str(metadata.parent)], workdir)
    product = open_safe(made, "")
    if product is None:
        raise FatalError("Sen2Cor made no Level-2A product")
    wanted = Extraction(workdir, options.pattern_out, names_of(options.layers), area_of(options.workdir, options.clip))
    for layer in extract(product, wanted):
        tell(layer)
