"""Provider `url`: one link for the whole product, from a pattern or from the scene itself."""

from __future__ import annotations

from pathlib import Path

from common.product_names import parse_product_name
from common.storage.base import checked_component
from downloader.providers.base import NotOfferedError, Place, ProductRequest
from downloader.providers.whole import fetch_whole


class UrlProvider:
    """Fetches `url`, whose `{SCENE}`, `{YEAR}`, … are taken from the product's name; without it the scene's `download_link`."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        source_id = checked_component(request.scene.source_id)
        pattern = self._place.provider.url
        url = filled(pattern, source_id, request.scene.aoi) if pattern else request.scene.metadata.download_link
        if not url:
            raise NotOfferedError(f"{source_id} carries no download link")
        async with self._place.transfer(request, pattern) as transfer:
            await fetch_whole(transfer, url, request, folder, field="metadata.download_link")


def filled(pattern: str, source_id: str, aoi: str = "") -> str:
    """The link of a product. Raises NotOfferedError where its name does not have a part of the pattern."""
    if "{" not in pattern.replace("{SCENE}", ""):
        return pattern.replace("{SCENE}", source_id)
    try:
        return parse_product_name(source_id).fill(pattern, AREA=aoi)
    except ValueError as error:
        raise NotOfferedError(f"the link '{pattern}' cannot be made: {error}") from None
