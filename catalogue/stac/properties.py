"""The properties of an item: how each follows from the tags of its record, in an item and in a query alike.

Tags keep their own names behind `tag:`; those the STAC extensions know have theirs besides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from common.errors import UserError

TAG = "tag:"
"""What stands before the name of a tag."""

_TAG_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_NUMBER = r"^[-+]?\d{1,15}(\.\d{0,15})?([eE][-+]?\d{1,2})?$"
_LETTERS_DIGITS = r"^([a-z]+)0*([1-9][0-9]*[a-z]?)$"


class Kind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    TIME = "time"


@dataclass(frozen=True)
class Property:
    """A property that can be asked for: an SQL expression over `stac_item i` and `record r`."""

    name: str
    kind: Kind
    sql: str
    description: str
    is_column: bool = False
    """It stands in `stac_item` and is never null."""

    @property
    def schema(self) -> dict[str, Any]:
        """As the queryables tell it."""
        shape: dict[str, Any] = {"title": self.description}
        match self.kind:
            case Kind.NUMBER:
                return {**shape, "type": "number"}
            case Kind.TIME:
                return {**shape, "type": "string", "format": "date-time"}
            case _:
                return {**shape, "type": "string"}


@dataclass(frozen=True)
class _FromTag:
    """A property that a tag gives; the value of the tag is the text `sql` reads."""

    tag: str
    kind: Kind
    description: str
    sql: str
    read: Callable[[str], str | float | int | None]


def hyphenated(text: str) -> str:
    """`SENTINEL2A` as `sentinel-2a`, `LANDSAT08` as `landsat-8`: the words STAC uses."""
    return re.sub(_LETTERS_DIGITS, r"\1-\2", text.lower())


def number_in(text: str) -> float | None:
    """The number a tag holds; None where it holds none."""
    return float(text) if re.fullmatch(_NUMBER.strip("^$"), text) else None


def _whole_in(text: str) -> int | None:
    number = number_in(text)
    return int(number) if number is not None and number.is_integer() and number >= 0 else None


def _orbit_state(text: str) -> str | None:
    return text.lower() if text.lower() in ("ascending", "descending") else None


def _cloud_cover(text: str) -> float | None:
    number = number_in(text)
    return number if number is not None and 0 <= number <= 100 else None


def _tag_sql(tag: str) -> str:
    assert _TAG_NAME.fullmatch(tag)
    return f"(r.tags ->> '{tag}')"


def _number_sql(text: str) -> str:
    """Of a text expression: null where it is no number."""
    return f"(CASE WHEN {text} ~ '{_NUMBER}' THEN {text}::double precision END)"


def _hyphenated_sql(tag: str) -> str:
    return f"regexp_replace(lower({_tag_sql(tag)}), '{_LETTERS_DIGITS}', '\\1-\\2')"


_FROM_TAGS: dict[str, _FromTag] = {
    "constellation": _FromTag("constellation", Kind.TEXT, "Constellation", _hyphenated_sql("constellation"), hyphenated),
    "platform": _FromTag("satellite", Kind.TEXT, "Satellite", _hyphenated_sql("satellite"), hyphenated),
    "eo:cloud_cover": _FromTag(
        "cloudCoverPercentage", Kind.NUMBER, "Cloud cover, percent", _number_sql(_tag_sql("cloudCoverPercentage")), _cloud_cover
    ),
    "sat:orbit_state": _FromTag(
        "orbitDirection", Kind.TEXT, "Direction of the orbit", f"lower({_tag_sql('orbitDirection')})", _orbit_state
    ),
    "sat:relative_orbit": _FromTag("relativeOrbit", Kind.NUMBER, "Relative orbit", _number_sql(_tag_sql("relativeOrbit")), _whole_in),
    "sat:absolute_orbit": _FromTag("orbit", Kind.NUMBER, "Absolute orbit", _number_sql(_tag_sql("orbit")), _whole_in),
    "view:sun_elevation": _FromTag(
        "sunElevation", Kind.NUMBER, "Elevation of the sun, degrees", _number_sql(_tag_sql("sunElevation")), number_in
    ),
    "view:sun_azimuth": _FromTag("sunAzimuth", Kind.NUMBER, "Azimuth of the sun, degrees", _number_sql(_tag_sql("sunAzimuth")), number_in),
    "view:incidence_angle": _FromTag(
        "incidenceAngle", Kind.NUMBER, "Incidence angle, degrees", _number_sql(_tag_sql("incidenceAngle")), number_in
    ),
}
_LIMITS = {"view:sun_elevation": (-90, 90), "view:sun_azimuth": (0, 360), "view:incidence_angle": (0, 90)}

PROPERTIES: dict[str, Property] = {
    **{
        name: Property(name, kind, sql, description, is_column=True)
        for name, kind, sql, description in (
            ("id", Kind.TEXT, "i.id", "Id of the item"),
            ("collection", Kind.TEXT, "i.aoi", "Collection: the AOI"),
            ("datetime", Kind.TIME, "i.datetime", "Time of acquisition"),
            ("created", Kind.TIME, "i.created", "When its first layer was indexed"),
            ("updated", Kind.TIME, "i.updated", "When its last layer was indexed"),
        )
    },
    **{name: Property(name, given.kind, given.sql, given.description) for name, given in _FROM_TAGS.items()},
}
"""By name; tags are made as they are asked for."""


def property_of(name: str, field: str) -> Property:
    """The property of this name, with or without `properties.` before it; a plain name that is none of them is a tag.

    Raises UserError naming `field`.
    """
    plain = name.removeprefix("properties.")
    if plain in PROPERTIES:
        return PROPERTIES[plain]
    tag = plain.removeprefix(TAG)
    if not _TAG_NAME.fullmatch(tag):
        raise UserError(f"there is no property '{name[:80]}'; /stac/queryables lists them, and {TAG}NAME is a tag", field=field)
    return Property(f"{TAG}{tag}", Kind.TEXT, _tag_sql(tag), f"Tag {tag} of the record")


def as_number(found: Property) -> str:
    """SQL of a property to be compared with a number: of a tag the number it holds."""
    return _number_sql(found.sql) if found.name.startswith(TAG) else found.sql


def tag_of(found: Property) -> str:
    """The tag behind a property that is a plain tag; empty for others."""
    return found.name.removeprefix(TAG) if found.name.startswith(TAG) else ""


def properties_of(tags: Mapping[str, str]) -> dict[str, Any]:
    """The properties that tags give: those of the extensions, and every tag under its own name."""
    found: dict[str, Any] = {}
    for name, given in _FROM_TAGS.items():
        value = given.read(tags.get(given.tag, ""))
        low, high = _LIMITS.get(name, (None, None))
        if value in (None, "") or (low is not None and high is not None and not low <= float(str(value)) <= high):
            continue
        found[name] = value
    found.update({f"{TAG}{tag}": value for tag, value in sorted(tags.items()) if value})
    return found
