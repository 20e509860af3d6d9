"""Step `python/fatal_error.py`: fails for good, to try what a graph does then."""

from __future__ import annotations

from processor.steps._errors import tell


def main(argv: list[str]) -> int:  # noqa: ARG001 - one signature for all steps
    """Always 1."""
    tell("FATAL ERROR: test")
    return 1
