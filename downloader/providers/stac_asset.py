"""Provider `stac-asset`: the chosen assets of the scene's STAC item, each from its own link."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from common.config import ProviderSettings, Settings
from common.errors import FatalError, UserError
from common.features import AssetLink
from common.product import MANIFEST_NAME, ProductAsset, ProductManifest
from common.storage.base import checked_component
from common.threads import in_thread
from downloader.providers.base import STEP, NotOfferedError, ProductRequest, transfer_for
from downloader.tasks import gather_all
from downloader.transfer import Expectation, Transfer

_TYPES = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff", "application/xml", "text/xml", "application/x-hdf", "application/netcdf")
_SUFFIXES = {"image/tiff": ".tif", "image/vnd.stac.geotiff": ".tif", "image/jp2": ".jp2", "application/xml": ".xml", "text/xml": ".xml"}
_MAX_SUFFIX = 8


class StacAssetProvider:
    """Assets named by the layers of the payload; `assets` of the graph's configuration names further ones (comma separated)."""

    def __init__(self, name: str, provider: ProviderSettings, settings: Settings) -> None:
        self.name = name
        self._provider = provider
        self._settings = settings

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        assets = chosen_assets(request)
        files = {layer: _file_name(layer, link) for layer, link in assets.items()}
        progress = _Progress(request, assets)
        limit = asyncio.Semaphore(self._provider.parallel)
        async with transfer_for(self.name, self._provider, self._settings) as transfer:

            async def fetch_one(layer: str) -> None:
                async with limit:
                    await _fetch_asset(transfer, layer, assets[layer], folder / files[layer], progress)

            await gather_all(fetch_one(layer) for layer in assets)
        manifest = ProductManifest(
            source_id=request.scene.source_id,
            item=request.scene.metadata.item,
            assets={
                layer: ProductAsset(
                    file=files[layer], href=link.href, key=link.key, scale=link.scale, offset=link.offset, nodata=link.nodata
                )
                for layer, link in assets.items()
            },
        )
        await in_thread(lambda _: manifest.write(folder))


def chosen_assets(request: ProductRequest) -> dict[str, AssetLink]:
    """The assets to fetch, by layer.

    Without layers and without `assets`: every raster and XML. With `assets` the graph may compute the layers from those, so a
    layer the item does not have is only missed without it. Raises NotOfferedError for a scene without assets, FatalError naming
    what the item has where one is missing.
    """
    available = request.scene.metadata.assets
    if not available:
        raise NotOfferedError(f"{request.scene.source_id} carries no assets: it does not come from a STAC catalogue")
    further = [name.strip() for name in request.config.get("assets", "").split(",") if name.strip()]
    wanted = [*further, *(layer for layer in request.layers if not further or layer in available)]
    missing = [layer for layer in dict.fromkeys(wanted) if layer not in available]
    if missing:
        raise FatalError(
            f"the item of {request.scene.source_id} has no asset {', '.join(missing)}; it has {', '.join(sorted(available))}: "
            "correct 'layers' or 'graph_config.assets' of the payload"
        )
    if wanted:
        return {layer: available[layer] for layer in dict.fromkeys(wanted)}
    chosen = {layer: link for layer, link in available.items() if link.media_type.lower().startswith(_TYPES)}
    if not chosen:
        raise FatalError(f"the item of {request.scene.source_id} has no raster asset; it has {', '.join(sorted(available))}")
    return chosen


async def _fetch_asset(transfer: Transfer, layer: str, link: AssetLink, target: Path, progress: _Progress) -> None:
    await transfer.fetch(
        link.href,
        target,
        expected=Expectation(link.size, link.checksum),
        progress=lambda done, total: progress.update(layer, done, total),
        field=f"metadata.assets.{layer}.href",
    )


class _Progress:
    """The progress of several files as one: by bytes where the sizes are known, else by files."""

    def __init__(self, request: ProductRequest, assets: dict[str, AssetLink]) -> None:
        self._report = request.progress
        self._parts = dict.fromkeys(assets, 0.0)
        known = [link.size for link in assets.values() if link.size]
        mean = sum(known) / len(known) if known else 1.0
        self._weights = {layer: float(link.size or mean) for layer, link in assets.items()}

    def update(self, layer: str, done: int, total: int | None) -> None:
        self._parts[layer] = min(1.0, done / total) if total else 0.5
        whole = sum(self._weights.values())
        self._report(STEP, sum(self._parts[layer] * weight for layer, weight in self._weights.items()) / whole)


def _file_name(layer: str, link: AssetLink) -> str:
    """`{layer}` with the suffix of the link, or that of its media type."""
    suffix = PurePosixPath(unquote(urlsplit(link.href).path)).suffix
    if not suffix[1:].isalnum() or len(suffix) > _MAX_SUFFIX:
        suffix = _SUFFIXES.get(link.media_type.split(";")[0].strip().lower(), "")
    name = checked_component(layer + suffix)
    if name == MANIFEST_NAME:
        raise UserError(f"an asset cannot be named '{layer}': its file would be the manifest", field="metadata.assets")
    return name
