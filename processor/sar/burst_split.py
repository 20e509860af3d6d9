"""One burst out of an SLC product in the SAFE format: which images and which lines of them, cut into a burst product."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import FatalError, ThresherError
from processor.sar.annotation import Annotation, read_annotation
from processor.sar.burst_product import BurstIdentity, ChannelFiles, write_burst_product

_ANNOTATION = re.compile(r"s1[a-z]-(?P<swath>[a-z]{2}\d)-slc-(?P<polarisation>[hv]{2})-.*\.xml", re.IGNORECASE)
_TILE = re.compile(r"[AD]\d{1,3}_(?P<swath>(?:IW|EW)\d)_(?P<anx>-?\d{1,5})")
_SOFTWARE = re.compile(rb'<safe:software\s+name="Sentinel-1 IPF"\s+version="([0-9.]{1,16})"')
_ORBIT_DS = 59_240
"""The modulus of the times in tile ids, tenths of a second."""
_TOLERANCE_DS = 5


@dataclass(frozen=True)
class WantedBurst:
    """A burst as a tile names it."""

    tile: str
    """Id, such as `A108_IW1_8361`; it decides, by its time after the node."""
    swath: str
    number: int
    """In the burst list, from 1; it decides where the id says no time."""
    polarisations: tuple[str, ...] = ()
    """None: all there are."""


def split_burst(safe: Path, wanted: WantedBurst, target: Path, orbit_file: Path | None = None) -> None:
    """Write the burst as the new folder `target`.

    Raises FatalError where the product does not hold it, ThresherError where a file that should be there is missing or broken.
    """
    images = _images(safe, wanted)
    first = next(iter(images.values()))
    annotation = read_annotation(first.annotation)
    number = _number(annotation, wanted, first.annotation.name)
    identity = BurstIdentity.model_validate(
        {
            "product": safe.name.removesuffix(".SAFE"),
            "ipf": _processor(safe) or annotation.processor_version,
            "tile": wanted.tile,
            "swath": annotation.swath,
            "number": number,
            "lines": annotation.lines_per_burst,
            "samples": annotation.samples_per_burst,
            "azimuth_time": annotation.bursts[number - 1].azimuth_time,
            "polarisations": tuple(images),
        }
    )
    write_burst_product(target, identity, images, orbit_file)


def _images(safe: Path, wanted: WantedBurst) -> Mapping[str, ChannelFiles]:
    """The files of the wanted sub-swath by polarisation, VV or HH first."""
    if not (safe / "annotation").is_dir():
        raise FatalError(f"{safe.name} is no SLC product: it has no folder 'annotation'")
    found: dict[str, ChannelFiles] = {}
    swaths: set[str] = set()
    for path in sorted((safe / "annotation").iterdir()):
        match = _ANNOTATION.fullmatch(path.name)
        if match is None:
            continue
        swaths.add(match["swath"].upper())
        if match["swath"].upper() == wanted.swath.upper():
            found[match["polarisation"].upper()] = _files(safe, path)
    if not found:
        raise FatalError(f"{safe.name} has no annotation of {wanted.swath}: it has {', '.join(sorted(swaths)) or 'none'}")
    missing = [polarisation for polarisation in wanted.polarisations if polarisation not in found]
    if missing:
        raise FatalError(f"{safe.name} has no polarisation {', '.join(missing)}: it has {', '.join(sorted(found))}")
    chosen = sorted(wanted.polarisations or found, key=lambda polarisation: (polarisation[0] != polarisation[1], polarisation))
    return {polarisation: found[polarisation] for polarisation in chosen}


def _files(safe: Path, annotation: Path) -> ChannelFiles:
    calibration = annotation.parent / "calibration"
    names = {kind: calibration / f"{kind}-{annotation.name}" for kind in ("calibration", "noise")}
    samples = safe / "measurement" / f"{annotation.stem}.tiff"
    for path in (samples, names["calibration"]):
        if not path.is_file():
            raise ThresherError(f"{safe.name} is not whole: {path.relative_to(safe)} is missing")
    return ChannelFiles(samples, annotation, names["calibration"], names["noise"] if names["noise"].is_file() else None)


def _number(annotation: Annotation, wanted: WantedBurst, name: str) -> int:
    """The place of the burst in the list of the annotation, from 1."""
    match = _TILE.fullmatch(wanted.tile)
    if match is None:
        if not 1 <= wanted.number <= len(annotation.bursts):
            raise FatalError(f"{name} has {len(annotation.bursts)} bursts, not a burst {wanted.number}")
        return wanted.number
    times = [burst.anx_time_s * 10 for burst in annotation.bursts]
    near = [number for number, time in enumerate(times, 1) if _apart(time, int(match["anx"])) < _TOLERANCE_DS]
    if not near:
        raise FatalError(f"{name} has no burst at the time of {wanted.tile}: {_told(times)}")
    return min(near, key=lambda number: _apart(times[number - 1], int(match["anx"])))


def _apart(one_ds: float, other_ds: float) -> float:
    apart = abs(one_ds - other_ds) % _ORBIT_DS
    return min(apart, _ORBIT_DS - apart)


def _told(times: Sequence[float]) -> str:
    return f"its {len(times)} bursts are at {', '.join(f'{time:.0f}' for time in times)}"


def _processor(safe: Path) -> str:
    """The version of the IPF, as the manifest tells it."""
    manifest = safe / "manifest.safe"
    match = _SOFTWARE.search(manifest.read_bytes()) if manifest.is_file() else None
    return match[1].decode() if match else ""
