"""The configured external catalogues: settings over presets, in order of priority."""

from __future__ import annotations

from catalogue.external.base import ExternalCatalogue
from catalogue.external.offers import Offer
from catalogue.external.presets import DEFAULT_PRESET, PRESETS, Preset
from catalogue.external.stac_api import StacApiCatalogue
from catalogue.external.static_stac import StaticStacCatalogue
from common.config import CatalogueSettings, Settings
from common.errors import ConfigurationError

_NOTHING = Preset(url="", collections={})


def configured_catalogues(settings: Settings) -> list[ExternalCatalogue]:
    """The catalogues of the settings, the first to try first; Earth Search where none is configured. Raises ConfigurationError."""
    configured = settings.catalogues or {DEFAULT_PRESET: CatalogueSettings(preset=DEFAULT_PRESET)}
    ordered = sorted(configured.items(), key=lambda entry: -entry[1].priority)
    return [_catalogue(name, chosen, settings.limits.scenes_per_payload) for name, chosen in ordered]


def _catalogue(name: str, settings: CatalogueSettings, max_items: int) -> ExternalCatalogue:
    key = f"catalogues.{name}"
    if settings.preset and settings.preset not in PRESETS:
        raise ConfigurationError(f"{key}.preset: '{settings.preset}' is not one of {', '.join(sorted(PRESETS))}")
    preset = PRESETS[settings.preset] if settings.preset else _NOTHING
    url = settings.url or preset.url
    if not url:
        raise ConfigurationError(f"{key}.url: is missing (give it, or a preset: {', '.join(sorted(PRESETS))})")
    offer = Offer.of(settings.collections or preset.collections, key=f"{key}.collections")
    if settings.type == "static-stac":
        return StaticStacCatalogue(name, url, offer, timeout_s=settings.timeout_s, retries=settings.retries, max_items=max_items)
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{key}.url: '{url}' is not an http(s) URL; for a folder say type = \"static-stac\"")
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
