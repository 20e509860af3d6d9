"""`hello_world.py --input=FOLDER --output=FOLDER`: every text file of the input again, its letters as capitals; other files as they are."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="hello_world.py", description=__doc__)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    files = sorted(path for path in arguments.input.rglob("*") if path.is_file())
    if not files:
        print("FATAL ERROR: there is no file to greet")  # noqa: T201 - what steps tell, they print
        return 1
    for path in files:
        target = arguments.output / path.relative_to(arguments.input)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.write_text(path.read_text(encoding="utf-8").upper(), encoding="utf-8")
        except UnicodeDecodeError:
            shutil.copyfile(path, target)
    return 0
