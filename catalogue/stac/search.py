"""What a search asks for: read from the query of a GET or the body of a POST, checked, as values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime as Moment  # noqa: N812 - a field of the search has that name
from typing import Annotated, Any

import shapely
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, field_validator
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, box, shape
from shapely.geometry.base import BaseGeometry

from catalogue.stac.filters import parse_text
from common.errors import UserError
from common.times import to_utc
from common.validation import text_trouble, validated

DEFAULT_LIMIT = 10
MOST_LIMIT = 1000
"""A larger limit is taken for this one."""
_MOST_VERTICES = 20_000
_MOST_NAMES = 1000

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _texts(value: object) -> object:
    if value is None:
        return []
    if isinstance(value, list):
        for text in value:
            if isinstance(text, str) and (trouble := text_trouble(text)) is not None:
                raise ValueError(trouble)
    return value


Names = Annotated[list[Annotated[str, Field(max_length=1000)]], BeforeValidator(_texts), Field(max_length=_MOST_NAMES)]


class SortBy(BaseModel):
    """A key of an order."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    field: str = Field(max_length=200)
    direction: Annotated[str, Field(pattern="^(asc|desc)$")] = "asc"


class Fields(BaseModel):
    """Which parts of an item are wanted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    include: Names = Field(default_factory=list)
    exclude: Names = Field(default_factory=list)


class ItemSearch(BaseModel):
    """A search for items, in the words of the STAC API 1.0.0, its fields, sort and filter extensions."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    collections: Names = Field(default_factory=list)
    ids: Names = Field(default_factory=list)
    bbox: list[float] | None = None
    intersects: dict[str, JsonValue] | None = None
    datetime: str | None = Field(None, max_length=100)
    limit: int = Field(DEFAULT_LIMIT, ge=1)
    sortby: list[SortBy] = Field(default_factory=list, max_length=10)
    fields: Fields | None = None
    filter: JsonValue = None
    filter_lang: str | None = Field(None, alias="filter-lang")
    filter_crs: str | None = Field(None, alias="filter-crs")
    token: str | None = Field(None, max_length=4000)

    @field_validator("limit")
    @classmethod
    def _bounded(cls, value: int) -> int:
        return min(value, MOST_LIMIT)

    @property
    def between(self) -> tuple[Moment | None, Moment | None]:
        """First and last moment that are asked for; raises UserError."""
        return interval(self.datetime) if self.datetime is not None else (None, None)

    def area(self) -> BaseGeometry | None:
        """What the items are to touch, EPSG:4326; raises UserError."""
        if self.bbox is not None and self.intersects is not None:
            raise UserError("give bbox or intersects, not both", field="bbox")
        if self.bbox is not None:
            return area_of_bbox(self.bbox)
        return geometry_of(self.intersects, "intersects") if self.intersects is not None else None

    def filter_document(self) -> JsonValue:
        """The filter as CQL2 JSON; None where there is none. Raises UserError."""
        if self.filter in (None, ""):
            return None
        if self.filter_lang not in (None, "cql2-json", "cql2-text"):
            raise UserError(f"'{str(self.filter_lang)[:40]}' is neither cql2-text nor cql2-json", field="filter-lang")
        if self.filter_crs not in (None, "http://www.opengis.net/def/crs/OGC/1.3/CRS84"):
            raise UserError("only http://www.opengis.net/def/crs/OGC/1.3/CRS84 is known here", field="filter-crs")
        if isinstance(self.filter, str):
            if self.filter_lang == "cql2-json":
                return _json(self.filter, "filter")
            return parse_text(self.filter)
        if self.filter_lang == "cql2-text":
            raise UserError("filter-lang is cql2-text, but the filter is not a text", field="filter")
        return self.filter


@dataclass(frozen=True)
class Asked:
    """A search, and how it was asked: a next page is asked for in the same way."""

    search: ItemSearch
    query: dict[str, str]
    """Of a GET, as it stood in the address."""
    body: dict[str, Any] | None = None
    """Of a POST."""


