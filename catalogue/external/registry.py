"""The configured external catalogues: settings over presets, in order of priority."""

from __future__ import annotations

from catalogue.external.base import ExternalCatalogue
from catalogue.external.odata_api import ODataCatalogue
from catalogue.external.offers import Offer
from catalogue.external.presets import DEFAULTS, ODATA_COLLECTIONS, PRESETS, Preset
from catalogue.external.stac_api import StacApiCatalogue
from catalogue.external.static_stac import StaticStacCatalogue
from common.config import CatalogueSettings, Settings
from common.errors import ConfigurationError

_NOTHING = Preset(url="", collections={})
_ODATA_PAGE = 1000
"""Its pages are slow to begin and fast to read."""


def configured_catalogues(settings: Settings) -> list[ExternalCatalogue]:
    """The catalogues of the settings, the first to try first; where none is configured Copernicus for Sentinel-1, else Earth Search.

    Raises ConfigurationError.
    """
    configured = settings.catalogues or {
        name: CatalogueSettings(preset=name, collections={entry: list(ids) for entry, ids in collections.items()})
        for name, collections in DEFAULTS.items()
    }
    ordered = sorted(configured.items(), key=lambda entry: -entry[1].priority)
    return [_catalogue(name, chosen, settings.limits.scenes_per_payload) for name, chosen in ordered]


def _catalogue(name: str, settings: CatalogueSettings, max_items: int) -> ExternalCatalogue:
    key = f"catalogues.{name}"
    if settings.preset and settings.preset not in PRESETS:
        raise ConfigurationError(f"{key}.preset: '{settings.preset}' is not one of {', '.join(sorted(PRESETS))}")
    preset = PRESETS[settings.preset] if settings.preset else _NOTHING
    kind = settings.type if "type" in settings.model_fields_set or not settings.preset else preset.type
    if "odata" in (kind, preset.type) and settings.preset and kind != preset.type:
        raise ConfigurationError(f'{key}.type: preset \'{settings.preset}\' is of type "{preset.type}", not "{kind}"')
    url = settings.url or preset.url
    if not url:
        raise ConfigurationError(f"{key}.url: is missing (give it, or a preset: {', '.join(sorted(PRESETS))})")
    collections = settings.collections or preset.collections or (ODATA_COLLECTIONS if kind == "odata" else {})
    offer = Offer.of(collections, key=f"{key}.collections")
    if kind == "static-stac":
        return StaticStacCatalogue(name, url, offer, timeout_s=settings.timeout_s, retries=settings.retries, max_items=max_items)
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{key}.url: '{url}' is not an http(s) URL; for a folder say type = \"static-stac\"")
    if kind == "odata":
        return ODataCatalogue(
            name,
            url,
            offer,
            dated_by_publication=preset.dated_by_publication,
            timeout_s=settings.timeout_s,
            retries=settings.retries,
            page_size=settings.page_size if "page_size" in settings.model_fields_set else _ODATA_PAGE,
            max_vertices=settings.max_vertices,
            max_url_length=settings.max_url_length,
            parallel=settings.parallel,
            slice_days=settings.slice_days,
            max_items=max_items,
        )
    return StacApiCatalogue(
        name,
        url,
        offer,
        queryables=preset.queryables,
        timeout_s=settings.timeout_s,
        retries=settings.retries,
        page_size=settings.page_size,
        max_vertices=settings.max_vertices,
        max_items=max_items,
    )
