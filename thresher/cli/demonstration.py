"""`demo`: a simulated region through the whole stack, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thresher.cli.console import output, told_plainly


@told_plainly
def demo(
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Make everything in this folder and keep it.")] = None,
    data_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Data of the stack; default: beside the rest.")] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="PNG", help="Contact sheet; default: ./thresher_demo.png, or in the kept folder."),
    ] = None,
    sentinel1: Annotated[
        bool, typer.Option("--sentinel1", help="Radar bursts: backscatter and coherence of a series of three dates.")
    ] = False,
) -> None:
    """Ingest a simulated region with a stack of its own and draw a contact sheet of it."""
    from thresher.demo.run import DemoOptions, run_demo

    code = run_demo(DemoOptions(keep, data_dir, sheet, sentinel1), output())
    if code:
        raise typer.Exit(code)
