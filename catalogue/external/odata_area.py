"""The area of an OData query, as text: polygons that cover it and are short enough for the URL.

A simplified area covers the whole of the given one; what it finds too much is dropped by the inventory, which knows the exact area.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import accumulate

import shapely
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from catalogue.external.odata_filter import encoded
from common.geometry import as_multipolygon, simplified

_DIGITS = 9
"""Of degrees: an area that is written with no more of them is sent as it is."""
_WORLD = box(-180, -90, 180, 90)


def area_condition(area: MultiPolygon, *, room: int, max_vertices: int) -> str:
    """That a product's footprint meets `area` (EPSG:4326, within ±180° and ±90°).

    At most `room` characters in the URL, unless not even its box, or two of them on either side of the antimeridian, fits.
    """
    text = ""
    for candidate in _candidates(area, max_vertices):
        text = _condition(candidate)
        if len(encoded(text)) <= room:
            break
    return text


def _candidates(area: MultiPolygon, max_vertices: int) -> Iterator[MultiPolygon]:
    """Areas that cover `area`, from the exact one to its boxes."""
    if int(shapely.get_num_coordinates(area)) <= max_vertices:
        if _is_short(area):
            yield area
        yield _outward(area, 6)
    halves = _halves(area)
    vertices = max_vertices // len(halves)
    while vertices >= 8:
        # From the last one on: the whole outline may take seconds.
        halves = [_outward(simplified(half, vertices).intersection(half.envelope), 4) for half in halves]
        yield MultiPolygon([polygon for half in halves for polygon in half.geoms])
        vertices //= 2
    yield MultiPolygon([polygon for half in halves for polygon in _outward(half.envelope, 2).geoms])


def _halves(area: MultiPolygon) -> list[MultiPolygon]:
    """The parts east and west of the widest gap where `area` spans more than half the globe: mostly it lies at the antimeridian, and what
    covers all of it together would reach around the globe.
    """
    west, _, east, _ = area.bounds
    if east - west <= 180:
        return [area]
    ordered = sorted(area.geoms, key=lambda part: part.bounds[0])
    reach = accumulate((part.bounds[2] for part in ordered), max)
    gaps = [after.bounds[0] - before for before, after in zip(reach, ordered[1:], strict=False)]
    if not gaps or max(gaps) <= 0:
        return [area]
    cut = gaps.index(max(gaps)) + 1
    return [MultiPolygon(ordered[:cut]), MultiPolygon(ordered[cut:])]


def _is_short(area: MultiPolygon) -> bool:
    text = shapely.to_wkt(area, rounding_precision=_DIGITS, trim=True)
    return "e" not in text and bool(shapely.from_wkt(text).equals_exact(area, 0.0))


def _outward(area: BaseGeometry, digits: int) -> MultiPolygon:
    """A valid area with coordinates of `digits` decimals that covers `area`: grown by more than rounding moves a point."""
    grid = 10.0**-digits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grown = shapely.set_precision(area.buffer(2 * grid, quad_segs=1, join_style="mitre"), grid)
    return as_multipolygon(grown.intersection(_WORLD))


def _condition(area: MultiPolygon) -> str:
    """One condition a polygon: the services do not promise to understand a MULTIPOLYGON."""
    polygons = [f"OData.CSC.Intersects(area=geography'SRID=4326;{_wkt(polygon)}')" for polygon in area.geoms]
    return polygons[0] if len(polygons) == 1 else f"({' or '.join(polygons)})"


def _wkt(polygon: Polygon) -> str:
    return shapely.to_wkt(polygon, rounding_precision=_DIGITS, trim=True).replace(", ", ",").replace("POLYGON (", "POLYGON(")
