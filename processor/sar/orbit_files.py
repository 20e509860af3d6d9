"""Precise and restituted orbit files (POEORB, RESORB): the best one for a time, from a folder or a public service, read as an `Orbit`.

Preferred is POEORB (within 5 cm, published after about 20 days), then RESORB (within 10 cm, after 3 hours); of several the one made last.
Source: "Sentinels POD Service File Format Specifications" (GMES-GSEG-EOPG-FS-10-0075), and Earth Observation Ground Segment File Format
Standard (PE-TN-ESA-GS-0001) for names and headers.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import numpy as np

from common.errors import FatalError, ThresherError
from processor.sar.annotation_xml import Section, read_root
from processor.sar.orbit import Orbit

MARGIN = timedelta(seconds=60)
"""State vectors wanted before and after the time of an image, so that no polynomial ends with it."""

LARGEST = 64 * 2**20
"""Bytes of an orbit file, unpacked; a POEORB file has 4.5 MB."""

_TIME = r"\d{8}T\d{6}"
_NAME = re.compile(rf"(S1[A-Z])_OPER_AUX_(POEORB|RESORB)_OPOD_({_TIME})_V({_TIME})_({_TIME})\.EOF((?:\.zip|\.gz)?)")
_RANK = {"POEORB": 1, "RESORB": 0}


@dataclass(frozen=True)
class OrbitFile:
    """What the name of an orbit file says."""

    name: str
    """As it is called where it lies, with `.zip` or `.gz` if it is packed."""
    mission: str
    kind: str
    """`POEORB`, `RESORB`."""
    made: datetime
    start: datetime
    stop: datetime

    @property
    def title(self) -> str:
        """The name of the unpacked file."""
        return self.name.removesuffix(".zip").removesuffix(".gz")

    def serves(self, mission: str, start: datetime, stop: datetime) -> bool:
        """Whether it holds the whole time, with a margin."""
        return self.mission == mission.upper() and self.start <= start - MARGIN and stop + MARGIN <= self.stop


def parse_name(name: str) -> OrbitFile | None:
    """What a file's name says; None where it is not that of an orbit file."""
    match = _NAME.fullmatch(name)
    return _described(match) if match else None


def named_in(text: str) -> list[OrbitFile]:
    """The orbit files whose names stand anywhere in a text, such as the listing of a server."""
    found = {match[0]: _described(match) for match in _NAME.finditer(text)}
    return [found[name] for name in sorted(found)]


def best_of(files: Iterable[OrbitFile], mission: str, start: datetime, stop: datetime) -> list[OrbitFile]:
    """Those that serve, the best first."""
    serving = [file for file in files if file.serves(mission, start, stop)]
    return sorted(serving, key=lambda file: (_RANK[file.kind], file.made), reverse=True)


def find_orbit_file(folder: Path, mission: str, start: datetime, stop: datetime) -> Path | None:
    """The best orbit file for an image of `mission` (`S1A`) from `start` to `stop`, in a folder or in those below it; None without one."""
    paths = {path.name: path for path in sorted(folder.rglob("S1*_OPER_AUX_*ORB_OPOD_*.EOF*")) if path.is_file()}
    best = best_of(filter(None, map(parse_name, paths)), mission, start, stop)
    return paths[best[0].name] if best else None


def read_orbit_file(path: Path, mission: str, start: datetime, stop: datetime) -> Orbit:
    """The state vectors of a file (`.EOF`, also as `.zip` or `.gz`) around `start` to `stop`.

    Raises FatalError where it is not what its name says, is of another satellite, or does not hold the time.
    """
    return parse_orbit(unpacked(path.read_bytes(), path.name), path.name, mission, start, stop)


def parse_orbit(content: bytes, name: str, mission: str, start: datetime, stop: datetime) -> Orbit:
    """As `read_orbit_file`, of the unpacked content of a file."""
    title = name.removesuffix(".zip").removesuffix(".gz")
    root = Section(read_root(content, title), title)
    header = root.part("Earth_Explorer_Header")
    satellite = header.text("Fixed_Header/Mission")
    if satellite.replace("Sentinel-", "S") != mission.upper():
        raise FatalError(f"{title} is an orbit of {satellite}, not of {mission}")
    frame, reference = header.text("Variable_Header/Ref_Frame"), header.text("Variable_Header/Time_Reference")
    if (frame, reference) != ("EARTH_FIXED", "UTC"):
        raise FatalError(f"{title} has state vectors in {frame} and {reference}; wanted are EARTH_FIXED and UTC")
    # As text, because times of one format sort as their texts do: of some 9,000 vectors a dozen are needed.
    first, last = (f"UTC={moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}" for moment in (start - MARGIN, stop + MARGIN))
    near = [Section(item, title) for item in root.elements("Data_Block/List_of_OSVs/OSV") if first <= (item.findtext("UTC") or "") <= last]
    near = [vector for vector in near if vector.optional("Quality") in ("", "NOMINAL")]
    times = [vector.time("UTC") for vector in near]
    if not times or min(times) > start or max(times) < stop:
        raise FatalError(f"{title} has no state vectors for {start:%Y-%m-%dT%H:%M:%S} to {stop:%Y-%m-%dT%H:%M:%S}")
    positions = np.array([[vector.number(axis) for axis in "XYZ"] for vector in near])
    velocities = np.array([[vector.number(f"V{axis}") for axis in "XYZ"] for vector in near])
    return Orbit.from_vectors(times, positions, velocities, title)


def unpacked(content: bytes, name: str) -> bytes:
    """The content of an orbit file that may be packed; raises ThresherError where that is broken or too large."""
    try:
        if name.endswith(".gz"):
            with gzip.open(io.BytesIO(content)) as file:
                data = file.read(LARGEST + 1)
        elif name.endswith(".zip"):
            data = _of_zip(content, name)
        else:
            data = content
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ThresherError(f"{name} cannot be unpacked: {error}") from None
    if len(data) > LARGEST:
        raise FatalError(f"{name} is too large for an orbit file")
    return data


def _of_zip(content: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        member = next((each for each in archive.infolist() if PurePosixPath(each.filename).name == name.removesuffix(".zip")), None)
        if member is None:
            raise FatalError(f"{name} does not hold {name.removesuffix('.zip')}")
        with archive.open(member) as file:
            return file.read(LARGEST + 1)


def _described(match: re.Match[str]) -> OrbitFile:
    made, start, stop = (datetime.strptime(match[group], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) for group in (3, 4, 5))
    return OrbitFile(match[0], match[1], match[2], made, start, stop)
