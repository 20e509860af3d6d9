"""The product of an order, from where its customer says and with their login: other providers, set up for this one scene."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.config import ProviderSettings, Settings
from common.errors import ErrorKind, FatalError, ThresherError
from common.messages import SceneRef
from common.order_access import OrderAccess
from common.sealing import Sealer
from common.storage.foreign import foreign_client
from common.storage.s3 import list_objects
from common.threads import in_thread
from downloader.accounts.order import NAME, OrderAccounts
from downloader.circuit import Circuit
from downloader.providers.base import NotOfferedError, Place, ProductRequest, Provider
from downloader.providers.copernicus import CopernicusProvider
from downloader.providers.copernicus_s3 import CopernicusS3Provider
from downloader.providers.registry import OpenProvider, open_providers
from downloader.providers.separate import ProductFile, fetch_files
from downloader.providers.stac_asset import StacAssetProvider
from downloader.providers.url import UrlProvider
from downloader.shared import Shared
from downloader.transfer import Expectation, Transfer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FILES = 20_000


class OrderShared(Shared):
    """What the download of one product has: the customer's account alone, within the limits that hold for all."""

    def __init__(self, base: Shared, settings: Settings, access: OrderAccess) -> None:
        """Raises UserError for a place that may not be asked."""
        super().__init__(settings.model_copy(update={"accounts": {}}), base.leases)
        self._access = access
        self._allowed = settings.limits.allowed_urls
        self.accounts = OrderAccounts(access, self._allowed)
        self._client: S3Client | None = None

    def s3_client(self, provider: ProviderSettings) -> S3Client:
        if self._client is None:
            keys = self.accounts.account(NAME).keys(provider.endpoint_url)
            self._client = foreign_client(provider.endpoint_url, keys, self._allowed, field="input_s3_endpoint_url")
        return self._client

    def circuit(self, name: str, provider: ProviderSettings) -> Circuit:
        # What one customer's catalogue does says nothing of another's.
        return Circuit(name, provider.failures, provider.pause_s)


def providers_of(settings: Settings, scene: SceneRef, shared: Shared) -> tuple[list[OpenProvider], Shared]:
    """The providers of a scene and what they share: of one that an order brought its own source for that alone, else the configured ones.

    Raises ThresherError.
    """
    access = OrderAccess.of(scene, Sealer(settings.secrets))
    if access is None:
        return open_providers(settings, scene.source_id, shared), shared
    own = OrderShared(shared, settings, access)
    provider = _Customers(_provider(access, scene, settings, own))
    return [OpenProvider(provider, own.circuit(NAME, ProviderSettings(type="order")))], own


def _provider(access: OrderAccess, scene: SceneRef, settings: Settings, shared: OrderShared) -> Provider:
    def place(**more: object) -> Place:
        update = {"account": NAME if access.login or access.bucket else "", **more}
        return _OrderPlace(NAME, ProviderSettings(type="order").model_copy(update=update), settings, shared)

    more = scene.metadata.model_extra or {}
    if access.kind == "s3":
        assert access.bucket is not None
        return BucketProvider(place(endpoint_url=access.bucket.endpoint_url, region=""), access.url)
    if access.kind == "odata":
        if access.bucket is not None and more.get("s3_path"):
            return CopernicusS3Provider(place(endpoint_url=access.bucket.endpoint_url, catalogue_url=access.url))
        return CopernicusProvider(place(url=access.products_url, catalogue_url=access.url))
    endpoint_url = access.bucket.endpoint_url if access.bucket else ""
    here = place(endpoint_url=endpoint_url)
    return UrlProvider(here) if scene.metadata.download_link else StacAssetProvider(here)


class _Customers:
    """A customer's own source is the only one there is, and its logins are theirs: what it refuses is not asked for again."""

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self._provider = provider

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        try:
            await self._provider.fetch(request, folder)
        except ThresherError as error:
            if error.kind is ErrorKind.ERROR:
                raise FatalError(str(error)) from error
            raise


class _OrderPlace(Place):
    """Nobody vouches for what stands in an order: only the limits of the deployment allow a link."""

    def allowed(self, *trusted: str) -> list[str]:  # noqa: ARG002
        # Files of the worker's own are no order's.
        return [prefix for prefix in self.settings.limits.allowed_urls if prefix.startswith(("http://", "https://", "s3://"))]

    def transfer(self, request: ProductRequest, *trusted: str, preset: str = "") -> Transfer:
        # What was fetched for one customer is not there for another who asks for the same name.
        scope = hashlib.sha256(f"{request.scene.aoi}\n{request.scene.source_id}".encode()).hexdigest()
        hidden = replace(request, scene=request.scene.model_copy(update={"source_id": scope}))
        return super().transfer(hidden, *trusted, preset=preset)


class BucketProvider:
    """Everything below `s3://bucket/prefix`, or the one object of that key, under the names it has there."""

    def __init__(self, place: Place, url: str) -> None:
        self.name = place.name
        self._place = place
        self._url = url

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        bucket, _, prefix = self._url.removeprefix("s3://").partition("/")
        client = await in_thread(lambda _: self._place.shared.s3_client(self._place.provider))
        found = await in_thread(lambda _: list_objects(client, bucket, prefix, uri=self._url, limit=_FILES + 1, deep=True))
        if len(found) > _FILES:
            raise FatalError(f"{self._url} holds more than {_FILES} files: name a folder with fewer")
        # `data` names the object `data` and the folder `data/`, not its neighbour `database`.
        start = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        files = {
            info.key.removeprefix(start) if info.key.startswith(start) else prefix.rpartition("/")[2]: info
            for info in found
            if (info.key.startswith(start) or info.key == prefix) and not info.key.endswith("/")
        }
        if not files:
            raise NotOfferedError(f"{self._url} holds no files")
        products = [ProductFile(f"s3://{bucket}/{info.key}", path, Expectation(size=info.size)) for path, info in sorted(files.items())]
        async with self._place.transfer(request) as transfer:
            await fetch_files(transfer, products, folder, request, parallel=self._place.provider.parallel, field="input_s3_path")
