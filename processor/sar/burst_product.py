"""A burst as a product of its own: what the scene graph cuts out of an SLC, and all the tile graph needs to know.

A folder of `burst.json` (which burst of which product it is) and for each polarisation

- `samples_vv.tiff`: the samples of the burst, lines x samples of complex 16 bit integers, uncompressed;
- `annotation_vv.xml`, `calibration_vv.xml`, `noise_vv.xml`: the annotations of its sub-swath as the product has them, whole. Orbit, timing,
  Doppler, steering, valid samples and calibration are read from these, so nothing is lost on the way and there is one reader for both.

A folder is complete once `burst.json` is there: it is written last.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rasterio.windows import Window

from common.errors import FatalError, ThresherError
from common.times import UtcDatetime
from processor.sar.gdal import quiet_gdal

Samples = NDArray[np.complex64]

MANIFEST = "burst.json"
_BLOCK_LINES = 128


class BurstIdentity(BaseModel):
    """Which burst it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    product: str
    """Name of the SLC product, without `.SAFE`."""
    ipf: str = ""
    """Version of the processor that made it, as in `003.91`; empty where the product does not say."""
    tile: str = ""
    """Id of the tile: `A108_IW1_8361`."""
    swath: str
    """`IW1`, `IW2`, `IW3`; `EW1` to `EW5`."""
    number: int = Field(ge=1)
    """In the burst list of the annotation, from 1."""
    lines: int = Field(ge=1)
    samples: int = Field(ge=1)
    azimuth_time: UtcDatetime
    """Zero-Doppler time of the first line."""
    polarisations: tuple[Literal["VV", "VH", "HH", "HV"], ...] = Field(min_length=1)
    orbit_file: str = Field(default="", pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*)?$")
    """Name of the precise orbit file that was kept with it, if one was."""


@dataclass(frozen=True)
class ChannelFiles:
    """The files of one polarisation. In a product to be cut up, `samples` holds all bursts of the sub-swath below one another."""

    samples: Path
    annotation: Path
    calibration: Path | None = None
    noise: Path | None = None


@dataclass(frozen=True)
class BurstProduct:
    """A burst on disk."""

    folder: Path
    identity: BurstIdentity
    channels: Mapping[str, ChannelFiles]
    """By polarisation (`VV`, `VH`, …)."""
    orbit_file: Path | None = None
    """A POEORB or RESORB file, or a part of one, to be preferred to the state vectors of the annotation."""

    @property
    def index(self) -> int:
        """In the burst list of the annotation, from 0."""
        return self.identity.number - 1

    @property
    def first_line(self) -> int:
        """The line of the sub-swath's image with which the burst begins."""
        return self.index * self.identity.lines

    def read(self, polarisation: str, lines: slice | None = None) -> Samples:
        """The samples as complex64, shape (lines, samples), numbers of the file (uncalibrated); of some `lines` only, if given.

        Raises FatalError where the product has no such polarisation, ThresherError for a file that cannot be read.
        """
        channel = self.channels.get(polarisation.upper())
        if channel is None:
            raise FatalError(f"burst {self.identity.tile} has no polarisation {polarisation}: {', '.join(self.channels)}")
        start, stop, _ = (lines or slice(None)).indices(self.identity.lines)
        return read_samples(channel.samples, start, stop - start)


