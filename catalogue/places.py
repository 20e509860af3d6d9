"""Geometries on their way into and out of the database: WKB for the truth, a box for the index."""

from __future__ import annotations

from typing import Any

import asyncpg
import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from common.geometry import Geometries


def bounding_box(geometry: BaseGeometry) -> asyncpg.Box:
    """The envelope, in degrees, as PostgreSQL's `box`."""
    west, south, east, north = geometry.bounds
    return asyncpg.Box((east, north), (west, south))


def bounding_boxes(geometries: Geometries) -> list[asyncpg.Box]:
    """The envelopes of many, in degrees, as PostgreSQL's `box`."""
    return [asyncpg.Box((east, north), (west, south)) for west, south, east, north in shapely.bounds(geometries).tolist()]


def geojson_of(wkb: bytes) -> dict[str, Any]:
    """The GeoJSON geometry of a stored footprint."""
    document: dict[str, Any] = mapping(shapely.from_wkb(wkb))
    return document


def wkt_of(wkb: bytes) -> str:
    """The WKT of a stored footprint, with no more digits than it needs."""
    text: str = shapely.to_wkt(shapely.from_wkb(wkb), rounding_precision=-1)
    return text
