"""Provider `asf`: Sentinel-1 products of the Alaska Satellite Facility, in one zip each; needs an account of Earthdata Login.

Source: ASF, "Downloading data": `datapool.asf.alaska.edu/{type}/S{A|B|C}/{product}.zip`; leads to a signed link after the login.
"""

from __future__ import annotations

from pathlib import Path

from common.product_names import Constellation, parse_product_name
from downloader.providers.base import NotOfferedError, Place, ProductRequest
from downloader.providers.whole import fetch_whole

_URL = "https://datapool.asf.alaska.edu/{KIND}/S{MISSION_VERSION}/{SCENE}.zip"
_RESOLUTIONS = {"F": "FD", "H": "HD", "M": "MD"}


class AsfProvider:
    """SLC and GRD."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        pattern = self._place.provider.url or _URL
        url = _url(pattern, request.scene.source_id)
        async with self._place.transfer(request, pattern) as transfer:
            await fetch_whole(transfer, url, request, folder, field=f"providers.{self.name}.url")


def _url(pattern: str, source_id: str) -> str:
    try:
        name = parse_product_name(source_id)
        if name.constellation is not Constellation.SENTINEL1 or name.parts["PRODUCT_TYPE"] not in ("SLC", "GRD"):
            raise NotOfferedError(f"{source_id} is neither an SLC nor a GRD of Sentinel-1")
        kind = name.parts["PRODUCT_TYPE"]
        if kind == "GRD":
            kind = f"GRD_{_RESOLUTIONS.get(name.parts['RESOLUTION'], 'HD')}"
        return name.fill(pattern, KIND=kind)
    except ValueError as error:
        raise NotOfferedError(str(error)) from None
