"""The manifest of a product fetched as separate assets: written by the downloader beside the files, read by processing steps.

Products that come as one archive (SAFE) carry their own metadata and have no manifest.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MANIFEST_NAME = "product.json"


class ProductAsset(BaseModel):
    """One file of the product. Physical value = pixel * scale + offset, where these are known."""

    model_config = ConfigDict(frozen=True)

    file: str
    """Relative to the manifest."""
    href: str
    key: str = ""
    """Its key in the external catalogue's item."""
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None


class ProductManifest(BaseModel):
    """The files of a product by layer name (`B02`, `SCL`, `QA_PIXEL`)."""

    model_config = ConfigDict(frozen=True)

    source_id: str
    item: str = ""
    assets: dict[str, ProductAsset] = Field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        path = folder / MANIFEST_NAME
        path.write_text(self.model_dump_json(indent=1))
        return path


def read_manifest(folder: Path) -> ProductManifest | None:
    """The manifest in `folder`, or None where there is none."""
    path = folder / MANIFEST_NAME
    return ProductManifest.model_validate_json(path.read_text()) if path.is_file() else None