def read_samples(path: Path, first_line: int, lines: int) -> Samples:
    """Some whole lines of a raster of complex samples, shape (lines, samples); raises ThresherError where it is shorter or broken."""
    try:
        with quiet_gdal(), rasterio.open(path) as raster:
            if first_line < 0 or first_line + lines > raster.height:
                raise ThresherError(f"{path.name} has {raster.height} lines, not the lines {first_line} to {first_line + lines}")
            samples: Samples = raster.read(1, window=Window(0, first_line, raster.width, lines)).astype(np.complex64, copy=False)
    except rasterio.errors.RasterioError as error:
        raise ThresherError(f"{path.name} cannot be read: {error}") from error
    return samples


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples as complex 16 bit integers, rounded and kept in range, uncompressed; no temporary file is left behind."""
    lines, columns = samples.shape
    profile = {"driver": "GTiff", "width": columns, "height": lines, "count": 1, "dtype": "complex_int16", "blockysize": _BLOCK_LINES}
    with quiet_gdal(), rasterio.open(path, "w", **profile) as raster:
        for first in range(0, lines, _BLOCK_LINES):
            block = samples[first : first + _BLOCK_LINES]
            raster.write(in_16_bits(block), 1, window=Window(0, first, columns, len(block)))


def in_16_bits(samples: Samples) -> Samples:
    """The nearest samples that complex 16 bit integers can hold."""
    parts = samples.view(np.float32)
    return np.clip(np.rint(parts), -32768, 32767).astype(np.float32).view(np.complex64)


def write_burst_product(folder: Path, identity: BurstIdentity, sources: Mapping[str, ChannelFiles], orbit_file: Path | None = None) -> None:
    """Make the new folder `folder` of a burst from the files of its sub-swath.

    `sources`: by polarisation, those of the SLC product, `samples` with all bursts of the sub-swath. Raises FatalError where they do not
    hold the burst, ThresherError where they cannot be read.
    """
    folder.mkdir(parents=True)
    for polarisation in identity.polarisations:
        source, target = sources[polarisation], _files(folder, polarisation)
        _cut(source.samples, target.samples, identity)
        shutil.copyfile(source.annotation, target.annotation)
        for original, copy in ((source.calibration, target.calibration), (source.noise, target.noise)):
            if original is not None and copy is not None:
                shutil.copyfile(original, copy)
    if orbit_file is not None:
        shutil.copyfile(orbit_file, folder / orbit_file.name)
        identity = identity.model_copy(update={"orbit_file": orbit_file.name})
    (folder / MANIFEST).write_text(identity.model_dump_json(indent=1))


def read_burst_product(folder: Path) -> BurstProduct:
    """The burst in a folder, its samples still on disk. Raises FatalError where the folder is none, or not whole."""
    path = folder / MANIFEST
    try:
        identity = BurstIdentity.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise FatalError(f"{folder.name} is no burst product: {MANIFEST} {_why(error)}") from None
    channels: dict[str, ChannelFiles] = {}
    for polarisation in identity.polarisations:
        files = _files(folder, polarisation)
        missing = next((each for each in (files.samples, files.annotation) if not each.is_file()), None)
        if missing is not None:
            raise FatalError(f"{folder.name} is not whole: {missing.name} is missing")
        channels[polarisation] = ChannelFiles(files.samples, files.annotation, _if_there(files.calibration), _if_there(files.noise))
    return BurstProduct(folder, identity, channels, _if_there(folder / identity.orbit_file) if identity.orbit_file else None)


def _cut(source: Path, target: Path, identity: BurstIdentity) -> None:
    """Copy the lines of the burst, as they are, a few at a time."""
    first, lines, samples = (identity.number - 1) * identity.lines, identity.lines, identity.samples
    profile = {"driver": "GTiff", "width": samples, "height": lines, "count": 1, "dtype": "complex_int16", "blockysize": _BLOCK_LINES}
    try:
        with quiet_gdal(), rasterio.open(source) as raster:
            if raster.width != samples or raster.height < first + lines:
                raise FatalError(
                    f"{source.name} has {raster.height} lines of {raster.width} samples; burst {identity.number} of its annotation "
                    f"needs {first + lines} lines of {samples}"
                )
            with rasterio.open(target, "w", **profile) as cut:
                for line in range(0, lines, _BLOCK_LINES):
                    count = min(_BLOCK_LINES, lines - line)
                    block = raster.read(1, window=Window(0, first + line, samples, count))
                    cut.write(block, 1, window=Window(0, line, samples, count))
    except rasterio.errors.RasterioError as error:
        raise ThresherError(f"{source.name} cannot be read: {error}") from error


def _files(folder: Path, polarisation: str) -> ChannelFiles:
    name = polarisation.lower()
    return ChannelFiles(
        folder / f"samples_{name}.tiff",
        folder / f"annotation_{name}.xml",
        folder / f"calibration_{name}.xml",
        folder / f"noise_{name}.xml",
    )


def _if_there(path: Path | None) -> Path | None:
    return path if path is not None and path.is_file() else None


def _why(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror})"
    return f"is not as it should be ({error.error_count()} faults)"
