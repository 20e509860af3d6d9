"""The face of the project: command line, client of the HTTP API, embedded stack and demonstration region."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("thresher")
except PackageNotFoundError:  # a bare checkout
    __version__ = "0.0.0"
