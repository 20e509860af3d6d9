"""Geometry of areas and footprints: longitude and latitude in degrees (EPSG:4326), split at the antimeridian.

Reads GeoJSON and WKT strictly: what is invalid is refused with the reason, never repaired in silence.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import antimeridian
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.validation import explain_validity

from common.errors import UserError

Geometries = NDArray[np.object_]
"""One-dimensional, of shapely geometries."""

MAX_VERTICES = 200_000
"""More than any country's border at 1:1M; beyond it a request is more likely a mistake or an attack."""

_AREAS = ("Polygon", "MultiPolygon")
_WKT_OF_AREA = re.compile(r"\s*(MULTI)?POLYGON\b", re.IGNORECASE)


def area_of_geojson(document: dict[str, Any]) -> MultiPolygon:
    """The area of a GeoJSON Feature, FeatureCollection or geometry, as valid polygons within ±180° and ±90°.

    Raises UserError naming the member (`geometry`, `features.2.geometry`, `coordinates`).
    """
    polygons: list[Polygon] = []
    for where, geometry in _geometries(document):
        polygons.extend(_polygons(geometry, where))
    vertices = sum(shapely.get_num_coordinates(polygon) for polygon in polygons)
    field = "geometry" if document.get("type") != "FeatureCollection" else "features"
    if not polygons:
        raise UserError("there is no polygon in it", field=field)
    if vertices > MAX_VERTICES:
        raise UserError(f"{vertices} vertices are more than the {MAX_VERTICES} allowed; simplify the outline", field=field)
    try:
        merged = shapely.union_all(polygons) if len(polygons) > 1 else polygons[0]
    except ShapelyError as error:
        raise UserError(f"its polygons cannot be united: {error}", field=field) from None
    area = as_multipolygon(merged)
    if area.is_empty or area.area == 0:
        raise UserError("the area is empty", field=field)
    return area


def footprint_from_wkt(text: str) -> BaseGeometry:
    """The polygon or polygons of a WKT, in degrees (EPSG:4326); raises UserError."""
    geometry: BaseGeometry = footprints_from_wkt([text])[0]
    return geometry


def footprints_from_wkt(texts: Sequence[str]) -> Geometries:
    """The footprints of many WKTs as one array, in degrees (EPSG:4326): far cheaper than one after the other. Raises UserError for the
    first that is none, without saying which.
    """
    # Other kinds are not even parsed: the parser follows collections of collections until its stack ends, and the process with it.
    for text in texts:
        if not _WKT_OF_AREA.match(text):
            raise UserError(f"{text[:40]!r} is not the WKT of a POLYGON or MULTIPOLYGON", field="wkt")
    try:
        with np.errstate(all="ignore"):
            geometries: Geometries = shapely.force_2d(shapely.from_wkt(np.array(texts, dtype=object)))
    except ShapelyError as error:
        raise UserError(f"not a WKT geometry: {error}", field="wkt") from None
    if shapely.is_empty(geometries).any():
        raise UserError("the geometry is empty", field="wkt")
    coordinates = shapely.get_coordinates(geometries)
    if not np.isfinite(coordinates).all():
        raise UserError("coordinates must be finite numbers", field="wkt")
    if (np.abs(coordinates) > (180, 90)).any():
        raise UserError("a position is outside of longitude -180..180 or latitude -90..90", field="wkt")
    return geometries


def check_footprints(texts: Mapping[str, str]) -> None:
    """Raises UserError unless each WKT is a valid footprint of a sane size, naming the field of the first that is not (the key)."""
    try:
        footprints = footprints_from_wkt(list(texts.values()))
        faultless = bool((shapely.get_num_coordinates(footprints) <= MAX_VERTICES).all() and shapely.is_valid(footprints).all())
    except UserError:
        faultless = False
    if not faultless:
        for field, text in texts.items():
            _check_footprint(text, field)


def _check_footprint(text: str, field: str) -> None:
    try:
        footprint = footprint_from_wkt(text)
    except UserError as error:
        raise UserError(error.detail, field=field) from None
    if (vertices := shapely.get_num_coordinates(footprint)) > MAX_VERTICES:
        raise UserError(f"{vertices} vertices are more than the {MAX_VERTICES} allowed", field=field)
    if not footprint.is_valid:
        raise UserError(f"the polygon is not valid: {explain_validity(footprint)}", field=field)


def as_multipolygon(geometry: BaseGeometry) -> MultiPolygon:
    """The polygons of `geometry`; lines and points, as an intersection may leave, are dropped."""
    return MultiPolygon([part for part in _parts(geometry) if isinstance(part, Polygon) and not part.is_empty])


def simplified(area: BaseGeometry, max_vertices: int) -> BaseGeometry:
    """An area that covers `area` with at most `max_vertices` vertices, for queries that cannot carry more.

    Buffered by what simplification may cut away, so that nothing is lost; at worst its envelope. Degrees.
    """
    if shapely.get_num_coordinates(area) <= max_vertices:
        return area
    tolerance = max(area.bounds[2] - area.bounds[0], area.bounds[3] - area.bounds[1]) / 1000
    for _ in range(8):
        with np.errstate(all="ignore"):  # a mitre at a needle's point divides by zero; what comes of it is checked below
            candidate = area.buffer(tolerance, quad_segs=1, join_style="mitre").simplify(tolerance * 0.5)
        if candidate.is_valid:
            candidate = candidate.intersection(shapely.box(-180, -90, 180, 90))
            if shapely.get_num_coordinates(candidate) <= max_vertices and candidate.covers(area):
                return candidate
        tolerance *= 2
    return area.envelope


