"""A map of scenes and tiles over an area of interest, as a PNG: outlines in the colour of their date, on a graticule in degrees."""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from common.features import SceneCollection, SceneFeature
from common.geometry import as_multipolygon, split_at_antimeridian
from thresher.frames import CRS, scenes_frame, tiles_frame
from thresher.tables import place_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_INK, _FAINT, _PAPER, _AREA = "#22262e", "#d5d9df", "#fbfbf9", "#e4572e"
_STYLE: dict[str, Any] = {"font.size": 9, "text.color": _INK, "axes.edgecolor": _INK, "text.parse_math": False}
_FEW_COLOURS = ("#0b6fb8", "#1b9e5a", "#8e44ad", "#8c6d1f", "#12a5b8", "#c2418f")
"""Told apart at a glance, and from the area; more dates than these take their colours from a scale, early to late."""
_MOST_ENTRIES = 12
_MOST_LABELS = 300
_LABEL_SIZES = (9.0, 8.0, 7.0, 6.0, 5.0)
"""Points; of those at which most labels are readable the first."""
_STEP, _MOST_STEPS = 1.9, 6.0
"""From the outline of one date to that of the next at the same place, and from the first to the last: points."""
_DASH = 4.0
"""Times the width of the line."""
_LONG_SIDE_IN, _SHORT_SIDE_IN = 9.0, 2.5
_DPI = 140


@dataclass(frozen=True)
class _Window:
    """What the map shows, in degrees, and its size on paper: true to scale at the middle latitude."""

    west: float
    south: float
    east: float
    north: float
    aspect: float
    """Length of a degree of latitude in degrees of longitude."""
    width_in: float
    height_in: float

    @property
    def degrees_per_point(self) -> float:
        """Of latitude."""
        return (self.north - self.south) / self.height_in / 72


def draw_map(collection: SceneCollection, area: BaseGeometry, path: Path, *, name: str = "") -> None:
    """Write the map of `collection` over `area` (EPSG:4326) to `path`.

    Its title is `name`, else the area that the scenes name. It needs no display, and no place to keep settings and caches.
    """
    with _own_style():
        map_figure(collection, area, name=name).savefig(path, format="png", bbox_inches="tight", pad_inches=0.2)


def map_figure(collection: SceneCollection, area: BaseGeometry, *, name: str = "") -> Figure:
    """The same map as a figure, to show in a notebook or to add to."""
    scenes, tiles = (_sound(frame(collection)) for frame in (scenes_frame, tiles_frame))
    # A tile that is its whole scene has the scene's outline.
    tiles = tiles[~tiles.geometry.to_wkb(hex=True).isin(scenes.geometry.to_wkb(hex=True))]
    area = as_multipolygon(split_at_antimeridian(area))
    main = _with_place(tiles) if len(tiles) else scenes.assign(place=list(map(_grid_cell, collection.scenes)))
    if _spans_antimeridian([area, *main.geometry]):
        area, scenes, main = _shifted(area), _shifted_frame(scenes), _shifted_frame(main)
    window = _window([area, *main.geometry])

    with _own_style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        colours = _colours(sorted(set(scenes["date"].dt.date)))
        figure = Figure(figsize=(window.width_in, window.height_in), dpi=_DPI, facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1), facecolor=_PAPER)
        axes.set(xlim=(window.west, window.east), ylim=(window.south, window.north), aspect=window.aspect)
        _graticule(axes)
        _draw(axes, area, facecolor=_AREA, edgecolor="none", alpha=0.14, zorder=1)
        if len(tiles):
            _dashes(axes, scenes, colours)
        _outlines(axes, main, colours, window)
        _draw(axes, area, facecolor="none", edgecolor=_AREA, linewidth=1.8, zorder=4)
        axes.set(xlabel="", ylabel="")
        # Not before: geopandas redraws a figure that has a canvas with each thing that is plotted.
        FigureCanvasAgg(figure)
        _labels(axes, main)
        _legend(axes, collection, colours, has_dashes=len(tiles) > 0)
        _title(axes, collection, name)
    return figure


@contextlib.contextmanager
def _own_style() -> Iterator[None]:
    """The library with its defaults and ours, whatever style is set for other drawings.

    Where there is no home to write to it takes a temporary folder; nobody needs to be told that.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from matplotlib import style

        with style.context(["default", _STYLE]):
            yield
    finally:
        logger.setLevel(level)


def _sound(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Outlines as people edit them may cross themselves."""
    return frame.set_geometry(frame.geometry.make_valid())


