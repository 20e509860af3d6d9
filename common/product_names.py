"""What a product's name says: constellation, satellite, dates, orbit, tile, baseline.

Sources: Sentinel-1 Product Specification (S1-RS-MDA-52-7441) 3.4.1; Sentinel-2 Products Specification Document 3.1; Landsat Collection 2
product identifiers (LSDS-1435).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Constellation(StrEnum):
    """The constellations of the reference, with the values of its `constellation` tag."""

    SENTINEL1 = "SENTINEL1"
    SENTINEL2 = "SENTINEL2"
    LANDSAT = "LANDSAT"
    PHR = "PHR"
    SPOT = "SPOT"


_SPELLINGS = {
    "sentinel1": Constellation.SENTINEL1,
    "sentinel-1": Constellation.SENTINEL1,
    "sentinel2": Constellation.SENTINEL2,
    "sentinel-2": Constellation.SENTINEL2,
    "landsat89": Constellation.LANDSAT,
    "landsat": Constellation.LANDSAT,
    "phr": Constellation.PHR,
    "pleiades": Constellation.PHR,
    "spot": Constellation.SPOT,
}

_PREFIXES = (
    (re.compile(r"S1[A-D]_"), Constellation.SENTINEL1),
    (re.compile(r"S2[A-D]_"), Constellation.SENTINEL2),
    (re.compile(r"L[COT]0[89]_"), Constellation.LANDSAT),
    (re.compile(r"DS_PHR"), Constellation.PHR),
    (re.compile(r"DS_SPOT"), Constellation.SPOT),
)


def constellation_of(text: str) -> Constellation:
    """The constellation of a name of it (any case) or of a product name; raises ValueError."""
    found = _SPELLINGS.get(text.lower())
    if found is None:
        found = next((constellation for pattern, constellation in _PREFIXES if pattern.match(text)), None)
    if found is None:
        raise ValueError(f"'{text[:80]}' is not one of {', '.join(sorted(_SPELLINGS))}, nor a product name")
    return found


_FIELDS = {
    Constellation.SENTINEL1: re.compile(
        r"(?P<MISSION_ID>S1(?P<MISSION_VERSION>[A-D]))_(?P<MODE>[A-Z0-9]{2})_(?P<PRODUCT_TYPE>[A-Z]{3})(?P<RESOLUTION>[FHM_])_"
        r"(?P<PROCESSING_LEVEL>\d)(?P<PRODUCT_CLASS>[A-Z])(?P<POLARISATION>[A-Z]{2})_"
        r"(?P<DATE>(?P<YEAR>\d{4})(?P<MONTH>\d\d)(?P<DAY>\d\d))T(?P<TIME>(?P<HOUR>\d\d)(?P<MINUTE>\d\d)(?P<SECOND>\d\d))_"
        r"\d{8}T\d{6}_(?P<ORBIT>\d{6})_(?P<MISSION>[0-9A-F]{6})(?:_(?P<UNIQUE_ID>[0-9A-F]{4}))?"
    ),
    Constellation.SENTINEL2: re.compile(
        r"(?P<MISSION_ID>S2(?P<MISSION_VERSION>[A-D]))_MSI(?P<PRODUCT_LEVEL>L\d[A-C])_"
        r"(?P<DATE>(?P<YEAR>\d{4})(?P<MONTH>\d\d)(?P<DAY>\d\d))T(?P<TIME>(?P<HOUR>\d\d)(?P<MINUTE>\d\d)(?P<SECOND>\d\d))_"
        r"N(?P<PDGS>\d{4})_R(?P<ORBIT>\d{3})_(?P<TILE>T(?P<LATITUDE_BAND>\d{2})(?P<GRID_SQUARE>[A-Z])(?P<GRANULE_ID>[A-Z]{2}))_"
        r"(?P<PRODUCT_DISC>\d{8}T\d{6})"
    ),
    Constellation.LANDSAT: re.compile(
        r"L(?P<SENSOR>[COT])(?P<SATELLITE>0[89])_(?P<LEVEL>L\w{3})_(?P<PATH>\d{3})(?P<ROW>\d{3})_"
        r"(?P<DATE>(?P<YEAR>\d{4})(?P<MONTH>\d\d)(?P<DAY>\d\d))_(?P<PROCESSED>\d{8})_(?P<COLLECTION_NUMBER>\d\d)_(?P<TIER>[A-Z0-9]{2})"
    ),
    Constellation.PHR: re.compile(r"DS_(?P<MISSION_ID>PHR\w\w)_(?P<DATE>(?P<YEAR>\d{4})(?P<MONTH>\d\d)(?P<DAY>\d\d)(?P<TIME>\d{6}))"),
    Constellation.SPOT: re.compile(r"DS_(?P<MISSION_ID>SPOT\d)_(?P<DATE>(?P<YEAR>\d{4})(?P<MONTH>\d\d)(?P<DAY>\d\d)(?P<TIME>\d{6}))"),
}


@dataclass(frozen=True)
class ProductName:
    """A product name and its parts, keyed as the `{PART}` patterns of `annotations_urls` and provider paths name them."""

    text: str
    constellation: Constellation
    parts: dict[str, str]

    @property
    def satellite(self) -> str:
        """The `satellite` tag: SENTINEL1A, SENTINEL2B, LANDSAT08; PHR1A, SPOT7."""
        match self.constellation:
            case Constellation.SENTINEL1 | Constellation.SENTINEL2:
                return self.constellation + self.parts["MISSION_VERSION"]
            case Constellation.LANDSAT:
                return self.constellation + self.parts["SATELLITE"]
            case _:
                return self.parts["MISSION_ID"]

    @property
    def sensing_start(self) -> datetime:
        """To the second (UTC); to the day for Landsat."""
        parts = self.parts
        time = parts.get("TIME", "000000")
        return datetime.strptime(parts["YEAR"] + parts["MONTH"] + parts["DAY"] + time, "%Y%m%d%H%M%S").replace(tzinfo=UTC)

    def fill(self, pattern: str, **more: str) -> str:
        """`pattern` with every `{PART}` replaced; raises ValueError naming one that this product does not have."""
        values = {"SCENE": self.text, **self.parts, **more}

        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise ValueError(f"'{{{match[1]}}}' is not known for {self.text}; known are {', '.join(sorted(values))}")
            return values[match[1]]

        return re.sub(r"\{([A-Z_]+)\}", value, pattern)


def parse_product_name(text: str) -> ProductName:
    """The parts of a product name, with or without an extension such as `.SAFE`; raises ValueError."""
    name = text.split(".")[0]
    constellation = constellation_of(name)
    match = _FIELDS[constellation].match(name)
    if match is None:
        raise ValueError(f"'{name[:100]}' is not the name of a {constellation} product")
    parts = {key: value for key, value in match.groupdict().items() if value is not None}
    if constellation is Constellation.LANDSAT:
        parts["MISSION_ID"] = "L" + parts["SATELLITE"]
        parts["COLLECTION"] = {"C": "oli-tirs", "O": "oli", "T": "tirs"}[parts["SENSOR"]]
    return ProductName(name, constellation, parts)
