"""Simulated SLC products as folders in the SAFE format, with measurement TIFFs and a manifest that knows size and checksum of each file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.windows import Window as RasterWindow

from thresher.demo.sentinel1.bursts import Window, simulated_burst
from thresher.demo.sentinel1.documents import PROCESSOR, SIMULATED, corners
from thresher.demo.sentinel1.speckle import Complexes
from thresher.demo.sentinel1.swath import Swath
from thresher.demo.sentinel1.terrain import Terrain


@dataclass(frozen=True)
class ImageDocuments:
    """The documents of one sub-swath in one polarisation."""

    swath: Swath
    polarisation: str
    """Upper case."""
    stem: str
    """Name of its files without extension: `s1a-iw1-slc-vv-…-004`."""
    annotation: bytes
    calibration: bytes
    noise: bytes | None = None


@dataclass(frozen=True)
class ProductDocuments:
    """All documents of a product."""

    name: str
    """Without `.SAFE`."""
    images: tuple[ImageDocuments, ...]


@dataclass(frozen=True)
class Simulation:
    """What is simulated of the products of a series; the rest of their images stays empty."""

    terrain: Terrain
    seed: int = 1
    noise: float = 0.0
    """Beta nought of thermal noise."""
    bursts: Mapping[str, Sequence[int]] | None = None
    """By sub-swath, from 0; None: all."""
    window: Window | None = None
    """Of each burst; None: the whole."""


def write_series(folder: Path, products: Sequence[ProductDocuments], simulation: Simulation, *, threads: int | None = None) -> list[Path]:
    """Write the products, one a date of the same place, as `{name}.SAFE` below `folder`; their folders."""
    folders = [folder / f"{product.name}.SAFE" for product in products]
    for product, place in zip(products, folders, strict=True):
        for image in product.images:
            _write(place / "annotation" / f"{image.stem}.xml", image.annotation)
            _write(place / "annotation" / "calibration" / f"calibration-{image.stem}.xml", image.calibration)
            if image.noise is not None:
                _write(place / "annotation" / "calibration" / f"noise-{image.stem}.xml", image.noise)
        (place / "measurement").mkdir(exist_ok=True)
    swaths = list(dict.fromkeys(image.swath.name for image in products[0].images))
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        list(pool.map(lambda swath: _write_swath(swath, products, folders, simulation), swaths))
    for product, place in zip(products, folders, strict=True):
        write_manifest(place, product.name)
    return folders


def write_manifest(folder: Path, name: str) -> None:
    """Write the `manifest.safe` of a product for the files that are there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.safe")
    objects = "".join(_data_object(folder, path) for path in files)
    (folder / "manifest.safe").write_text(
        f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- {SIMULATED} -->
<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:safe="http://www.esa.int/safe/sentinel-1.0"
 version="esa/safe/sentinel-1.0/sentinel-1/sar/level-1/slc/standard/iwdp">
  <informationPackageMap/>
  <metadataSection>
    <metadataObject ID="processing" classification="PROVENANCE" category="PDI">
      <metadataWrap mimeType="text/xml" vocabularyName="SAFE" textInfo="Processing">
        <xmlData>
          <safe:processing name="SLC Post Processing">
            <safe:facility country="" name="Simulation" organisation="" site={quoteattr(name)}>
              <safe:software name="Sentinel-1 IPF" version="{PROCESSOR}"/>
            </safe:facility>
          </safe:processing>
        </xmlData>
      </metadataWrap>
    </metadataObject>
  </metadataSection>
  <dataObjectSection>
{objects}  </dataObjectSection>
</xfdu:XFDU>
""",
        encoding="utf-8",
    )


def image_stem(mission: str, swath: str, polarisation: str, times: tuple[datetime, datetime], orbit: int, take: int, number: int) -> str:
    """The name of the files of an image, without extension."""
    start, stop = (f"{time:%Y%m%dt%H%M%S}" for time in times)
    return f"{mission}-{swath}-slc-{polarisation}-{start}-{stop}-{orbit:06}-{take:06x}-{number:03}".lower()


def _write_swath(name: str, products: Sequence[ProductDocuments], folders: Sequence[Path], simulation: Simulation) -> None:
    """The measurements of one sub-swath on all dates."""
    images = [{image.polarisation: image for image in product.images if image.swath.name == name} for product in products]
    polarisations = list(images[0])
    swaths = [next(iter(of_date.values())).swath for of_date in images]
    wanted = range(len(swaths[0].bursts)) if simulation.bursts is None else simulation.bursts.get(name, ())
    with ExitStack() as stack:
        rasters = {
            (date, polarisation): stack.enter_context(_measurement(folders[date] / "measurement" / f"{image.stem}.tiff", image.swath))
            for date, of_date in enumerate(images)
            for polarisation, image in of_date.items()
        }
        for index in wanted:
            made = simulated_burst(
                swaths, index, simulation.terrain, polarisations, seed=simulation.seed, window=simulation.window, noise=simulation.noise
            )
            for date, polarisation, pixels in made:
                _put(rasters[date, polarisation], swaths[date], index, simulation.window, pixels)


def _measurement(path: Path, swath: Swath) -> Any:
    profile = {"driver": "GTiff", "width": swath.samples, "height": swath.lines * len(swath.bursts), "count": 1, "dtype": "complex_int16"}
    points = []
    for index in range(len(swath.bursts)):
        places = ((0, 0), (0, swath.samples - 1), (swath.lines - 1, swath.samples - 1), (swath.lines - 1, 0))
        for (line, sample), (longitude, latitude) in zip(places, corners(swath, index, 0.0), strict=True):
            points.append(GroundControlPoint(row=index * swath.lines + line, col=sample, x=longitude, y=latitude, z=0.0))
    return rasterio.open(path, "w", blockysize=64, sparse_ok=True, bigtiff="IF_SAFER", gcps=points, crs="EPSG:4326", **profile)


def _put(raster: Any, swath: Swath, index: int, window: Window | None, pixels: Complexes) -> None:
    first_line, first_sample = (window.lines[0], window.samples[0]) if window else (0, 0)
    rounded = np.clip(np.rint(pixels.view(np.float32)), -32_768, 32_767).astype(np.float32).view(np.complex64)
    lines, samples = pixels.shape
    raster.write(rounded, 1, window=RasterWindow(first_sample, index * swath.lines + first_line, samples, lines))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _data_object(folder: Path, path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    href = quoteattr(f"./{path.relative_to(folder).as_posix()}")
    return (
        f'    <dataObject ID="{path.stem.replace("-", "")}">\n      <byteStream mimeType="application/octet-stream" '
        f'size="{path.stat().st_size}">\n        <fileLocation locatorType="URL" href={href}/>\n'
        f'        <checksum checksumName="MD5">{digest}</checksum>\n      </byteStream>\n    </dataObject>\n'
    )
