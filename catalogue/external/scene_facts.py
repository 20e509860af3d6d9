"""What answers of every kind say of a scene in the same words: its footprint, a usable name, its relative orbit and polarisations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import shapely
from pydantic import JsonValue
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, shape
from shapely.geometry.base import BaseGeometry

from catalogue.external.stac_item import BadItemError
from common.geometry import as_multipolygon, split_at_antimeridian
from common.product_names import Constellation, ProductName, parse_product_name

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,254}")
"""It becomes part of paths in storage."""
_S1_TRACK_OFFSET = {"A": 73, "B": 27}
"""Relative orbit = (absolute orbit - offset) mod 175 + 1 (Sentinel-1 Product Definition)."""


def footprint_of(geometry: JsonValue) -> BaseGeometry:
    """The polygons of a GeoJSON geometry in two dimensions (EPSG:4326), cut at the antimeridian, self-crossings resolved.

    Raises BadItemError.
    """
    if not isinstance(geometry, dict) or not geometry:
        raise BadItemError("it has no geometry")
    try:
        if not _is_finite(geometry.get("coordinates", geometry.get("geometries"))):
            raise BadItemError("its geometry is not finite")
        raw = shapely.force_2d(shape(geometry))
        if raw.is_empty:
            raise BadItemError("its geometry is empty")
        footprint = split_at_antimeridian(raw)
        if not footprint.is_valid:
            footprint = shapely.make_valid(footprint)
    except (ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise error if isinstance(error, BadItemError) else BadItemError(f"its geometry cannot be read: {error}") from None
    polygons = as_multipolygon(footprint)
    if polygons.is_empty or not polygons.area:
        raise BadItemError(f"its geometry is a {raw.geom_type}, not an area")
    west, south, east, north = polygons.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise BadItemError("its geometry lies outside of longitude and latitude")
    return polygons.geoms[0] if isinstance(polygons, MultiPolygon) and len(polygons.geoms) == 1 else polygons


def footprint_text(footprint: BaseGeometry) -> str:
    """The WKT a scene carries."""
    return shapely.to_wkt(footprint, rounding_precision=9, trim=True)


def is_usable_name(text: str) -> bool:
    """Whether a product of this name can be kept in storage."""
    return _SAFE_NAME.fullmatch(text) is not None


def product_name(source_id: str) -> ProductName | None:
    """The parts of a product's name; None for a name that follows no convention we know."""
    try:
        return parse_product_name(source_id)
    except ValueError:
        return None


def relative_orbit_of(name: ProductName) -> str:
    """As the name says it (Sentinel-2) or as it follows from the absolute orbit (Sentinel-1A and B); else empty."""
    if name.constellation is Constellation.SENTINEL2:
        return str(int(name.parts["ORBIT"]))
    offset = _S1_TRACK_OFFSET.get(name.parts.get("MISSION_VERSION", ""))
    if name.constellation is Constellation.SENTINEL1 and offset is not None:
        return str((int(name.parts["ORBIT"]) - offset) % 175 + 1)
    return ""


def polarisation_mode(polarisations: Iterable[str]) -> str:
    """`VV VH`: the co-polarised first."""
    return " ".join(sorted({text.upper() for text in polarisations}, key=lambda pair: (pair[:1] != pair[1:], pair)))


def _is_finite(value: JsonValue) -> bool:
    """Whether all numbers in nested lists are finite; GEOS would warn of others and go on."""
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
