"""The `$filter` of an OData query, as text: conditions on collection, attributes, name and dates.

What a server is asked here may let too much pass, never too little: the answer is filtered again by `SceneFilter`. Sources: OData 4.01 ABNF
for literals; the attributes are those the catalogues of Copernicus and CREODIAS list under `/Attributes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal
from urllib.parse import quote

from catalogue.external.filters import SceneFilter
from common.product_names import Constellation
from common.times import to_utc

_MISSION_START = datetime.fromisoformat("2014-04-01T00:00:00Z")
"""Before the launch of Sentinel-1A, the first of them: nothing is older."""
_MOST_SLICES = 64
_LONGEST_LITERAL = 100
_MOST_LITERALS = 8
_RESOLUTIONS = {("IW", "GRD"): "H", ("EW", "GRD"): "MH", ("IW", "SLC"): "_", ("EW", "SLC"): "_", ("WV", "SLC"): "_"}


@dataclass(frozen=True)
class TimeSlice:
    """A range of acquisition dates, from `start` on, up to `end`."""

    start: datetime
    end: datetime
    closed: bool = True
    """Whether `end` belongs to it; only of the last of several slices, so that they share no product."""

    def halves(self) -> tuple[TimeSlice, TimeSlice] | None:
        """Its two halves; None where it is too short for it."""
        if self.end - self.start < timedelta(seconds=1):
            return None
        middle = self.start + (self.end - self.start) / 2
        return TimeSlice(self.start, middle, closed=False), TimeSlice(middle, self.end, self.closed)


def time_slices(start: datetime, end: datetime, longest: timedelta) -> list[TimeSlice]:
    """[start, end] cut into parts of at most `longest`, or into 64 longer ones; none for a time before the first product."""
    start = max(start, _MISSION_START)
    if end < start:
        return []
    step = max(longest, (end - start) / _MOST_SLICES + timedelta(microseconds=1))
    count = max(1, -(-(end - start) // step))
    borders = [*(start + step * index for index in range(count)), end]
    return [TimeSlice(borders[index], borders[index + 1], closed=index == count - 1) for index in range(count)]


def filter_text(collections: Sequence[str], constellation: Constellation, wanted: SceneFilter, span: TimeSlice, area: str) -> str:
    """The whole `$filter`; `area` is a condition of `odata_area` (empty: anywhere)."""
    where = _either([f"Collection/Name eq {literal(name)}" for name in collections])
    return " and ".join([where, *_during(span), *_conditions(constellation, wanted), *filter(None, [area])])


def literal(text: str) -> str:
    """A string literal: quotes doubled, so that the text cannot end it."""
    return "'" + text.replace("'", "''") + "'"


def encoded(text: str) -> str:
    """`text` as part of a URL's query, with no more percent signs than it needs (RFC 3986, 3.4; `;` and `+` mean other things to some)."""
    return quote(text, safe="/:(),'=$*@!?")


Kind = Literal["String", "Integer", "Double"]


def attribute(kind: Kind, name: str, operator: str, value: str) -> str:
    """That a product has an attribute with such a value; `value` is a literal."""
    typed = f"OData.CSC.{kind}Attribute"
    return f"Attributes/{typed}/any(att:att/Name eq {literal(name)} and att/{typed}/Value {operator} {value})"


def _during(span: TimeSlice) -> Iterator[str]:
    yield f"ContentDate/Start ge {_moment(span.start)}"
    yield f"ContentDate/Start {'le' if span.closed else 'lt'} {_moment(span.end)}"


def _conditions(constellation: Constellation, wanted: SceneFilter) -> Iterator[str]:
    radar = constellation is Constellation.SENTINEL1
    if wanted.product_type is not None:
        yield _radar_product_type(wanted) if radar else attribute("String", "productType", "eq", literal(wanted.product_type))
    if radar and wanted.sensor_mode is not None:
        yield _sensor_mode(wanted.sensor_mode)
    if radar and wanted.polarisations is not None:
        yield _polarisations(wanted.polarisations)
    if wanted.relative_orbit is not None:
        yield attribute("Integer", "relativeOrbitNumber", "eq", str(wanted.relative_orbit))
    # Sentinel-2 products carry no orbit direction: asked for it, the server would drop them all without a word.
    if radar and wanted.orbit_direction is not None:
        yield attribute("String", "orbitDirection", "eq", literal(wanted.orbit_direction))
    if not radar and wanted.cloud_cover is not None:
        yield from _cloud_cover(wanted.cloud_cover.low, wanted.cloud_cover.high)
    if wanted.filename is not None:
        yield from _name(wanted.filename)


def _radar_product_type(wanted: SceneFilter) -> str:
    """`IW_SLC__1S`, or `SLC` as older entries say; by name for the modes whose products have many types."""
    kind = wanted.product_type or ""
    resolutions = _RESOLUTIONS.get((wanted.sensor_mode or "", kind))
    if resolutions is None:
        return f"contains(Name,{literal(f'_{kind}')})"
    types = [kind, *(f"{wanted.sensor_mode}_{kind}{resolution}_1S" for resolution in resolutions)]
    return _either([attribute("String", "productType", "eq", literal(text)) for text in types])


def _sensor_mode(mode: str) -> str:
    """Strip map is one mode in the attributes, and the beam (`S3`) in the names."""
    if re.fullmatch(r"S[1-6]", mode):
        return f"contains(Name,{literal(f'_{mode}_')})"
    return attribute("String", "operationalMode", "eq", literal(mode))


def _polarisations(wanted: frozenset[str]) -> str:
    """`VV&VH`, in whichever order."""
    first, *others = sorted(wanted, key=lambda pair: (pair[:1] != pair[1:], pair))
    spellings = ["&".join([first, *others])]
    if others:
        spellings.append("&".join([*reversed(others), first]))
    return _either([attribute("String", "polarisationChannels", "eq", literal(text)) for text in spellings])


def _cloud_cover(low: float, high: float) -> Iterator[str]:
    """Bounds that exclude nothing are left out."""
    if low > 0:
        yield attribute("Double", "cloudCover", "ge", _number(low))
    if high < 100:
        yield attribute("Double", "cloudCover", "le", _number(high))


def _name(pattern: str) -> Iterator[str]:
    """What a name that matches the pattern must hold: its literal parts. `.SAFE` may or may not follow the name the pattern means."""
    if "*" not in pattern and "?" not in pattern:
        yield f"contains(Name,{literal(pattern[:_LONGEST_LITERAL])})"
        return
    first, *middle, last = re.split(r"[*?]+", pattern)
    if first:
        yield f"startswith(Name,{literal(first[:_LONGEST_LITERAL])})"
    for part in list(dict.fromkeys(filter(None, middle)))[:_MOST_LITERALS]:
        yield f"contains(Name,{literal(part[:_LONGEST_LITERAL])})"
    if last:
        end = last[-_LONGEST_LITERAL:]
        yield _either([f"endswith(Name,{literal(end + suffix)})" for suffix in (".SAFE", "")])


def _either(conditions: list[str]) -> str:
    return conditions[0] if len(conditions) == 1 else f"({' or '.join(conditions)})"


def _moment(moment: datetime) -> str:
    return to_utc(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _number(value: float) -> str:
    """Without an exponent, always with a fraction: a Double, not an Integer."""
    text = format(Decimal(repr(value)), "f")
    return text if "." in text else f"{text}.0"
