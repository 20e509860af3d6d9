"""GDAL for rasters in radar geometry, which lie on no map."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import rasterio
from rasterio.errors import NotGeoreferencedWarning


@contextlib.contextmanager
def quiet_gdal() -> Iterator[None]:
    """Rasters without georeference are meant here: no warning about it; no side files, no listing of folders."""
    with (
        warnings.catch_warnings(),
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