def search_of_query(query: Mapping[str, str]) -> ItemSearch:
    """The search that the query of a GET asks for; raises UserError."""
    for key, value in query.items():
        if (trouble := text_trouble(value)) is not None:
            raise UserError(trouble, field=key)
    document: dict[str, Any] = {
        key: query[key] for key in ("datetime", "token", "filter", "filter-lang", "filter-crs") if query.get(key, "") != ""
    }
    for key in ("collections", "ids"):
        if query.get(key):
            document[key] = query[key].split(",")
    if query.get("limit"):
        document["limit"] = _whole(query["limit"])
    if "bbox" in query:
        document["bbox"] = numbers_in(query["bbox"])
    if query.get("intersects"):
        document["intersects"] = _json(query["intersects"], "intersects")
    if query.get("sortby"):
        document["sortby"] = [_sort_key(text) for text in query["sortby"].split(",")]
    if "fields" in query:
        names = [name for name in query["fields"].split(",") if name]
        document["fields"] = {
            "include": [name.lstrip("+ ") for name in names if not name.startswith("-")],
            "exclude": [name[1:] for name in names if name.startswith("-")],
        }
    return validated(ItemSearch, document)


def interval(text: str) -> tuple[Moment | None, Moment | None]:
    """First and last moment of a STAC `datetime`: a moment, or two with a slash, `..` or nothing for an open end. Raises UserError."""
    parts = text.split("/")
    if len(parts) > 2:
        raise UserError("is not one moment, nor two with a slash between", field="datetime")
    if len(parts) == 1:
        moment = _moment(text)
        return moment, moment
    first, last = (None if part in ("", "..") else _moment(part) for part in parts)
    if first is None and last is None:
        raise UserError("is open at both ends: leave it out", field="datetime")
    if first is not None and last is not None and first > last:
        raise UserError("ends before it begins", field="datetime")
    return first, last


def area_of_bbox(numbers: list[float]) -> BaseGeometry:
    """The rectangle of four numbers (six: heights are left out), two where it crosses the antimeridian. Raises UserError."""
    if len(numbers) == 6:
        numbers = [*numbers[:2], *numbers[3:5]]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise UserError("is four numbers, or six with heights: west, south, east, north", field="bbox")
    west, south, east, north = numbers
    if south > north:
        raise UserError(f"the south ({south:g}) lies north of the north ({north:g})", field="bbox")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and south >= -90 and north <= 90):
        raise UserError("lies outside of longitude -180 to 180 and latitude -90 to 90", field="bbox")
    if west > east:
        return MultiPolygon([box(west, south, 180, north), box(-180, south, east, north)])
    return box(west, south, east, north)


def geometry_of(document: JsonValue, field: str) -> BaseGeometry:
    """The geometry of GeoJSON in longitude and latitude; raises UserError naming `field`."""
    if not isinstance(document, dict):
        raise UserError("is not a GeoJSON geometry", field=field)
    try:
        geometry: BaseGeometry = shapely.force_2d(shape(document))
        if not geometry.is_valid:
            geometry = shapely.make_valid(geometry)
        bounds = geometry.bounds
    except (ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise UserError(f"is not a GeoJSON geometry: {str(error)[:200] or type(error).__name__}", field=field) from None
    if geometry.is_empty or not all(map(math.isfinite, bounds)):
        raise UserError("is an empty geometry", field=field)
    if bounds[0] < -180 or bounds[1] < -90 or bounds[2] > 180 or bounds[3] > 90:
        raise UserError("lies outside of longitude -180 to 180 and latitude -90 to 90", field=field)
    if shapely.get_num_coordinates(geometry) > _MOST_VERTICES:
        raise UserError(f"has more than {_MOST_VERTICES} vertices", field=field)
    return geometry


def _moment(text: str) -> Moment:
    if not _MOMENT.fullmatch(text):
        raise UserError(f"'{text[:60]}' is not a time of RFC 3339 (2024-05-14T10:00:00Z)", field="datetime")
    try:
        digits = re.sub(r"\.(\d{1,6})\d*", r".\1", text.upper())
        return to_utc(Moment.fromisoformat(digits))
    except (ValueError, OverflowError):
        raise UserError(f"'{text[:60]}' is not a time of RFC 3339 (2024-05-14T10:00:00Z)", field="datetime") from None


def _sort_key(text: str) -> dict[str, str]:
    name = text.strip().lstrip("+").lstrip("-") if text[:1] in "+-" else text.strip()
    return {"field": name, "direction": "desc" if text.startswith("-") else "asc"}


def _json(text: str, field: str) -> JsonValue:
    try:
        document: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError("is not JSON", field=field) from None
    return document


def numbers_in(text: str) -> list[float]:
    """The numbers of a `bbox` in a URL; raises UserError."""
    parts = text.split(",")
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise UserError(f"'{text[:60]}' is not four numbers with commas between", field="bbox") from None


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UserError(f"'{text[:40]}' is not a number of 1 or more", field="limit")
    return int(text)
