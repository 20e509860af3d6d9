"""Statistics of the bands of a raster file: GDAL's own, kept in the file as `STATISTICS_*` tags when it is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioError, StatisticsError

from common.errors import FatalError

_TAGS = ("STATISTICS_MINIMUM", "STATISTICS_MAXIMUM", "STATISTICS_MEAN", "STATISTICS_STDDEV", "STATISTICS_VALID_PERCENT")


@dataclass(frozen=True)
class BandStatistics:
    """Of the valid pixels of a band, as digital numbers: scale and offset are not applied."""

    minimum: float | None
    """None, as mean and deviation, where no pixel is valid or the pixels are complex numbers."""
    maximum: float | None
    mean: float | None
    stddev: float | None
    """Of the population."""
    valid_percent: float
    """0 to 100: pixels that are not no-data."""


def raster_statistics(path: Path) -> tuple[BandStatistics, ...]:
    """The statistics of every band of `path`, in order: those its tags tell, else counted over all pixels, block by block.

    Exact for files that this program wrote (each pixel counted once). Nothing is written. Raises FatalError where it is no raster.
    """
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(path) as raster:
            return tuple(_from_tags(raster.tags(band)) or _counted(raster, band) for band in raster.indexes)
    except RasterioError as error:
        raise FatalError(f"{path.name} is not a raster: {error}") from None


def write_statistics(raster: Any) -> None:
    """Count the statistics of all bands of `raster` (open for update) and leave them in its tags."""
    raster.clear_stats()
    for band in raster.indexes:
        statistics = _counted(raster, band)
        if statistics.minimum is None and statistics.valid_percent == 0:
            raster.update_tags(band, STATISTICS_VALID_PERCENT="0")


def _counted(raster: Any, band: int) -> BandStatistics:
    if raster.dtypes[band - 1].startswith("complex"):
        return BandStatistics(None, None, None, None, 100.0)
    try:
        # Leaves tags behind as it counts; `statistics` does too, but is to be removed.
        raster.stats(indexes=[band], approx=False)
    except StatisticsError:
        return BandStatistics(None, None, None, None, 0.0)
    statistics = _from_tags(raster.tags(band))
    assert statistics is not None
    return statistics


def _from_tags(tags: dict[str, str]) -> BandStatistics | None:
    if tags.get("STATISTICS_APPROXIMATE") == "YES":
        return None
    if tags.get("STATISTICS_VALID_PERCENT") == "0" and "STATISTICS_MEAN" not in tags:
        return BandStatistics(None, None, None, None, 0.0)
    try:
        values = [float(tags[tag]) for tag in _TAGS]
    except (KeyError, ValueError):
        return None
    return BandStatistics(*values)