def split_at_antimeridian(geometry: BaseGeometry) -> BaseGeometry:
    """`geometry` cut into parts within ±180° where it crosses the antimeridian; unchanged where it does not."""
    if isinstance(geometry, Polygon | MultiPolygon) and _crosses(geometry):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fixed: BaseGeometry = (
                antimeridian.fix_polygon(geometry) if isinstance(geometry, Polygon) else antimeridian.fix_multi_polygon(geometry)
            )
            return fixed
    return geometry


def _geometries(document: dict[str, Any]) -> Iterator[tuple[str, object]]:
    kind = document.get("type")
    if kind == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list) or not features:
            raise UserError("must be a list of at least one GeoJSON feature", field="features")
        for index, feature in enumerate(features):
            if not isinstance(feature, dict):
                raise UserError("must be a GeoJSON feature", field=f"features.{index}")
            yield f"features.{index}.geometry", feature.get("geometry")
    elif kind == "Feature":
        yield "geometry", document.get("geometry")
    elif kind in _AREAS or kind == "GeometryCollection":
        yield "coordinates" if kind != "GeometryCollection" else "geometries", document
    elif kind is None and isinstance(document.get("geometry"), dict):
        yield "geometry", document["geometry"]
    else:
        raise UserError(f"{_shown(kind)} is not one of Feature, FeatureCollection, Polygon, MultiPolygon", field="type")


def _polygons(geometry: object, where: str) -> list[Polygon]:
    if not isinstance(geometry, dict):
        raise UserError("a GeoJSON geometry is missing here", field=where)
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        members = geometry.get("geometries")
        if not isinstance(members, list):
            raise UserError("must be a list of geometries", field=f"{where}.geometries")
        return [polygon for index, member in enumerate(members) for polygon in _polygons(member, f"{where}.{index}")]
    if kind not in _AREAS:
        raise UserError(f"{_shown(kind)} is not one of Polygon, MultiPolygon: an area is needed", field=where)
    coordinates = geometry.get("coordinates")
    rings = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(rings, list) or not rings:
        raise UserError("coordinates are missing", field=where)
    return [part for index, polygon in enumerate(rings) for part in _polygon(polygon, f"{where}[{index}]" if index else where)]


def _polygon(rings: object, where: str) -> list[Polygon]:
    if not isinstance(rings, list) or not rings:
        raise UserError("a polygon is a list of rings", field=where)
    shell, *holes = [_ring(ring, where) for ring in rings]
    polygon = Polygon(shell, holes)
    if _crosses(polygon):
        # The winding of people's polygons is arbitrary; the library reads a clockwise one as its complement.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                fixed = antimeridian.fix_polygon(polygon, fix_winding=True)
            except (ValueError, ArithmeticError, LookupError, AssertionError, ShapelyError) as error:
                # The library takes for granted what a hostile ring does not hold to.
                raise UserError(f"cannot be split at the antimeridian: {error}".rstrip(": "), field=where) from None
        parts = [part for part in _parts(fixed) if isinstance(part, Polygon)]
    else:
        parts = [polygon]
    for part in parts:
        if not part.is_valid:
            raise UserError(f"the polygon is not valid: {explain_validity(part)}", field=where)
        if (np.abs(shapely.get_coordinates(part)) > (180, 90)).any():
            raise UserError("cannot be split at the antimeridian; post the parts on each side of it", field=where)
    return parts


def _ring(ring: object, where: str) -> list[tuple[float, float]]:
    if not isinstance(ring, list) or len(ring) < 4:
        raise UserError("a ring is a list of at least four positions", field=where)
    if len(ring) > MAX_VERTICES:
        raise UserError(f"more than {MAX_VERTICES} vertices; simplify the outline", field=where)
    positions: list[tuple[float, float]] = []
    for position in ring:
        if not isinstance(position, list | tuple) or not 2 <= len(position) <= 4:
            raise UserError("a position is [longitude, latitude]", field=where)
        longitude, latitude = position[0], position[1]
        for value in (longitude, latitude):
            if isinstance(value, bool) or not isinstance(value, int | float) or not -1e9 < value < 1e9:
                raise UserError(f"{_shown(value)} is not a number of degrees", field=where)
        if not -90 <= latitude <= 90:
            raise UserError(f"latitude {latitude} is outside -90..90 (positions are [longitude, latitude])", field=where)
        if not -360 <= longitude <= 360:
            raise UserError(f"longitude {longitude} is outside -180..180", field=where)
        positions.append((float(longitude), float(latitude)))
    if positions[0] != positions[-1]:
        raise UserError("the ring is not closed: its last position must repeat its first", field=where)
    return positions


def _crosses(geometry: BaseGeometry) -> bool:
    """Whether it leaves ±180° or jumps across it between two vertices (RFC 7946 leaves such polygons to be guessed)."""
    if geometry.bounds[0] < -180 or geometry.bounds[2] > 180:
        return True
    for polygon in _parts(geometry):
        if isinstance(polygon, Polygon):
            longitudes = shapely.get_coordinates(polygon.exterior)[:, 0]
            if bool((abs(longitudes[1:] - longitudes[:-1]) > 180).any()):
                return True
    return False


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _parts(geometry: BaseGeometry) -> Iterable[BaseGeometry]:
    return getattr(geometry, "geoms", None) or [geometry]
