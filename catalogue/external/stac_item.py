"""A STAC item as it came, with typed access to its loose fields. What the fields mean for a scene is decided elsewhere.

Reads STAC 1.0 and 1.1 and the older items that public catalogues still serve; pystac would refuse some of them whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pydantic import JsonValue

from common.times import to_utc

Fields = Mapping[str, JsonValue]


class BadItemError(ValueError):
    """The item lacks what a scene needs, or says it in a way that cannot be read."""


def text_of(fields: Fields, *keys: str) -> str:
    """The first of `keys` that is a text or a whole number, as text; empty if there is none."""
    for key in keys:
        value = fields.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def number_of(fields: Fields, *keys: str) -> int | float | None:
    """The first of `keys` that is a finite number, in the type the item gives it."""
    for key in keys:
        value = fields.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return value
    return None


def time_of(fields: Fields, *keys: str) -> datetime | None:
    """The first of `keys` that is a moment (a date is its midnight), in UTC."""
    for key in keys:
        moment = parse_time(text_of(fields, key))
        if moment is not None:
            return moment
    return None


def parse_time(text: str) -> datetime | None:
    try:
        return to_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def maps_of(value: JsonValue) -> list[Fields]:
    """The objects in a list; anything else is left out."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def texts_of(value: JsonValue) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


@dataclass(frozen=True)
class StacAsset:
    """One file of an item."""

    key: str
    href: str
    fields: Fields
    bands: tuple[Fields, ...]
    """`bands` of STAC 1.1 or `eo:bands` of 1.0, those given by number in the item's list looked up."""

    @property
    def media_type(self) -> str:
        return text_of(self.fields, "type")

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(texts_of(self.fields.get("roles")))

    @property
    def is_archive(self) -> bool:
        """Whether it is the whole product in one file."""
        packed = "zip" in self.media_type or self.href.lower().endswith(".zip")
        return packed and not self.roles & {"thumbnail", "overview"}

    def number(self, name: str) -> int | float | None:
        """`scale`, `offset` or `nodata`: from `raster:bands` (raster 1.x), the asset itself or its single band (STAC 1.1).

        None where it is not said; also for a no-data value of NaN, which the files themselves carry.
        """
        layers = [*maps_of(self.fields.get("raster:bands"))[:1], self.fields, *(self.bands if len(self.bands) == 1 else ())]
        for fields in layers:
            value = number_of(fields, f"raster:{name}", name)
            if value is not None:
                return value
        return None

    @property
    def resolution(self) -> float:
        """Metres; infinite if it is not said."""
        raster = maps_of(self.fields.get("raster:bands"))[:1]
        value = number_of(self.fields, "gsd", "raster:spatial_resolution")
        if value is None and raster:
            value = number_of(raster[0], "spatial_resolution")
        return float(value) if value is not None and value > 0 else math.inf


@dataclass(frozen=True)
class StacItem:
    """An item: one product of a catalogue."""

    id: str
    collection: str
    geometry: JsonValue
    properties: Fields
    assets: tuple[StacAsset, ...]
    self_href: str
    """Link to the item itself; empty if it does not say."""

    @classmethod
    def of(cls, document: JsonValue) -> Self:
        """The item of a JSON document; raises BadItemError."""
        if not isinstance(document, dict):
            raise BadItemError("it is not a JSON object")
        identity = text_of(document, "id")
        if not identity:
            raise BadItemError("it has no id")
        properties = document.get("properties")
        if not isinstance(properties, dict):
            raise BadItemError("it has no properties")
        links = [link for link in maps_of(document.get("links")) if link.get("rel") == "self"]
        return cls(
            id=identity,
            collection=text_of(document, "collection"),
            geometry=document.get("geometry"),
            properties=properties,
            assets=_assets(document.get("assets"), properties),
            self_href=text_of(links[0], "href") if links else "",
        )


def _assets(value: JsonValue, properties: Fields) -> tuple[StacAsset, ...]:
    if not isinstance(value, dict):
        return ()
    of_item = properties.get("eo:bands")
    found: list[StacAsset] = []
    for key, fields in value.items():
        href = text_of(fields, "href") if isinstance(fields, dict) else ""
        if isinstance(fields, dict) and href:
            bands = fields.get("bands") or fields.get("eo:bands")
            found.append(StacAsset(key, href, fields, tuple(_bands(bands, of_item))))
    return tuple(found)


def _bands(value: JsonValue, of_item: JsonValue) -> list[Fields]:
    """The band objects; STAC 0.6 gave positions in the item's `eo:bands` instead."""
    if not isinstance(value, list):
        return []
    listed = maps_of(of_item)
    positions = [entry for entry in value if isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < len(listed)]
    return [*maps_of(value), *(listed[position] for position in positions)]
