"""Cutting rasters to an area: the area on the grid of a raster, and the window of whole pixels that holds it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import Transformer
from rasterio.windows import Window
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from common.errors import FatalError
from common.geometry import as_multipolygon
from processor.rasters import apply, footprint

_STEP_DEG = 0.01
"""Longest edge of the area before it is projected, so that its sides follow the curves they are on the ground."""

_MARGIN_DEG = 0.05
"""Beyond the raster's footprint nothing of the area matters, and far from it projections break down."""


def read_area(path: Path) -> BaseGeometry:
    """The geometry (EPSG:4326) of a GeoJSON file; raises FatalError."""
    try:
        area: BaseGeometry = shape(json.loads(path.read_text()))
    except (OSError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        raise FatalError(f"the area in {path.name} cannot be read: {error}") from None
    return area


def area_on_grid(area: BaseGeometry, raster: Any) -> BaseGeometry:
    """`area` (EPSG:4326) in the CRS of an open raster; raises FatalError where they do not meet."""
    if raster.crs is None:
        raise FatalError("the raster has no CRS: it cannot be cut to an area")
    near = as_multipolygon(shapely.intersection(area, footprint(raster).buffer(_MARGIN_DEG)))
    if not near.is_empty:
        transformer = Transformer.from_crs("EPSG:4326", raster.crs, always_xy=True)
        dense = shapely.segmentize(near, _STEP_DEG)
        outline: BaseGeometry = shapely.transform(dense, lambda points: np.column_stack(transformer.transform(*points.T)))
        if window_or_none(outline, raster) is not None:
            return outline
    raise FatalError("the area to cut to does not meet the product")


def window_of(outline: BaseGeometry, raster: Any) -> Window:
    """The smallest window of whole pixels of `raster` that holds what of `outline` (CRS of the raster) lies in it."""
    window = window_or_none(outline, raster)
    if window is None:
        raise FatalError("the area to cut to does not meet the product")
    return window


def window_or_none(outline: BaseGeometry, raster: Any) -> Window | None:
    """As `window_of`, None where the bounds do not meet."""
    columns, rows = apply(~raster.transform, *shapely.get_coordinates(outline).T)
    left, right = max(0, math.floor(columns.min())), min(raster.width, math.ceil(columns.max()))
    top, bottom = max(0, math.floor(rows.min())), min(raster.height, math.ceil(rows.max()))
    if left >= right or top >= bottom:
        return None
    return Window(left, top, right - left, bottom - top)
