"""How steps tell their errors to the engine that runs them: by what they print, and by their exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rasterio.errors import RasterioError

from common.errors import ErrorKind, ThresherError, kind_of

_PREFIXES = {ErrorKind.FATAL: "FATAL ERROR", ErrorKind.TEMPORARY: "ERROR: temporary failure"}


def exit_code(work: Callable[[], None]) -> int:
    """Do the work; 0, or 1 after an error has been told. A full disk is a passing trouble, as is a busy server."""
    try:
        work()
    except (ThresherError, OSError, RasterioError) as error:
        tell(f"{_PREFIXES.get(kind_of(error), 'ERROR')}: {error}")
        return 1
    return 0


def tell(line: str) -> None:
    """Print one line, at once."""
    sys.stdout.write(line.replace("\n", " ") + "\n")
    sys.stdout.flush()
