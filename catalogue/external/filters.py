"""The search parameters of a payload as a value, and whether a scene agrees with them.

A catalogue may be asked to apply some of them; all are applied again to what it answers, because servers differ in what they honour.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from common.errors import UserError
from common.features import SceneFeature
from common.payload import SceneType
from common.product_names import Constellation, parse_product_name

FIELD = "scene_type.parameters"

_COMMON = ("filename", "orbitdirection", "producttype", "relativeorbitnumber")
_KNOWN = {
    Constellation.SENTINEL1: (*_COMMON, "polarisationmode", "sensoroperationalmode"),
    Constellation.SENTINEL2: (*_COMMON, "cloudcoverpercentage"),
    Constellation.LANDSAT: ("filename", "orbitdirection", "producttype", "cloudcoverpercentage"),
}
_INTERVAL = re.compile(r"\[\s*(?P<low>\S+?)\s*(?:\s+TO\s+|,)\s*(?P<high>\S+?)\s*\]", re.IGNORECASE)
_POLARISATIONS = ("VV", "VH", "HH", "HV")


@dataclass(frozen=True)
class Interval:
    """A closed interval."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class SceneFilter:
    """What a scene's tags and name must say; None: anything."""

    product_type: str | None = None
    """S2MSI1C, S2MSI2A, SLC, GRD; of Landsat a level (`L2`) or one of its kinds (`L2SP`)."""
    cloud_cover: Interval | None = None
    """Percent of the scene."""
    polarisations: frozenset[str] | None = None
    """Exactly these."""
    sensor_mode: str | None = None
    """IW, EW, WV; SM stands for the beams of the strip map mode (`S3`)."""
    relative_orbit: int | None = None
    orbit_direction: str | None = None
    """ASCENDING or DESCENDING."""
    filename: str | None = None
    """Pattern of the product name with `*` and `?`; one without them is looked for anywhere in the name."""

    def refusal(self, scene: SceneFeature) -> str | None:
        """None if the scene agrees; empty if it does not; a reason worth telling if it does not say what is asked."""
        tags = scene.tags
        checks = (
            (self.product_type is None, "productType", lambda text: same_product_type(self.product_type or "", text)),
            (self.cloud_cover is None, "cloudCoverPercentage", lambda text: self.cloud_cover is None or float(text) in self.cloud_cover),
            (self.polarisations is None, "polarisationMode", lambda text: frozenset(text.split()) == self.polarisations),
            (self.relative_orbit is None, "relativeOrbit", lambda text: int(text) == self.relative_orbit),
            (self.orbit_direction is None, "orbitDirection", lambda text: text == self.orbit_direction),
        )
        for unasked, tag, agrees in checks:
            if unasked:
                continue
            if tag not in tags:
                return f"its {tag} is not given"
            if not agrees(tags[tag]):
                return ""
        if self.sensor_mode is not None and not _same_mode(self.sensor_mode, _mode_of(scene.source_id)):
            return ""
        return None if self.filename is None or _name_matches(scene.source_id, self.filename) else ""


def filter_of(scene_type: SceneType) -> SceneFilter:
    """The filter of a payload's parameters; raises UserError naming one that is unknown or malformed."""
    constellation, parameters = scene_type.constellation, scene_type.parameters
    known = _KNOWN.get(constellation, tuple(sorted({name for names in _KNOWN.values() for name in names})))
    for name in parameters:
        if name not in known:
            raise UserError(f"is not a search parameter of {constellation}; known are {', '.join(sorted(known))}", field=f"{FIELD}.{name}")
    return SceneFilter(
        product_type=wanted_product_type(scene_type),
        cloud_cover=_cloud_cover(parameters.get("cloudcoverpercentage")),
        polarisations=_polarisations(parameters.get("polarisationmode")),
        sensor_mode=_sensor_mode(parameters.get("sensoroperationalmode")),
        relative_orbit=_relative_orbit(parameters.get("relativeorbitnumber")),
        orbit_direction=_orbit_direction(parameters.get("orbitdirection")),
        filename=_filename(parameters.get("filename")),
    )


