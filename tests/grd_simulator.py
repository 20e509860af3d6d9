"""Simulated GRD products: real annotations, cut to a corner of the image, with measurement TIFFs of chosen backscatter and speckle."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from processor.sar.calibration import Quantity, read_calibration
from processor.sar.noise import read_noise

Array = NDArray[Any]

NEW = "S1B_IW_GRDH_1SDV_20211223T051122_20211223T051147_030148_039993_5371.SAFE.zip"
OLD = "S1A_IW_GRDH_1SDV_20150203T043109_20150203T043134_004454_00574F_6D00.zip"
_STEP = 1024
_LOOKS = 4.4
"""Equivalent number of looks of IW GRDH."""


@dataclass(frozen=True)
class Simulation:
    """What an image shows."""

    sigma0: Callable[[Array, Array], Array]
    """Of lines and samples (arrays that broadcast), linear, on the ellipsoid."""
    lines: int = 600
    """From line 0 of the real image; 0: all."""
    samples: int = 2000
    border: int = 0
    """Samples at the near edge, and half as many lines at the first, with a fiftieth of the thermal noise, as in products of old."""
    speckle: bool = True
    targets: Sequence[tuple[float, float]] = ()
    """Lines and samples at which there are bright points, one resolution cell wide."""


def simulate_grd(folder: Path, archive: Path, simulation: Simulation, seed: int = 1) -> Path:
    """Make the SAFE folder of a product in `folder` from the real annotations in `archive`, and return it."""
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if re.search(r"\.SAFE/(annotation/.*\.xml|manifest\.safe)$", name)]
        opened.extractall(folder, names)
    safe = folder / names[0].split("/")[0]
    (safe / "measurement").mkdir(exist_ok=True)
    for number, annotation in enumerate(sorted((safe / "annotation").glob("s1*-grd-*.xml"))):
        text = annotation.read_text()
        lines, samples = (int(re.search(rf"<{element}>(\d+)<", text)[1]) for element in ("numberOfLines", "numberOfSamples"))
        lines, samples = simulation.lines or lines, simulation.samples or samples
        text = re.sub(r"<numberOfLines>\d+<", f"<numberOfLines>{lines}<", text)
        annotation.write_text(re.sub(r"<numberOfSamples>\d+<", f"<numberOfSamples>{samples}<", text))
        _write_image(safe / "measurement" / f"{annotation.stem}.tiff", annotation, (lines, samples), simulation, seed + number)
    return safe


def _write_image(path: Path, annotation: Path, shape: tuple[int, int], simulation: Simulation, seed: int) -> None:
    lines, samples = shape
    tables = annotation.parent / "calibration"
    gain = read_calibration(tables / f"calibration-{annotation.name}", samples).table(Quantity.SIGMA0)
    noise = read_noise(tables / f"noise-{annotation.name}", samples)
    random = np.random.default_rng(seed)
    profile = {"driver": "GTiff", "width": samples, "height": lines, "count": 1, "dtype": "uint16"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as raster:
            for first in range(0, lines, _STEP):
                line = np.arange(first, min(first + _STEP, lines))
                power = _power(line, samples, simulation, gain.at(line) ** 2, noise.at(line, slice(0, samples)), random)
                raster.write(np.clip(np.rint(np.sqrt(power)), 0, 65535).astype(np.uint16), 1, window=Window(0, first, samples, line.size))


def _power(line: Array, samples: int, simulation: Simulation, gain: Array, noise: Array, random: np.random.Generator) -> Array:
    sample = np.arange(samples)
    signal = simulation.sigma0(line[:, None], sample[None, :]) * gain
    for target_line, target_sample in simulation.targets:
        rows, columns = np.abs(line - target_line) < 8, np.abs(sample - target_sample) < 8
        shape = np.outer(np.sinc((line[rows] - target_line) / 2) ** 2, np.sinc((sample[columns] - target_sample) / 2) ** 2)
        signal[np.ix_(rows, columns)] += 30 * shape * gain[np.ix_(rows, columns)]
    power = signal + noise
    if simulation.border:
        outside = (line[:, None] < simulation.border // 2) | (sample[None, :] < simulation.border)
        power = np.where(outside, 0.02 * noise, power)
    if simulation.speckle:
        power = power * random.standard_gamma(_LOOKS, power.shape, np.float32) / _LOOKS
    return power
