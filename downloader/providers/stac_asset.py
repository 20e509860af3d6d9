"""Provider `stac-asset`: the chosen assets of the scene's STAC item, each from its own link."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from common.errors import FatalError, UserError
from common.features import AssetLink
from common.product import MANIFEST_NAME, ProductAsset, ProductManifest
from common.storage.base import checked_component
from common.threads import in_thread
from downloader.providers.base import NotOfferedError, Place, ProductRequest
from downloader.providers.separate import ProductFile, fetch_files
from downloader.transfer import Expectation

_TYPES = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff", "application/xml", "text/xml", "application/x-hdf", "application/netcdf")
_SUFFIXES = {"image/tiff": ".tif", "image/vnd.stac.geotiff": ".tif", "image/jp2": ".jp2", "application/xml": ".xml", "text/xml": ".xml"}
_MAX_SUFFIX = 8


class StacAssetProvider:
    """Assets named by the layers of the payload; `assets` of the graph's configuration names further ones (comma separated)."""

    preset = ""
    """Of the account that is used without being configured."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        assets = chosen_assets(request)
        names = {layer: _file_name(layer, link) for layer, link in assets.items()}
        files = [ProductFile(link.href, names[layer], Expectation(link.size, link.checksum)) for layer, link in assets.items()]
        async with self._place.transfer(request, preset=self.preset) as transfer:
            await fetch_files(transfer, files, folder, request, parallel=self._place.provider.parallel, field="metadata.assets")
        manifest = ProductManifest(
            source_id=request.scene.source_id,
            item=request.scene.metadata.item,
            assets={
                layer: ProductAsset(
                    file=names[layer], href=link.href, key=link.key, scale=link.scale, offset=link.offset, nodata=link.nodata
                )
                for layer, link in assets.items()
            },
        )
        await in_thread(lambda _: manifest.write(folder))


def chosen_assets(request: ProductRequest) -> dict[str, AssetLink]:
    """The assets to fetch, by layer.

    Those the patterns of `members` name by layer or key; where these name none (they are for another format of the product), without
    layers and without `assets`: every raster and XML. With `assets` the graph may compute the layers from those, so a layer the item
    does not have is only missed without it. Raises NotOfferedError for a scene without assets, FatalError naming what the item has
    where one is missing.
    """
    available = request.scene.metadata.assets
    if not available:
        raise NotOfferedError(f"{request.scene.source_id} carries no assets: it does not come from a STAC catalogue")
    members = request.members
    named = {layer: link for layer, link in available.items() if members and (members.asked(layer) or members.asked(link.key))}
    if named:
        return named
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


def _file_name(layer: str, link: AssetLink) -> str:
    """`{layer}` with the suffix of the link, or that of its media type."""
    suffix = PurePosixPath(unquote(urlsplit(link.href).path)).suffix
    if not suffix[1:].isalnum() or len(suffix) > _MAX_SUFFIX:
        suffix = _SUFFIXES.get(link.media_type.split(";")[0].strip().lower(), "")
    name = checked_component(layer + suffix)
    if name == MANIFEST_NAME:
        raise UserError(f"an asset cannot be named '{layer}': its file would be the manifest", field="metadata.assets")
    return name
