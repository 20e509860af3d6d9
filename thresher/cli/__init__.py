"""The command line `thresher`, a module for each group of commands."""

from thresher.cli.application import main

__all__ = ["main"]
