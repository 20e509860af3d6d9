"""Configuration of what radar processing needs besides the product: `[dems.NAME]` and `[orbits]`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from common.section import Section

NAME = "sources.json"
"""The file, in the working directory of a tile, that tells the steps."""


class DemSettings(Section):
    """A digital elevation model. A payload chooses one by its name (`graph_config.dem`); else it is `default`, or the only one."""

    path: str
    """A raster or VRT, or a pattern of tiles of one degree with `{LAT}` (`N41`) and `{LON}` (`E012`); a file, `https://…` or `s3://…`."""
    geoid: str = ""
    """What the heights are above: `egm2008`, `egm96`, `ellipsoid`, or a raster of undulations. Empty: what the raster's CRS says."""
    missing: Literal["error", "sea"] = "error"
    """Where there is no height: an error, or 0 above the geoid (Copernicus DEM has no tiles at sea)."""
    nodata: float | None = None
    """A value that is no height, besides that of the file."""
    anonymous: bool = False
    """Read `s3://` without keys."""


class OrbitSettings(Section):
    """Precise orbit files (POEORB, RESORB). Without, the state vectors of the annotations serve."""

    folder: str = ""
    """Searched with the folders below it; what is fetched is kept here."""
    listing_url: str = ""
    """Pattern of the lists of a public service, with `{KIND}`, `{MISSION}`, `{YEAR}`, `{MONTH}`, `{DAY}`. Empty: only the folder."""
    file_url: str = ""
    """Pattern of a file, also with `{NAME}`; empty: beside its list."""
    required: bool = False
    """Refuse to process with the annotation's own state vectors."""


class RadarSources(Section):
    """What a step is told of them."""

    dems: dict[str, DemSettings] = Field(default_factory=dict)
    orbits: OrbitSettings = OrbitSettings()


def write_sources(dems: Mapping[str, DemSettings], orbits: OrbitSettings, workdir: Path) -> str:
    """Both sections of the settings as a file in `workdir`, and its path; empty, and no file, where nothing is configured."""
    sources = RadarSources(dems=dict(dems), orbits=orbits)
    if sources == RadarSources():
        return ""
    path = workdir / NAME
    path.write_text(sources.model_dump_json())
    return str(path)
