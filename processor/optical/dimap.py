"""Pléiades and SPOT products in DIMAP V2: the panchromatic and the multispectral image of a volume, each as one layer.

Source: Pléiades Imagery User Guide (Airbus), appendix A: the volume (VOL_PHR.XML, SPOT_VOL.XML) names the components, these their tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import rasterio

from common.errors import FatalError
from processor.cog import LayerTags, write_cog
from processor.optical.metadata import read_xml
from processor.optical.product import product_files

VOLUMES = {"PHR": "VOL_PHR.XML", "SPOT": "SPOT_VOL.XML"}

NODATA = 0.0
"""The special value NODATA of both constellations."""


def extract_dimap(workdir: Path, constellation: str, targets: Mapping[str, Path]) -> Iterator[str]:
    """Write the images of the volume in `workdir` whose spectral processing (`P`, `MS`) has a target as COGs, yielding it before.

    Raises FatalError where there is no volume, it names files outside of itself, or it has none of these images.
    """
    volume = _volume(workdir, constellation)
    _check_references(volume)
    found = False
    with rasterio.open(volume) as root:
        images = list(root.subdatasets)
    for image in images:
        with rasterio.open(image) as raster:
            processing = raster.tags().get("SPECTRAL_PROCESSING", "")
        if processing in targets:
            found = True
            yield processing
            write_cog(image, targets[processing], LayerTags(processing, NODATA))
    if not found:
        raise FatalError(f"{volume.name} has no image of spectral processing {' or '.join(targets)}")


def _volume(workdir: Path, constellation: str) -> Path:
    if constellation not in VOLUMES:
        raise FatalError(f"constellation '{constellation[:40]}' is not one of {', '.join(VOLUMES)}")
    name = VOLUMES[constellation]
    # The volume stands above its components, which may have files of the same name.
    volumes = product_files(workdir, name) or product_files(workdir, name.lower())
    if not volumes:
        raise FatalError(f"there is no {name} in the working directory")
    if len(volumes) > 1 and len(volumes[0].parts) == len(volumes[1].parts):
        raise FatalError(f"there are several {name} in the working directory")
    return volumes[0]


def _check_references(volume: Path) -> None:
    """A product names its files itself: those it names must be its own."""
    folder = volume.parent.resolve()
    pending, seen = [volume], set[Path]()
    while pending:
        document = pending.pop()
        seen.add(document)
        for element in read_xml(document).iter():
            href = element.get("href", "")
            if not href or element.tag not in ("COMPONENT_PATH", "DATA_FILE_PATH", "COMPONENT_TN_PATH"):
                continue
            path = (document.parent / unquote(href)).resolve()
            if urlsplit(href).scheme or href.startswith("/vsi") or not path.is_relative_to(folder):
                raise FatalError(f"{document.name} names {href[:80]!r}, which is not a file of the product")
            if path.suffix.lower() == ".xml" and path.is_file() and path not in seen:
                pending.append(path)
