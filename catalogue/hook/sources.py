"""From the identifier of an order to the scenes it means: in the order's own source, with its login, or in the configured catalogues."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from catalogue.external.base import ExternalCatalogue
from catalogue.external.scene_facts import is_usable_name
from catalogue.hook.companions import find_pair, find_series
from catalogue.hook.finders import ConfiguredFinder, Finder, ODataFinder, StacFinder
from catalogue.hook.orders import ItemError, OrderItem, Resolution, Secrets
from catalogue.hook.secrets import opened_options
from catalogue.hook.source_http import SourceReader, family_of
from catalogue.hook.workflows import SourceKind, Workflow
from common.config import Settings
from common.errors import UserError
from common.features import SceneData, SceneFeature, SceneMetadata
from common.order_access import KEY, BucketLogin, Login, OrderAccess
from common.sealing import Sealer
from common.urls import check_url

_ANYWHERE = "POLYGON ((-180 -90, 180 -90, 180 90, -180 90, -180 -90))"
_HEADER = re.compile(r"Authorization|X-[A-Za-z0-9-]{1,64}", re.IGNORECASE)
_VERSION = re.compile(r"/v\d+(?:\.\d+)?$")


@dataclass(frozen=True)
class OrderSource:
    """`orders.Source`."""

    settings: Settings
    catalogues: Sequence[ExternalCatalogue]
    secrets: Secrets
    sealer: Sealer

    async def resolve(self, item: OrderItem, workflow: Workflow) -> Resolution:
        """See `orders.Source.resolve`."""
        options = opened_options(item, self.secrets)
        if workflow.source is SourceKind.NONE:
            return Resolution([_standing_for(item)])
        if workflow.source is SourceKind.FILES:
            access = self._files_of(options)
            return Resolution([self._with_access(_standing_for(item), access, item)])
        own = self._own_source(options)
        collection = options.get("source_catalogue_collection") or options.get("desp_source_collection") or ""
        async with self._finder(own) as finder:
            scenes = await self._scenes(finder, item, workflow, options, collection)
        found = [self._with_access(scene, own, item) if own is not None else scene for scene in scenes]
        return Resolution(found, _all_files(found, workflow), own)

    async def _scenes(
        self, finder: Finder, item: OrderItem, workflow: Workflow, options: Mapping[str, str], collection: str
    ) -> list[SceneFeature]:
        if workflow.source is SourceKind.SERIES:
            return await find_series(finder, _product(options.get("timeseries_end_id") or item.product), _days(options), collection)
        product = _product(item.product)
        scene = await finder.named(product, collection)
        if scene is None:
            raise ItemError(f"{product} is not found in {self._where(options)}")
        # As it was asked for: what the customer gets carries the name they know.
        scene = scene.model_copy(update={"source_id": product})
        if workflow.source is SourceKind.PAIR:
            return await find_pair(finder, scene, _days(options), collection)
        return [scene]

    @asynccontextmanager
    async def _finder(self, own: OrderAccess | None) -> AsyncIterator[Finder]:
        if own is None:
            yield ConfiguredFinder(self.catalogues)
            return
        async with SourceReader(self.settings.limits.allowed_urls, own.login, own.origins) as reader:
            yield StacFinder(reader, own.url) if own.kind == "stac" else ODataFinder(reader, own.url)

    def _where(self, options: Mapping[str, str]) -> str:
        if options.get("source_catalogue_api_url"):
            return "the catalogue of the order"
        return "the Data Lake" if options.get("source_type") == "DESP" and self.settings.hook.desp_url else "the catalogues of this service"

    def _own_source(self, options: Mapping[str, str]) -> OrderAccess | None:
        """Where the order says its products are; None: where the deployment says. Raises ItemError."""
        url = options.get("source_catalogue_api_url", "")
        hook = self.settings.hook
        if options.get("source_type") == "DESP" and not url:
            if not hook.desp_url:
                return None
            login = Login(
                token_url=hook.desp_token_url,
                client_id=hook.desp_client_id,
                username=options.get("desp_source_username", ""),
                password=options.get("desp_source_password", ""),
            )
            return OrderAccess(kind="stac", url=hook.desp_url, login=login, origins=family_of(hook.desp_url, hook.token_origins))
        if not url:
            return None
        kind = options.get("source_catalogue_api_type", "ODATA").upper()
        url = url if kind == "STAC" else _odata_root(url)
        self._check(url, "source_catalogue_api_url")
        return OrderAccess(
            kind="stac" if kind == "STAC" else "odata",
            url=url,
            login=self._login(options),
            bucket=_bucket(options),
            origins=family_of(url, hook.token_origins),
        )

    def _login(self, options: Mapping[str, str]) -> Login | None:
        token_url = options.get("source_token_url", "")
        if not token_url:
            return None
        self._check(token_url, "source_token_url")
        header = options.get("source_auth_header_name") or "Authorization"
        if not _HEADER.fullmatch(header):
            raise ItemError("source_auth_header_name must be Authorization, or begin with X-")
        grant = options.get("source_grant_type", "PASSWORD").upper()
        return Login(
            token_url=token_url,
            grant="client-credentials" if grant == "CLIENT_CREDENTIALS" else "password",
            header=header,
            username=options.get("source_username", ""),
            password=options.get("source_password", ""),
            client_id=options.get("source_client_id", ""),
            client_secret=options.get("source_client_secret", ""),
        )

    def _files_of(self, options: Mapping[str, str]) -> OrderAccess:
        url = options.get("input_s3_path", "")
        if not url.startswith("s3://"):
            raise ItemError("input_s3_path is missing: s3://bucket/prefix of the files to work on")
        bucket = _bucket(options) or BucketLogin(endpoint_url=options.get("input_s3_endpoint_url", ""))
        if bucket.endpoint_url:
            self._check(bucket.endpoint_url, "input_s3_endpoint_url")
        return OrderAccess(kind="s3", url=url, bucket=bucket)

    def _check(self, url: str, field: str) -> None:
        try:
            check_url(url, self.settings.limits.allowed_urls, field)
        except UserError as error:
            raise ItemError(str(error)) from None

    def _with_access(self, scene: SceneFeature, access: OrderAccess, item: OrderItem) -> SceneFeature:
        """The scene with what its downloader needs, sealed for it alone."""
        sealed = access.sealed(self.sealer, item.aoi, scene.source_id)
        metadata = SceneMetadata.model_validate({**scene.data.metadata.model_dump(), KEY: sealed})
        return scene.model_copy(update={"data": scene.data.model_copy(update={"metadata": metadata})})


def _all_files(scenes: Sequence[SceneFeature], workflow: Workflow) -> dict[str, str]:
    """Configuration of the graphs: of a product that is handed over as it is, and comes in separate files, all of them count."""
    wanted = {layer for scene in scenes if not scene.data.metadata.download_link for layer in scene.data.metadata.assets}
    as_it_is = workflow.graphs.scene == "CopyProductToStorage" and workflow.graphs.tile == "Pass"
    return {"assets": ",".join(sorted(wanted))} if as_it_is and wanted and not any("," in layer for layer in wanted) else {}


def _standing_for(item: OrderItem) -> SceneFeature:
    """A scene for an item that has no product."""
    name = item.product if is_usable_name(item.product) else f"item-{item.id}"
    return SceneFeature(source_id=name, data=SceneData(date=item.order.submitted_at), wkt=_ANYWHERE)


def _product(name: str) -> str:
    """The name of a product, as given, without its suffix; raises ItemError."""
    product = name.strip().removesuffix("/").removesuffix(".SAFE").removesuffix(".zip")
    if not product or product == "noidentifier":
        raise ItemError("the order names no product: give it in IdentifierList")
    if not is_usable_name(product):
        raise ItemError("the identifier is not the name of a product (letters, digits and _ . : -)")
    return product


def _days(options: Mapping[str, str]) -> float:
    try:
        days = float(options.get("timespan", ""))
    except ValueError:
        raise ItemError("timespan is missing: a number of days") from None
    if not 0 < days <= 366:
        raise ItemError("timespan must be between 0 and 366 days")
    return days


def _bucket(options: Mapping[str, str]) -> BucketLogin | None:
    access_key, secret_key = options.get("input_s3_access_key", ""), options.get("input_s3_secret_key", "")
    if not access_key or not secret_key:
        return None
    return BucketLogin(endpoint_url=options.get("input_s3_endpoint_url", ""), access_key=access_key, secret_key=secret_key)


def _odata_root(url: str) -> str:
    """`https://datahub.creodias.eu` as well as `https://datahub.creodias.eu/odata/v1`."""
    root = url.rstrip("/")
    if _VERSION.search(urlsplit(root).path):
        return root
    return f"{root}/v1" if root.endswith("/odata") else f"{root}/odata/v1"
