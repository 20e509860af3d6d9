"""The face of the project: command line, client of the HTTP API, embedded stack and demonstration region."""

from importlib.metadata import version

__version__ = version("thresher")