def _spans_antimeridian(geometries: Sequence[BaseGeometry]) -> bool:
    """Whether there is something at both ends of the map and nothing in its middle."""
    west, _, east, _ = shapely.total_bounds(list(geometries))
    return bool(west < -170 and east > 170) and not any(geometry.intersects(shapely.box(-60, -90, 60, 90)) for geometry in geometries)


def _shifted(geometry: BaseGeometry) -> BaseGeometry:
    """With longitudes from 0 to 360."""
    return shapely.union_all([translate(part, 360) if part.bounds[2] <= 0 else part for part in as_multipolygon(geometry).geoms])


def _shifted_frame(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return frame.set_geometry(gpd.GeoSeries([_shifted(geometry) for geometry in frame.geometry], index=frame.index, crs=CRS))


def _window(focus: Sequence[BaseGeometry]) -> _Window:
    west, south, east, north = (float(bound) for bound in shapely.total_bounds(list(focus)))
    pad = 0.04 * max(east - west, north - south, 0.01)
    west, south, east, north = west - pad, max(south - pad, -90), east + pad, min(north + pad, 90)
    squeeze = max(math.cos(math.radians((south + north) / 2)), 0.05)
    # What is long and narrow gets more of its surroundings, so that there is room for a title and a legend.
    long = max((east - west) * squeeze, north - south)
    short = long * _SHORT_SIDE_IN / _LONG_SIDE_IN
    more_longitude = max(0.0, short / squeeze - (east - west)) / 2
    more_latitude = max(0.0, short - (north - south)) / 2
    west, south, east, north = west - more_longitude, south - more_latitude, east + more_longitude, north + more_latitude
    inches = _LONG_SIDE_IN / long
    return _Window(west, south, east, north, 1 / squeeze, (east - west) * squeeze * inches, (north - south) * inches)


def _colours(days: Sequence[date]) -> dict[date, str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if len(days) <= len(_FEW_COLOURS):
        return dict(zip(days, _FEW_COLOURS, strict=False))
    # The last tenth of the scale is too bright for lines on paper.
    return {day: to_hex(colour) for day, colour in zip(days, colormaps["viridis"](np.linspace(0, 0.9, len(days))), strict=True)}


def _graticule(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for axis, hemispheres in ((axes.xaxis, "WE"), (axes.yaxis, "SN")):
        axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _, hemispheres=hemispheres: _degrees(value, hemispheres)))
    axes.grid(color=_FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, labelcolor=_INK)


def _degrees(value: float, hemispheres: str) -> str:
    """`122.5°W`; longitudes beyond 180 are those of the other hemisphere."""
    wrapped = round(float((value + 180) % 360 - 180), 6)
    side = "" if wrapped in (0, -180) else hemispheres[wrapped > 0]
    return f"{abs(wrapped):g}°{side}"


def _draw(axes: Axes, *geometries: BaseGeometry, **look: Any) -> None:
    gpd.GeoSeries(list(geometries), crs=CRS).plot(ax=axes, aspect=None, **look)


def _outlines(axes: Axes, frame: gpd.GeoDataFrame, colours: dict[date, str], window: _Window) -> None:
    """By date; at a place of several dates the later ones lie a little within the earlier, so that all are seen."""
    rank = frame["date"].dt.floor("D").groupby(frame["place"]).rank(method="dense").to_numpy() - 1
    step = min(_STEP, _MOST_STEPS / max(rank.max(initial=0), 1)) * window.degrees_per_point
    scale = np.array([1 / window.aspect, 1])
    plane = shapely.transform(frame.geometry.to_numpy(), lambda positions: positions * scale)
    within = shapely.transform(shapely.buffer(plane, -step * rank, join_style="mitre"), lambda positions: positions / scale)
    kept = np.where(shapely.is_empty(within), frame.geometry.to_numpy(), within)
    for _, day, footprints in _by_day(frame.set_geometry(gpd.GeoSeries(kept, index=frame.index, crs=CRS)), colours):
        _draw(axes, *footprints, facecolor="none", edgecolor=colours[day], linewidth=1.3, zorder=3)


def _dashes(axes: Axes, frame: gpd.GeoDataFrame, colours: dict[date, str]) -> None:
    """By date, thin; the dashes of a few dates take turns where they lie upon each other."""
    turns = min(max(len(colours), 2), 3)
    for index, day, footprints in _by_day(frame, colours):
        dashes = (_DASH * (index % turns), (_DASH, _DASH * (turns - 1)))
        _draw(axes, *footprints, facecolor="none", edgecolor=colours[day], linewidth=1, linestyle=dashes, zorder=2)


def _by_day(frame: gpd.GeoDataFrame, colours: dict[date, str]) -> Iterator[tuple[int, date, gpd.GeoSeries]]:
    """The footprints of each date that has some, with its number."""
    days = frame["date"].dt.date
    for index, day in enumerate(colours):
        if (footprints := frame.geometry[days == day]).size:
            yield index, day, footprints


def _with_place(tiles: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Bursts are at the place of the first of their series: the ids of one place may differ by one from date to date."""
    return tiles.assign(place=tiles["reference"].fillna(tiles["source_id"]))


def _grid_cell(scene: SceneFeature) -> str:
    """`place_of`, without the orbit where the place is one of a grid."""
    place = place_of(scene)
    return place.partition(" ")[0] if scene.source_id.startswith("S2") else place


def _labels(axes: Axes, frame: gpd.GeoDataFrame) -> None:
    """The name of each place in the middle of the widest footprint there, where it can be read."""
    from matplotlib.patheffects import withStroke

    places: dict[str, BaseGeometry] = {}
    for name, footprint in zip(frame["place"], frame.geometry, strict=True):
        places[name] = max(places.get(name, footprint), footprint, key=lambda each: each.area)
    if len(places) > _MOST_LABELS:
        return
    texts: list[tuple[Text, BaseGeometry]] = []
    for name, footprint in places.items():
        middle = footprint.centroid if footprint.contains(footprint.centroid) else footprint.representative_point()
        halo = [withStroke(linewidth=2, foreground=_PAPER)]
        texts.append((axes.text(middle.x, middle.y, name, ha="center", va="center", zorder=5, path_effects=halo), footprint))
    readable = {size: _readable(axes, texts, size) for size in _LABEL_SIZES}
    best = max(_LABEL_SIZES, key=lambda size: len(readable[size]))
    for text, _ in texts:
        text.set(fontsize=best, visible=text in readable[best])


def _readable(axes: Axes, texts: Sequence[tuple[Text, BaseGeometry]], size: float) -> list[Text]:
    """Those that lie within what they name, but for a little, and upon no other."""
    readable: list[Text] = []
    taken: list[BaseGeometry] = []
    for text, footprint in texts:
        text.set_fontsize(size)
        box = shapely.box(*text.get_window_extent().transformed(axes.transData.inverted()).extents)
        if box.intersection(footprint).area > 0.85 * box.area and not any(box.intersects(other) for other in taken):
            readable.append(text)
            taken.append(box)
    return readable


def _legend(axes: Axes, collection: SceneCollection, colours: dict[date, str], *, has_dashes: bool) -> None:
    from matplotlib.artist import Artist
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    scenes: Counter[date] = Counter()
    tiles: Counter[date] = Counter()
    for scene in collection.scenes:
        scenes[scene.data.date.date()] += 1
        tiles[scene.data.date.date()] += len(scene.tiles)
    handles: list[Artist] = [Patch(facecolor=(*_rgb(_AREA), 0.14), edgecolor=_AREA, linewidth=1.8, label="area of interest")]
    if has_dashes:
        handles.append(Line2D([], [], color=_INK, linewidth=1.1, linestyle=(0, (_DASH, _DASH)), label="whole scene"))
    days = sorted(colours)
    shown = days if len(days) <= _MOST_ENTRIES else days[: _MOST_ENTRIES - 1]
    handles += [Line2D([], [], color=colours[day], linewidth=3, label=f"{day}   {_counted(scenes[day], tiles[day])}") for day in shown]
    if len(shown) < len(days):
        handles.append(Line2D([], [], linestyle="none", label=f"and {len(days) - len(shown)} more, to {days[-1]}"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, labelspacing=0.7)


def _title(axes: Axes, collection: SceneCollection, name: str) -> None:
    days = sorted({scene.data.date.date() for scene in collection.scenes})
    counts = _counted(len(collection.scenes), sum(len(scene.tiles) for scene in collection.scenes))
    when = f", {days[0]}" if len(days) == 1 else f" on {len(days)} dates, {days[0]} to {days[-1]}" if days else ""
    title = name or next((scene.aoi for scene in collection.scenes if scene.aoi), "") or "Area of interest"
    place: dict[str, Any] = {"xy": (0, 1), "xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(title, xytext=(0, 22), fontsize=13, fontweight="bold", **place)
    axes.annotate(counts + when, xytext=(0, 7), **place)


def _counted(scenes: int, tiles: int) -> str:
    text = f"{scenes or 'no'} scene{'' if scenes == 1 else 's'}"
    return f"{text}, {tiles} tile{'' if tiles == 1 else 's'}" if tiles else text


def _rgb(colour: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)
