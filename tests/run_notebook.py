"""Runs the code cells of a notebook in order, in one namespace, and prints variables of it as JSON: `run_notebook.py FILE NAME...`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib
import numpy as np


def main(file: str, *names: str) -> None:
    matplotlib.use("Agg")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for cell in json.loads(Path(file).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{file}:{cell['id']}", "exec"), namespace)
    print(json.dumps({name: np.asarray(namespace[name]).tolist() for name in names}))


if __name__ == "__main__":
    main(*sys.argv[1:])
