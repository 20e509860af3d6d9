"""From annotations to bursts: what the SLC annotation of each sub-swath says of its bursts' places in time and on the ground.

Source of the elements: Sentinel-1 Product Specification (S1-RS-MDA-52-7441), "Product Data Set Record". Tile ids and footprints are
those of the reference.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from shapely.geometry import MultiPolygon, Polygon

from catalogue.sentinel1.annotations.files import AnnotationError, AnnotationFile
from catalogue.sentinel1.burst_ids import MOST, burst_id, relative_orbit
from common.geometry import split_at_antimeridian

_NAME = re.compile(r"s1[a-z]-(?P<swath>[a-z]{1,2}\d?)-(?P<type>[a-z]{3})-(?P<polarisation>[hv]{2})-.*\.xml", re.IGNORECASE)
SWATHS = {"IW": ("IW1", "IW2", "IW3"), "EW": ("EW1", "EW2", "EW3", "EW4", "EW5")}
POLARISATIONS = ("VV", "HH", "VH", "HV")
"""The first that is there is read in full."""
_ORBIT_S = 5924
"""The modulus of the reference's ids: its orbit, 12 * 86400 / 175 s, in whole seconds."""
_SAME_BURST_DS = 5
"""Tenths of a second by which the times of one burst may differ between polarisations; bursts are 27 apart."""


@dataclass(frozen=True)
class Burst:
    """One burst of one sub-swath; both polarisations share it."""

    swath: str
    number: int
    """In its sub-swath, from 1."""
    anx_time_ds: int
    """Zero-Doppler time of the first line after the ascending node, in tenths of a second, modulo 5924 s."""
    wkt: str
    """Footprint, EPSG:4326, six decimals; a MULTIPOLYGON where it crosses the antimeridian."""
    direction: str
    """`A` ascending, `D` descending."""
    relative_orbit: int
    burst_id: int | None
    """ESA's, as written or computed; None where neither is possible."""

    @property
    def tile_id(self) -> str:
        """As the reference writes it: `A108_IW1_8361`."""
        return f"{self.direction}{self.relative_orbit}_{self.swath}_{self.anx_time_ds}"


def read_bursts(
    scene: str, files: Sequence[AnnotationFile], *, direction: str = "", relative_orbit_number: int | None = None
) -> list[Burst]:
    """The bursts of an SLC scene, by sub-swath and number.

    One polarisation is read in full; the others, where given, must list the same bursts. `direction` (`ASCENDING`, …) and
    `relative_orbit_number` are what the catalogue says; without them the annotation decides.

    Raises AnnotationError naming the scene and the file.
    """
    bursts: list[Burst] = []
    for swath, of_swath in _by_swath(scene, files):
        first, *others = of_swath
        annotation = _Annotation(scene, first)
        read = annotation.bursts(direction[:1].upper(), relative_orbit_number)
        if read[0].swath != swath:
            raise annotation.error(f"is of {read[0].swath}, its name says {swath}")
        for other in others:
            _Annotation(scene, other).check_same(read, first.name)
        bursts += read
    names = Counter(burst.tile_id for burst in bursts)
    for name, count in names.items():
        if count > 1:
            raise AnnotationError(f"{scene}: burst {name} is listed {count} times")
    return bursts


def _by_swath(scene: str, files: Iterable[AnnotationFile]) -> list[tuple[str, list[AnnotationFile]]]:
    """The measurement annotations, by sub-swath, the polarisation to be read first; raises AnnotationError if a sub-swath is missing."""
    found: dict[str, list[tuple[int, AnnotationFile]]] = {}
    for file in files:
        match = _NAME.fullmatch(file.name.rpartition("/")[2])
        if match is None:
            continue
        if match["type"].lower() != "slc":
            raise AnnotationError(f"{scene}: '{file.name}' is of a {match['type'].upper()} product; only SLC products have bursts")
        polarisation = match["polarisation"].upper()
        found.setdefault(match["swath"].upper(), []).append((POLARISATIONS.index(polarisation), file))
    if not found:
        raise AnnotationError(f"{scene}: there is no annotation of it")
    wanted = SWATHS.get(next(iter(found))[:2])
    if wanted is None:
        raise AnnotationError(f"{scene}: {', '.join(sorted(found))} is a mode without bursts")
    missing = [swath for swath in wanted if swath not in found]
    if missing:
        raise AnnotationError(f"{scene}: the annotation of {', '.join(missing)} is missing")
    return [(swath, [file for _, file in sorted(found[swath], key=lambda pair: (pair[0], pair[1].name))]) for swath in sorted(found)]


