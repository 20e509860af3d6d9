"""Areas on the ellipsoid, and how much of an area of interest a scene covers."""

from __future__ import annotations

from collections.abc import Iterable

import shapely
from pyproj import Geod
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from common.geometry import as_multipolygon, split_at_antimeridian

_WGS84 = Geod(ellps="WGS84")
_EDGE_DEG = 0.1


def area_m2(geometry: BaseGeometry) -> float:
    """Geodesic area of the polygons of `geometry` (EPSG:4326) on the WGS 84 ellipsoid, in square metres.

    Edges are straight in longitude and latitude, as GeoJSON has them: they are cut into pieces so short that geodesics follow them.
    """
    polygons = as_multipolygon(shapely.segmentize(geometry, _EDGE_DEG)).geoms
    return sum(abs(_WGS84.geometry_area_perimeter(orient(polygon))[0]) for polygon in polygons)


def overlap_percent(footprints: BaseGeometry | Iterable[BaseGeometry], area: BaseGeometry) -> float:
    """Percentage of `area` that lies under the footprints together: geodesic area of their intersection over that of `area`.

    100 means that the area is wholly covered. All in EPSG:4326; footprints may cross the antimeridian.
    """
    parts = [footprints] if isinstance(footprints, BaseGeometry) else list(footprints)
    covered = shapely.union_all([_valid(split_at_antimeridian(part)) for part in parts])
    whole = area_m2(area)
    return 100 * min(area_m2(covered.intersection(area)) / whole, 1.0) if whole else 0.0


def _valid(geometry: BaseGeometry) -> BaseGeometry:
    """Footprints of old products are sometimes crossed; for a percentage a repair is good enough."""
    return geometry if geometry.is_valid else shapely.make_valid(geometry)
