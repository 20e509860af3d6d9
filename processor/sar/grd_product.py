"""A GRD product in the SAFE format on disk: which image, annotation, calibration and noise belong to each polarisation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import FatalError, ThresherError

_ANNOTATION = re.compile(r"s1[a-z]-(?P<mode>[a-z0-9]{2})-grd-(?P<polarisation>[hv]{2})-.*\.xml", re.IGNORECASE)


@dataclass(frozen=True)
class GrdChannel:
    """The files of one polarisation."""

    polarisation: str
    image: Path
    annotation: Path
    calibration: Path
    noise: Path | None


def open_grd(safe: Path, polarisations: Sequence[str] = ()) -> Mapping[str, GrdChannel]:
    """The channels of the product by polarisation, of some or all. Raises FatalError where it has none or not the wanted ones,
    ThresherError where a file that should be there is missing."""
    if not (safe / "annotation").is_dir():
        raise FatalError(f"{safe.name} is no GRD product: it has no folder 'annotation'")
    found = {}
    for path in sorted((safe / "annotation").iterdir()):
        if match := _ANNOTATION.fullmatch(path.name):
            found[match["polarisation"].upper()] = path
    if not found:
        raise FatalError(f"{safe.name} is no GRD product: it has no annotation of one")
    missing = [name for name in polarisations if name.upper() not in found]
    if missing:
        raise FatalError(f"{safe.name} has no polarisation {', '.join(missing)}: it has {', '.join(sorted(found))}")
    # Co-polarised first.
    chosen = sorted({name.upper() for name in polarisations} or found, key=lambda name: (name[0] != name[1], name))
    return {name: _channel(safe, name, found[name]) for name in chosen}


def _channel(safe: Path, polarisation: str, annotation: Path) -> GrdChannel:
    folder = annotation.parent / "calibration"
    image = next((path for path in _images(safe, annotation.stem) if path.is_file()), None)
    calibration, noise = folder / f"calibration-{annotation.name}", folder / f"noise-{annotation.name}"
    if image is None:
        raise ThresherError(f"{safe.name} is not whole: measurement/{annotation.stem}.tiff is missing")
    if not calibration.is_file():
        raise ThresherError(f"{safe.name} is not whole: {calibration.relative_to(safe)} is missing")
    return GrdChannel(polarisation, image, annotation, calibration, noise if noise.is_file() else None)


def _images(safe: Path, stem: str) -> list[Path]:
    """Products that are Cloud-Optimised GeoTIFFs call them so."""
    return [safe / "measurement" / f"{stem}{ending}" for ending in (".tiff", "-cog.tiff", ".tif")]