@dataclass(frozen=True)
class _Corner:
    longitude: float
    latitude: float


class _Annotation:
    """One annotation. Of its megabyte only the parts that matter are parsed; none of them may be cut short or hold a document type."""

    def __init__(self, scene: str, file: AnnotationFile) -> None:
        self._scene = scene
        self._file = file
        content = file.content
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise self.error("declares a document type: it is not read")
        if not content.rstrip().endswith(b"</product>"):
            raise self.error("is cut short or is no annotation: it does not end in </product>")

    def error(self, why: str) -> AnnotationError:
        return AnnotationError(f"{self._scene}: '{self._file.name}' {why}")

    def bursts(self, direction: str, orbit: int | None) -> list[Burst]:
        header = self._section("adsHeader")
        if (kind := self._text(header, "productType")) != "SLC":
            raise self.error(f"is of a {kind[:20]} product; only SLC products have bursts")
        swath = self._text(header, "swath").upper()
        if direction not in ("A", "D"):
            direction = self._value(b"pass")[:1].upper()
            if direction not in ("A", "D"):
                raise self.error("does not say whether the pass is ascending or descending")
        orbit = orbit or relative_orbit(self._text(header, "missionId"), int(self._number(header, "absoluteOrbitNumber")))
        if orbit is None:
            raise self.error(f"is of {self._text(header, 'missionId')[:20]}, whose relative orbits are not known")
        timing = self._section("swathTiming")
        listed = timing.findall("burstList/burst")
        if not listed:
            raise self.error("lists no bursts")
        lines = int(self._number(timing, "linesPerBurst"))
        footprints = self._footprints(len(listed), lines, int(self._number(timing, "samplesPerBurst")))
        bursts: list[Burst] = []
        for number, (burst, wkt) in enumerate(zip(listed, footprints, strict=True), 1):
            anx_time_s = self._number(burst, "azimuthAnxTime")
            bursts.append(
                Burst(swath, number, anx_time_ds(anx_time_s), wkt, direction, orbit, self._burst_id(burst, swath, orbit, anx_time_s))
            )
        return bursts

    def check_same(self, bursts: Sequence[Burst], name: str) -> None:
        """Raises AnnotationError unless this annotation lists the bursts that were read from the file `name`."""
        times = re.findall(rb"<azimuthAnxTime>([^<]*)</azimuthAnxTime>", self._content("swathTiming"))
        try:
            mine = [anx_time_ds(float(time)) for time in times]
        except ValueError:
            raise self.error("has an azimuthAnxTime that is not a number") from None
        if len(mine) != len(bursts):
            raise self.error(f"lists {len(mine)} bursts, '{name}' {len(bursts)}")
        for burst, other in zip(bursts, mine, strict=True):
            if not is_same_time(burst.anx_time_ds, other):
                raise self.error(f"has its burst {burst.number} at another time than '{name}'")

    def _burst_id(self, burst: ElementTree.Element, swath: str, orbit: int, anx_time_s: float) -> int | None:
        """As processors from 3.40 on write it, else computed."""
        written = (burst.findtext("burstId") or "").strip()
        if written.isdecimal() and 0 < int(written) <= MOST:
            return int(written)
        return burst_id(swath, orbit, anx_time_s)

    def _footprints(self, count: int, lines: int, samples: int) -> list[str]:
        """The outline of each burst: of its first and last line the first and last sample, as the geolocation grid has them."""
        near: dict[int, _Corner] = {}
        far: dict[int, _Corner] = {}
        for point in self._section("geolocationGrid").iterfind("geolocationGridPointList/geolocationGridPoint"):
            pixel = point.findtext("pixel", "").strip()
            side = near if pixel == "0" else far if pixel == str(samples - 1) else None
            if side is not None:
                corner = _Corner(self._number(point, "longitude"), self._number(point, "latitude"))
                if not (abs(corner.longitude) <= 180 and abs(corner.latitude) <= 90):
                    raise self.error(f"has a grid point at {corner.longitude}, {corner.latitude}")
                side[int(self._number(point, "line"))] = corner
        both = near.keys() & far.keys()

        def grid_line(line: int) -> int:
            # The last line of the last burst is numbered one less, and some processors number others so too.
            found = next((near_by for near_by in (line, line - 1, line + 1) if near_by in both), None)
            if found is None:
                raise self.error(f"has no grid points at line {line}, where a burst begins or ends")
            return found

        edges = [grid_line(number * lines) for number in range(count + 1)]
        return [_wkt([near[a], near[b], far[b], far[a]]) for a, b in pairwise(edges)]

    def _section(self, name: str) -> ElementTree.Element:
        try:
            return ElementTree.fromstring(self._content(name))  # noqa: S314 - a part without document type: it can declare no entity
        except ElementTree.ParseError as error:
            raise self.error(f"is not well formed: <{name}> {error}") from None

    def _content(self, name: str) -> bytes:
        content = self._file.content
        start = re.search(rb"<%s[\s>]" % name.encode(), content)
        end = content.find(b"</%s>" % name.encode(), start.start()) if start else -1
        if start is None or end < 0:
            raise self.error(f"has no <{name}>")
        return content[start.start() : end + len(name) + 3]

    def _value(self, name: bytes) -> str:
        """The text of the first element of that name, wherever it stands."""
        match = re.search(rb"<%s>([^<]{0,100})</%s>" % (name, name), self._file.content)
        return match[1].decode("ascii", "replace").strip() if match else ""

    def _text(self, parent: ElementTree.Element, path: str) -> str:
        text = (parent.findtext(path) or "").strip()
        if not text:
            raise self.error(f"has no {path} in <{parent.tag}>")
        return text

    def _number(self, parent: ElementTree.Element, path: str) -> float:
        text = self._text(parent, path)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not abs(value) < 1e9:
            raise self.error(f"has {text[:40]!r} as {path} in <{parent.tag}>")
        return value


