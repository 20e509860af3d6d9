"""Products fetched as separate assets: the manifest beside them says which file is which layer and how its pixels are scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from common.errors import FatalError
from common.product import MANIFEST_NAME, ProductAsset, ProductManifest, read_manifest
from processor.optical.product import CATEGORICAL, Band, Product, of_scene, product_files

DefaultBand = Callable[[str, Path, str], Band]
"""(layer, file, source id): what a sensor's band is where the manifest is silent."""


def open_assets(workdir: Path, scene: str, default: DefaultBand) -> Product | None:
    """The product whose manifest is in `workdir`, None where there is none. Raises FatalError for a broken or escaping manifest."""
    readable = {path: _read(path) for path in product_files(workdir, MANIFEST_NAME)}
    own = [path for path, manifest in readable.items() if manifest.source_id == scene]
    path = own[0] if len(own) == 1 else of_scene(readable, scene, workdir)
    if path is None:
        return None
    manifest = readable[path]
    bands = {layer: _band(layer, asset, path.parent, manifest.source_id, default) for layer, asset in manifest.assets.items()}
    return Product(manifest.source_id, bands)


def _band(layer: str, asset: ProductAsset, folder: Path, source_id: str, default: DefaultBand) -> Band:
    path = (folder / asset.file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise FatalError(f"{MANIFEST_NAME} names a file outside of the product for {layer}")
    band = default(layer, path, source_id)
    if layer not in CATEGORICAL:
        band = replace(
            band,
            scale=band.scale if asset.scale is None else asset.scale,
            offset=band.offset if asset.offset is None else asset.offset,
        )
    return band if asset.nodata is None else replace(band, nodata=asset.nodata)


def _read(path: Path) -> ProductManifest:
    try:
        manifest = read_manifest(path.parent)
    except (ValidationError, UnicodeDecodeError) as error:
        raise FatalError(f"{MANIFEST_NAME} is not a manifest: {error}") from None
    assert manifest is not None
    return manifest
