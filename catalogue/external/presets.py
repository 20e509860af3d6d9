"""The public catalogues we know, as data: where they are, which collections hold what, what they can be asked to filter by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from common.odata_services import COPERNICUS, CREODIAS
from common.product_names import Constellation


@dataclass(frozen=True)
class Queryables:
    """Names of the item properties a server can filter by; empty: it is not asked to.

    Asked by a property that its items lack, a server drops all of them.
    """

    cloud_cover: str = "eo:cloud_cover"
    relative_orbit: str = ""
    orbit_direction: str = ""
    sensor_mode: str = ""
    platform: str = ""
    platforms: tuple[str, ...] = ()
    """The values of `platform` that belong to the constellation, where a collection holds others too."""


@dataclass(frozen=True)
class Preset:
    """A public catalogue. Notes on assets and radiometry are not needed here: items say themselves what they are."""

    url: str
    collections: Mapping[str, tuple[str, ...]]
    """`constellation/producttype` -> collection ids, the preferred first where both hold a product."""
    queryables: Mapping[Constellation, Queryables] = field(default_factory=dict)
    """Of a STAC API."""
    type: Literal["stac", "odata"] = "stac"
    dated_by_publication: bool = False
    """Of an OData API: whether its scenes' `ingestionDate` is the date of publication instead of acquisition."""


ODATA_COLLECTIONS: Mapping[str, tuple[str, ...]] = {
    "sentinel1/SLC": ("SENTINEL-1",),
    "sentinel1/GRD": ("SENTINEL-1",),
    "sentinel2/S2MSI1C": ("SENTINEL-2",),
    "sentinel2/S2MSI2A": ("SENTINEL-2",),
}
"""Of Copernicus, and of any other OData catalogue that does not say otherwise."""

_RADAR = Queryables(
    cloud_cover="", relative_orbit="sat:relative_orbit", orbit_direction="sat:orbit_state", sensor_mode="sar:instrument_mode"
)
_OPTICAL_ORBIT = Queryables(relative_orbit="sat:relative_orbit", orbit_direction="sat:orbit_state")
_LANDSAT = Queryables(platform="platform", platforms=("landsat-8", "landsat-9"))

PRESETS: Mapping[str, Preset] = {
    "earth-search": Preset(
        url="https://earth-search.aws.element84.com/v1",
        collections={
            # Collection 1 has checksums and reliable radiometric offsets but is not complete; the older one fills its gaps.
            "sentinel2/S2MSI2A": ("sentinel-2-c1-l2a", "sentinel-2-l2a"),
            "sentinel2/S2MSI1C": ("sentinel-2-l1c",),
            "sentinel1/GRD": ("sentinel-1-grd",),
            "landsat89/L2": ("landsat-c2-l2",),
        },
        # Its Sentinel-2 items carry no `sat:` properties: orbits are read from the product names afterwards.
        queryables={Constellation.SENTINEL1: _RADAR, Constellation.LANDSAT: _LANDSAT},
    ),
    "cdse": Preset(
        url="https://stac.dataspace.copernicus.eu/v1",
        collections={
            "sentinel2/S2MSI2A": ("sentinel-2-l2a",),
            "sentinel2/S2MSI1C": ("sentinel-2-l1c",),
            "sentinel1/GRD": ("sentinel-1-grd",),
            "sentinel1/SLC": ("sentinel-1-slc",),
        },
        queryables={Constellation.SENTINEL1: _RADAR, Constellation.SENTINEL2: _OPTICAL_ORBIT},
    ),
    "planetary-computer": Preset(
        url="https://planetarycomputer.microsoft.com/api/stac/v1",
        collections={
            "sentinel2/S2MSI2A": ("sentinel-2-l2a",),
            "sentinel1/GRD": ("sentinel-1-grd",),
            "landsat89/L2": ("landsat-c2-l2",),
        },
        queryables={Constellation.SENTINEL1: _RADAR, Constellation.SENTINEL2: _OPTICAL_ORBIT, Constellation.LANDSAT: _LANDSAT},
    ),
    "usgs": Preset(
        url="https://landsatlook.usgs.gov/stac-server",
        collections={"landsat89/L2": ("landsat-c2l2-sr",), "landsat89/L1": ("landsat-c2l1",)},
        queryables={Constellation.LANDSAT: Queryables(platform="platform", platforms=("LANDSAT_8", "LANDSAT_9"))},
    ),
    "copernicus": Preset(url=f"{COPERNICUS.catalogue_url}/", collections=ODATA_COLLECTIONS, type="odata"),
    "creodias": Preset(url=f"{CREODIAS.catalogue_url}/", collections=ODATA_COLLECTIONS, type="odata", dated_by_publication=True),
}

DEFAULTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    # Sentinel-1 SLC, which is the default of Sentinel-1, is in no other catalogue that can be searched without an account.
    "copernicus": {entry: ids for entry, ids in ODATA_COLLECTIONS.items() if entry.startswith("sentinel1/")},
    "earth-search": PRESETS["earth-search"].collections,
}
"""The presets used where no catalogue is configured, the first to try first, with their collections. No search needs an account."""
