"""Providers `copernicus` and `creodias`: products of an OData service, whole or by nodes; those that are offline are ordered.

Source: Copernicus Data Space, "OData: product download" and "Nodes"; CREODIAS, "EOData Catalogue API Manual".
"""

from __future__ import annotations

import logging
from pathlib import Path

from common.errors import TemporaryError, ThresherError
from common.odata_services import COPERNICUS, CREODIAS
from common.urls import shown_url
from downloader.providers.api import Api
from downloader.providers.base import NotOfferedError, OfflineError, Place, ProductRequest
from downloader.providers.odata import ODataProduct, find_product, walk_nodes
from downloader.providers.separate import ProductFile, fetch_safe
from downloader.providers.whole import fetch_whole
from downloader.transfer import Expectation

log = logging.getLogger(__name__)


class CopernicusProvider:
    """Copernicus Data Space."""

    catalogue_url = COPERNICUS.catalogue_url
    url = COPERNICUS.products_url

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place
        self._catalogue = place.provider.catalogue_url or self.catalogue_url
        self._root = (place.provider.url or self.url).rstrip("/")

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        async with Api(self._place, self._catalogue) as api:
            product = await find_product(api, self._catalogue, request.scene.source_id)
            if not product.online:
                await self._order(api, product)
        if request.members:
            await self._fetch_nodes(product, request, folder)
            return
        expected = product.expectation(with_checksums=self._place.provider.verify_checksum)
        async with self._place.transfer(request, self._root, self._catalogue) as transfer:
            url = f"{self._root}/Products({product.id})/$value"
            await fetch_whole(transfer, url, request, folder, expected=expected, field=f"providers.{self.name}.url")

    async def _fetch_nodes(self, product: ODataProduct, request: ProductRequest, folder: Path) -> None:
        async with Api(self._place, self._root) as api:
            found = {path: (url, size) async for path, url, size in walk_nodes(api, self._root, product)}
        files = [
            ProductFile(found[path][0], f"{request.scene.source_id}.SAFE/{path}", Expectation(size=found[path][1] or None))
            for path in request.members.of(sorted(found), request.scene.source_id)
        ]
        async with self._place.transfer(request, self._root) as transfer:
            parallel = self._place.provider.parallel
            await fetch_safe(transfer, files, folder, request, parallel=parallel, field=f"providers.{self.name}.url")

    async def _order(self, api: Api, product: ODataProduct) -> None:
        """Raises OfflineError: there is nothing to wait for here."""
        wait = self._place.provider.offline_retry_s
        note = f"it is not ordered (providers.{self.name}.order)"
        if self._place.provider.order:
            url = f"{self._catalogue.rstrip('/')}/Products({product.id})/OData.CSC.Order"
            try:
                answer = await api.post(url, {"Priority": 1})
                status = answer.get("Status") if isinstance(answer, dict) else None
                note = f"it is ordered ({status})" if isinstance(status, str) else "it is ordered"
            except TemporaryError:
                raise
            except NotOfferedError:
                note = f"{shown_url(self._catalogue)} takes no orders: it may come back by itself"
            except ThresherError as error:
                note = f"it cannot be ordered ({error})"
        log.info("%s is offline: %s", product.name, note)
        raise OfflineError(f"{product.name} is offline: {note}; looked after again in {wait:.0f} s", retry_after_s=wait)


class CreodiasProvider(CopernicusProvider):
    """CREODIAS."""

    catalogue_url = CREODIAS.catalogue_url
    url = CREODIAS.products_url
