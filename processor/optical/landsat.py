"""Landsat 8 and 9 Collection 2 products, Level 1 and 2, as folders of GeoTIFFs with their MTL.

Sources: Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), tables 6-1 and 6-2 (constants); Landsat 8-9 Calibration and
Validation Algorithm Description Document (LSDS-1747) for the MTL keys. Level 1 reflectance is not corrected for the sun's elevation.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from common.errors import FatalError
from processor.optical.metadata import read_xml
from processor.optical.product import CATEGORICAL, Band, Product, of_scene, product_files

NODATA = 0.0
QA_NODATA = 1.0
"""QA_PIXEL: bit 0 alone, fill."""

_SURFACE_REFLECTANCE = (2.75e-05, -0.2)
_SURFACE_TEMPERATURE = (0.00341802, 149.0)

_IMAGE = re.compile(r"L\w{3}_.*?_(?:(?P<level>SR_|ST_)?B(?P<band>\d{1,2})|(?P<quality>QA_PIXEL|QA_RADSAT))\.TIFF?", re.IGNORECASE)

_NUMBER = re.compile(r"_(?:MULT|ADD|CONSTANT)_BAND_|/SUN_ELEVATION$")
"""Of the MTL: what pixels are scaled with."""


def open_landsat(workdir: Path, scene: str) -> Product | None:
    """The Landsat product of `scene` in `workdir`, None where there is none. Raises FatalError where its metadata are broken."""
    matches = {path: match for path in product_files(workdir, "*.[tT][iI][fF]*") if (match := _IMAGE.fullmatch(path.name))}
    folder = of_scene(dict.fromkeys(path.parent for path in matches), scene, workdir)
    if folder is None:
        return None
    coefficients = _coefficients(folder)
    bands = {}
    for path, match in matches.items():
        if path.parent != folder:
            continue
        if match["quality"]:
            bands[match["quality"].upper()] = Band(path, nodata=QA_NODATA if match["quality"].upper() == "QA_PIXEL" else None)
        else:
            scale, offset = _calibration(coefficients, (match["level"] or "").upper(), int(match["band"]))
            bands[f"B{int(match['band']):02d}"] = Band(path, scale, offset, NODATA)
    return Product(scene or folder.name, bands)


def default_band(layer: str, path: Path, source_id: str) -> Band:
    """A band of which nothing is known but its name: Collection 2 Level 2 has fixed constants, Level 1 stays digital numbers."""
    if layer in CATEGORICAL:
        return Band(path, nodata=QA_NODATA if layer == "QA_PIXEL" else None)
    match = _IMAGE.fullmatch(path.name)
    level = match["level"] or "" if match else ""
    if not level and re.match(r"L\w\d\d_L2", source_id):
        level = "ST_" if layer in ("B10", "B11") else "SR_"
    scale, offset = _calibration({}, level.upper(), 0)
    return Band(path, scale, offset, NODATA)


def _calibration(coefficients: dict[str, float], level: str, band: int) -> tuple[float | None, float | None]:
    """Scale and offset of a band: surface reflectance, surface temperature (K), or at the top of the atmosphere (reflectance; radiance
    in W/(m² sr µm) for the thermal bands).
    """
    default: tuple[float | None, float | None]
    match level:
        case "SR_":
            default = _SURFACE_REFLECTANCE
            group, quantity, suffix = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "REFLECTANCE", str(band)
        case "ST_":
            default = _SURFACE_TEMPERATURE
            group, quantity, suffix = "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS", "TEMPERATURE", f"ST_B{band}"
        case _:
            default = None, None
            group, suffix = "LEVEL1_RADIOMETRIC_RESCALING", str(band)
            quantity = "RADIANCE" if band in (10, 11) else "REFLECTANCE"
    return (
        coefficients.get(f"{group}/{quantity}_MULT_BAND_{suffix}", default[0]),
        coefficients.get(f"{group}/{quantity}_ADD_BAND_{suffix}", default[1]),
    )


def mtl_value(folder: Path, key: str) -> float:
    """A number of the MTL in `folder` by `GROUP/KEY`; raises FatalError where it is not there."""
    values = _coefficients(folder)
    if key not in values:
        raise FatalError(f"the MTL of the product in {folder.name} does not tell {key.rpartition('/')[2]}")
    return values[key]


def _coefficients(folder: Path) -> dict[str, float]:
    """The numbers for scaling of the MTL in `folder` (JSON, XML or text) as `GROUP/KEY`; empty without an MTL."""
    readers = (("*_MTL.json", _from_json), ("*_MTL.xml", _from_xml), ("*_MTL.txt", _from_text))
    for pattern, read in readers:
        for path in sorted(folder.glob(pattern)):
            try:
                return {key: float(value) for key, value in read(path).items() if _NUMBER.search(key)}
            except (ValueError, TypeError, AttributeError) as error:
                raise FatalError(f"{path.name} cannot be read: {error}") from None
    return {}


def _from_json(path: Path) -> dict[str, str]:
    groups = json.loads(path.read_text())["LANDSAT_METADATA_FILE"]
    return {f"{group}/{key}": value for group, values in groups.items() for key, value in values.items()}


def _from_xml(path: Path) -> dict[str, str]:
    return {f"{group.tag}/{entry.tag}": entry.text or "" for group in read_xml(path) for entry in group}


def _from_text(path: Path) -> dict[str, str]:
    values, group = {}, ""
    for line in path.read_text().splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = value
        elif value:
            values[f"{group}/{key}"] = value.strip('"')
    return values
