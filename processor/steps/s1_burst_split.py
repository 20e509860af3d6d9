"""Step `python/s1_burst_split.py`: one burst of a Sentinel-1 SLC product as a small product of its own."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from processor.sar.burst_split import WantedBurst, split_burst
from processor.steps._errors import exit_code, tell


def main(argv: list[str]) -> int:
    """Run the step; the exit code."""
    parser = ArgumentParser(description="Cut a burst out of an SLC product", allow_abbrev=False)
    parser.add_argument("--product", type=Path, required=True, help="SAFE folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to make: {date}_{tile}_{layer}.{extension}")
    parser.add_argument("--swath", required=True, help="sub-swath, such as IW1")
    parser.add_argument("--number", type=int, required=True, help="of the burst in its sub-swath, from 1")
    parser.add_argument("--polarisations", default="", help="separated by commas; all if empty")
    options = parser.parse_args(argv)
    polarisations = tuple(dict.fromkeys(part.strip().upper() for part in options.polarisations.split(",") if part.strip()))
    wanted = WantedBurst(_tile_of(options.out.name), options.swath, options.number, polarisations)

    def work() -> None:
        split_burst(options.product, wanted, options.out)
        tell(f"burst {wanted.tile} of {options.product.name}")

    return exit_code(work)


def _tile_of(name: str) -> str:
    """The tile's id in the name of a layer's file."""
    return name.partition("_")[2].rpartition("_")[0]
