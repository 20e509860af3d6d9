"""The DEM and the orbit a step works with, of those the configuration names: `[dems.NAME]`, `[orbits]`."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from common.errors import ConfigurationError, FatalError
from common.radar_settings import DemSettings, RadarSources
from processor.sar.annotation import Annotation
from processor.sar.dem import Dem
from processor.sar.dem_files import DemFiles
from processor.sar.geoid import open_geoid
from processor.sar.orbit import Orbit
from processor.sar.orbit_files import find_orbit_file, read_orbit_file
from processor.sar.orbit_service import fetch_orbit_file


def read_sources(path: str) -> RadarSources:
    """What the worker wrote for the step, nothing where the path is empty; raises ConfigurationError."""
    try:
        return RadarSources.model_validate_json(Path(path).read_bytes()) if path else RadarSources()
    except (OSError, ValidationError) as error:
        raise ConfigurationError(f"{path} does not tell the DEMs and orbits: {error}") from None


def open_dem(sources: RadarSources, name: str = "") -> Dem:
    """The DEM called `name`; without a name `default`, or the only one there is.

    Raises ConfigurationError where none is configured, its heights are above nothing that is known, or it contradicts its own CRS;
    FatalError for a name that is not there.
    """
    known = sources.dems
    if not known:
        raise ConfigurationError("there is no DEM: name one in the configuration, as [dems.default] with 'path' and 'geoid'")
    chosen = name or ("default" if "default" in known else next(iter(known)) if len(known) == 1 else "")
    if chosen not in known:
        raise FatalError(f"dem: '{chosen}' is none of the DEMs of the configuration: {', '.join(sorted(known))}")
    return _opened(chosen, known[chosen])


def orbit_of(annotation: Annotation, sources: RadarSources, start: datetime, stop: datetime, given: Path | None = None) -> Orbit:
    """The best orbit for an image from `start` to `stop`: of the file `given`, of folder or service, else that of the annotation.

    Its `source` says which it is. Raises TemporaryError where the service does not answer, FatalError where a precise one is required and
    there is none.
    """
    path = given
    settings = sources.orbits
    if path is None and settings.listing_url:
        folder = Path(settings.folder) if settings.folder else Path(tempfile.mkdtemp(prefix="orbits-", dir=Path.cwd()))
        fetching = fetch_orbit_file(folder, annotation.mission, start, stop, listing=settings.listing_url, file=settings.file_url)
        path = asyncio.run(fetching)
    elif path is None and settings.folder:
        path = find_orbit_file(Path(settings.folder), annotation.mission, start, stop)
    if path is not None:
        return read_orbit_file(path, annotation.mission, start, stop)
    if settings.required:
        raise FatalError(f"there is no orbit file for {annotation.mission} at {start:%Y-%m-%dT%H:%M:%S} (orbits.required)")
    return annotation.orbit


def image_orbit(annotation: Annotation, sources: RadarSources, given: Path | None = None) -> Orbit:
    """As `orbit_of`, for the whole image of an annotation."""
    grid = annotation.grid
    return orbit_of(annotation, sources, grid.first_line_time, grid.last_line_time + timedelta(seconds=1), given)


def _opened(name: str, settings: DemSettings) -> Dem:
    files = DemFiles(settings.path, settings.nodata, settings.anonymous)
    told = files.vertical() if not settings.geoid or not files.is_tiled else ""
    geoid = settings.geoid or told
    if not geoid:
        raise ConfigurationError(
            f"dems.{name}.geoid is not set, and {files.name} does not say what its heights are above: name 'egm2008' (Copernicus DEM), "
            "'egm96' (SRTM), 'ellipsoid' or a geoid grid"
        )
    if told and settings.geoid and settings.geoid.lower() in ("egm96", "egm2008", "ellipsoid") and settings.geoid.lower() != told:
        raise ConfigurationError(f"dems.{name}.geoid is '{settings.geoid}', but {files.name} says that its heights are above '{told}'")
    return Dem(files, open_geoid(geoid), settings.missing == "sea")
