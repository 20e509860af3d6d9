"""Provider `planetary-computer`: the assets of a scene's STAC item, each link signed for a while by the service."""

from __future__ import annotations

from downloader.providers.stac_asset import StacAssetProvider


class PlanetaryComputerProvider(StacAssetProvider):
    """Needs no account; one with a `subscription_key` is served with more patience."""

    preset = "planetary-computer"
