"""The public OData services of the Copernicus ground segment: where their catalogues are, and where their products are fetched."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class ODataService:
    """Roots with the version, without a slash at the end."""

    catalogue_url: str
    products_url: str


COPERNICUS = ODataService("https://catalogue.dataspace.copernicus.eu/odata/v1", "https://download.dataspace.copernicus.eu/odata/v1")
CREODIAS = ODataService("https://datahub.creodias.eu/odata/v1", "https://zipper.creodias.eu/odata/v1")


def products_url(catalogue_url: str) -> str:
    """The root below which the products of a catalogue are fetched: for an unknown one, its own."""
    host = urlsplit(catalogue_url).hostname
    for known in (COPERNICUS, CREODIAS):
        if host == urlsplit(known.catalogue_url).hostname:
            return known.products_url
    return catalogue_url
