"""A map of scenes and tiles over an area of interest, as a PNG: outlines on a graticule, coloured by date."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import shapely
from PIL import Image, ImageDraw, ImageFont
from shapely.affinity import translate
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from common.features import SceneCollection
from common.geometry import as_multipolygon, split_at_antimeridian
from thresher.tables import place_of

_MAX_WIDTH, _MAX_HEIGHT = 1400, 1400
_MIN_SIDE = 300
_MARGIN = 60
_LEGEND = 300
_PAPER, _INK, _FAINT, _AREA = (250, 250, 248), (40, 44, 52), (214, 216, 220), (230, 90, 30)
_DATES = ((31, 119, 180), (44, 160, 44), (148, 103, 189), (140, 86, 75), (23, 190, 207), (188, 189, 34), (227, 119, 194), (90, 90, 90))


@dataclass(frozen=True)
class _Shape:
    """Something to outline."""

    day: date
    footprint: BaseGeometry
    name: str
    is_tile: bool


@dataclass(frozen=True)
class _Frame:
    """Equirectangular, true to scale at the middle latitude. `west`, `north` in degrees."""

    west: float
    north: float
    pixels_per_degree: float
    squeeze: float
    width: int
    height: int

    def pixel(self, longitude: float, latitude: float) -> tuple[float, float]:
        return (
            _MARGIN + (longitude - self.west) * self.pixels_per_degree * self.squeeze,
            _MARGIN + (self.north - latitude) * self.pixels_per_degree,
        )


def draw_map(collection: SceneCollection, area: BaseGeometry, path: Path) -> None:
    """Write the map of `collection` over `area` (EPSG:4326) to `path`."""
    shapes = list(_shapes(collection))
    shift = _spans_antimeridian([area, *(shape.footprint for shape in shapes)])
    shapes = [replace(shape, footprint=_shifted(shape.footprint, shift=shift)) for shape in shapes]
    area = _shifted(area, shift=shift)
    has_tiles = any(shape.is_tile for shape in shapes)
    frame = _frame([area, *(shape.footprint for shape in shapes if shape.is_tile is has_tiles)])
    days = Counter(scene.data.date.date() for scene in collection.scenes)
    colours = {day: _DATES[index % len(_DATES)] for index, day in enumerate(sorted(days))}

    image = Image.new("RGB", (frame.width + _LEGEND, frame.height), _PAPER)
    draw = ImageDraw.Draw(image, "RGBA")
    _graticule(draw, frame)
    for shape in shapes:
        _outline(draw, frame, shape.footprint, colours[shape.day], fill_alpha=12, width=1 if shape.is_tile else 2)
    _outline(draw, frame, area, _AREA, fill_alpha=50, width=3)
    names = {shape.name: shape.footprint.centroid for shape in shapes if shape.is_tile is has_tiles}
    for name, place in names.items():
        _label(draw, frame.pixel(place.x, place.y), name)
    draw.rectangle((frame.width, 0, frame.width + _LEGEND, frame.height), fill=_PAPER)
    entries = [(colours[day], f"{day}  {days[day]} scene{'s' * (days[day] > 1)}") for day in sorted(days)]
    _legend(draw, frame, [(_AREA, "area of interest"), *entries])
    image.save(path, format="PNG")


def _shapes(collection: SceneCollection) -> Iterator[_Shape]:
    """The footprints of scenes and of those tiles that are not the whole scene."""
    for scene in collection.scenes:
        day = scene.data.date.date()
        yield _Shape(day, split_at_antimeridian(scene.footprint()), place_of(scene), is_tile=False)
        for tile in scene.tiles:
            if tile.wkt != scene.wkt:
                yield _Shape(day, split_at_antimeridian(tile.footprint()), tile.source_id, is_tile=True)


def _frame(focus: Sequence[BaseGeometry]) -> _Frame:
    west, south, east, north = shapely.total_bounds(list(focus))
    pad = 0.04 * max(east - west, north - south, 0.01)
    west, south, east, north = west - pad, max(south - pad, -90), east + pad, min(north + pad, 90)
    squeeze = max(math.cos(math.radians((south + north) / 2)), 0.05)
    scale = min((_MAX_WIDTH - 2 * _MARGIN) / ((east - west) * squeeze), (_MAX_HEIGHT - 2 * _MARGIN) / (north - south))
    width, height = (max(round(side * scale) + 2 * _MARGIN, _MIN_SIDE) for side in ((east - west) * squeeze, north - south))
    return _Frame(west, north, scale, squeeze, width, height)


def _graticule(draw: ImageDraw.ImageDraw, frame: _Frame) -> None:
    east = frame.west + (frame.width - 2 * _MARGIN) / (frame.pixels_per_degree * frame.squeeze)
    south = frame.north - (frame.height - 2 * _MARGIN) / frame.pixels_per_degree
    step = next((step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if (frame.north - south) / step <= 8), 30)
    for longitude in _multiples(frame.west, east, step):
        x, _ = frame.pixel(longitude, 0)
        draw.line((x, 0, x, frame.height), fill=_FAINT)
        wrapped = (longitude + 180) % 360 - 180
        draw.text((x + 3, frame.height - 18), f"{abs(wrapped):g}°{'W' if wrapped < 0 else 'E'}", fill=_INK, font=_font(12))
    for latitude in _multiples(south, frame.north, step):
        _, y = frame.pixel(0, latitude)
        draw.line((0, y, frame.width, y), fill=_FAINT)
        draw.text((4, y + 2), f"{abs(latitude):g}°{'S' if latitude < 0 else 'N'}", fill=_INK, font=_font(12))


def _outline(
    draw: ImageDraw.ImageDraw, frame: _Frame, geometry: BaseGeometry, colour: tuple[int, int, int], *, fill_alpha: int, width: int
) -> None:
    for polygon in as_multipolygon(geometry).geoms:
        for index, ring in enumerate(_rings(polygon)):
            pixels = [frame.pixel(longitude, latitude) for longitude, latitude in ring]
            if index == 0:
                draw.polygon(pixels, fill=(*colour, fill_alpha))
            draw.line(pixels, fill=(*colour, 255), width=width, joint="curve")


def _rings(polygon: Polygon) -> Iterator[list[tuple[float, float]]]:
    for ring in (polygon.exterior, *polygon.interiors):
        yield [(position[0], position[1]) for position in ring.coords]


def _label(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str) -> None:
    draw.text(place, text, fill=_INK, font=_font(12), anchor="mm", stroke_width=2, stroke_fill=_PAPER)


def _legend(draw: ImageDraw.ImageDraw, frame: _Frame, entries: Sequence[tuple[tuple[int, int, int], str]]) -> None:
    room = (frame.height - 2 * _MARGIN) // 22
    for index, (colour, text) in enumerate(entries[:room]):
        y = _MARGIN + 22 * index
        draw.rectangle((frame.width + 16, y, frame.width + 32, y + 12), fill=colour)
        draw.text((frame.width + 40, y - 2), text, fill=_INK, font=_font(13))
    if len(entries) > room:
        draw.text((frame.width + 40, _MARGIN + 22 * room), f"and {len(entries) - room} more", fill=_INK, font=_font(13))


def _multiples(low: float, high: float, step: float) -> Iterator[float]:
    first = math.ceil(low / step)
    for index in range(first, math.floor(high / step) + 1):
        yield round(index * step, 6)


def _spans_antimeridian(geometries: Sequence[BaseGeometry]) -> bool:
    """Whether there is something at both ends of the map and nothing in its middle."""
    west, _, east, _ = shapely.total_bounds(list(geometries))
    return west < -170 and east > 170 and not any(geometry.intersects(shapely.box(-60, -90, 60, 90)) for geometry in geometries)


def _shifted(geometry: BaseGeometry, *, shift: bool) -> BaseGeometry:
    """With `shift`, longitudes run from 0 to 360."""
    if not shift:
        return geometry
    return shapely.union_all([translate(part, 360) if part.bounds[2] <= 0 else part for part in as_multipolygon(geometry).geoms])


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