def wanted_product_type(scene_type: SceneType) -> str | None:
    """The `producttype` of the parameters in one spelling; None where it is not given. Raises UserError."""
    text = scene_type.parameters.get("producttype", "").strip()
    if not text:
        return None
    found = canonical_product_type(scene_type.constellation, text)
    if found is None:
        examples = {
            Constellation.SENTINEL1: "GRD, SLC",
            Constellation.SENTINEL2: "S2MSI1C, S2MSI2A",
            Constellation.LANDSAT: "L1, L2, L1TP, L2SP",
        }
        raise UserError(f"'{text[:80]}' is not one of {examples[scene_type.constellation]}", field=f"{FIELD}.producttype")
    return found


def canonical_product_type(constellation: Constellation, text: str) -> str | None:
    """One spelling for the many of a product type (`L2A`, `IW_GRDH_1S`, `LC_C02_L2SP`); None if it is not one of the constellation."""
    upper = text.strip().upper()
    match constellation:
        case Constellation.SENTINEL1:
            return next((kind for kind in ("GRD", "SLC", "OCN", "RAW") if kind in upper), None)
        case Constellation.SENTINEL2:
            return next((f"S2MSI{level}" for level in ("1C", "2A") if upper in (f"S2MSI{level}", f"MSIL{level}", f"L{level}")), None)
        case Constellation.LANDSAT:
            last = upper.rpartition("_")[2]
            return last if re.fullmatch(r"L[12](?:[A-Z]{2})?", last) else None
    return upper


def same_product_type(wanted: str, given: str) -> bool:
    """Whether `given` is what is wanted; a Landsat level (`L2`) stands for all its kinds (`L2SP`)."""
    return given == wanted or (wanted in ("L1", "L2") and given.startswith(wanted))


def _cloud_cover(text: str | None) -> Interval | None:
    if text is None:
        return None
    field = f"{FIELD}.cloudcoverpercentage"
    match = _INTERVAL.fullmatch(text.strip())
    try:
        interval = Interval(float(match["low"]), float(match["high"])) if match else None
    except ValueError:
        interval = None
    if interval is None or not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        raise UserError(f"'{text[:80]}' is not an interval such as [0 TO 20]", field=field)
    if not 0 <= interval.low <= interval.high <= 100:
        raise UserError(f"'{text[:80]}': percentages go from 0 to 100, the lower one first", field=field)
    return interval


def _polarisations(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    words = frozenset(re.split(r"[\s&,+]+", text.strip().upper()))
    if not words <= set(_POLARISATIONS):
        raise UserError(f"'{text[:80]}' is not made of {', '.join(_POLARISATIONS)}, such as 'VV VH'", field=f"{FIELD}.polarisationmode")
    return words


def _relative_orbit(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"\s*\d{1,3}\s*", text, re.ASCII) or not 1 <= int(text) <= 175:
        raise UserError(f"'{text[:80]}' is not a relative orbit (1 to 175)", field=f"{FIELD}.relativeorbitnumber")
    return int(text)


def _sensor_mode(text: str | None) -> str | None:
    word = _word(text)
    if word is not None and not re.fullmatch(r"[A-Z][A-Z0-9]", word, re.ASCII):
        raise UserError(f"'{word[:80]}' is not a mode such as IW, EW, WV, SM", field=f"{FIELD}.sensoroperationalmode")
    return word


def _orbit_direction(text: str | None) -> str | None:
    word = _word(text)
    if word not in (None, "ASCENDING", "DESCENDING"):
        raise UserError(f"'{word[:80]}' is not one of ASCENDING, DESCENDING", field=f"{FIELD}.orbitdirection")
    return word


def _filename(text: str | None) -> str | None:
    """The pattern for the name without its extension, as scenes are named."""
    pattern = (text or "").strip()
    return (pattern.removesuffix(".SAFE") or "*") if pattern else None


def _word(text: str | None) -> str | None:
    return (text or "").strip().upper() or None


def _name_matches(name: str, pattern: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern in name
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def _same_mode(wanted: str, given: str | None) -> bool:
    return given == wanted or (wanted == "SM" and given is not None and re.fullmatch(r"S[1-6]", given) is not None)


def _mode_of(source_id: str) -> str | None:
    try:
        return parse_product_name(source_id).parts.get("MODE")
    except ValueError:
        return None