def anx_time_ds(anx_time_s: float) -> int:
    """Tenths of a second, halves rounded away from zero, modulo 5924 s, as in the ids of the reference."""
    tenths = math.fmod(anx_time_s, _ORBIT_S) * 10
    return int(math.copysign(math.floor(abs(tenths) + 0.5), tenths))


def is_same_time(one_ds: int, other_ds: int) -> bool:
    """Whether two times after the node (`anx_time_ds`) are of one burst."""
    apart = abs(one_ds - other_ds)
    return min(apart, _ORBIT_S * 10 - apart) < _SAME_BURST_DS


def _wkt(corners: Sequence[_Corner]) -> str:
    ring = [(corner.longitude, corner.latitude) for corner in corners]
    longitudes = [longitude for longitude, _ in ring]
    if max(longitudes) - min(longitudes) <= 180:
        return f"POLYGON({ring_text(ring)})"
    split = split_at_antimeridian(Polygon(ring))
    parts = split.geoms if isinstance(split, MultiPolygon) else [split]
    return f"MULTIPOLYGON({', '.join(f'({ring_text(list(part.exterior.coords)[:-1])})' for part in parts if isinstance(part, Polygon))})"


def ring_text(ring: Sequence[tuple[float, ...]]) -> str:
    """Of the WKT of a footprint; the first position is not repeated in `ring`."""
    return f"({', '.join(f'{x:.6f} {y:.6f}' for x, y, *_ in [*ring, ring[0]])})"
