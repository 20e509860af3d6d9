"""The contact sheet: thumbnails of indexed layers as one PNG, a row for each tile, a column for each date; true colour of Sentinel-2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rasterio.enums import Resampling

from thresher.answers import Dataset

_TRUE_COLOUR = ("B04", "B03", "B02")
_CLASSES = "SCL"
_CLOUDS = (8, 9, 10)
"""Classes of the Sentinel-2 scene classification: clouds of medium and high probability, cirrus."""
_BRIGHTEST = 0.30
"""Surface reflectance shown as white."""
_GAMMA = 1.7

_CELL = 320
_GAP, _HEAD, _SIDE, _CAPTION = 16, 84, 84, 26
_PAPER, _INK, _EMPTY = (250, 250, 248), (40, 44, 52), (208, 210, 214)


@dataclass(frozen=True)
class Cell:
    """A thumbnail."""

    picture: NDArray[np.uint8]
    """(rows, columns, 3)."""
    note: str = ""
    """Told below it, after the date."""


def draw_sheet(datasets: Iterable[Dataset], path: Path, title: str) -> tuple[int, int]:
    """Write the contact sheet of the datasets that have all of red, green and blue to `path`; its rows and columns of pictures."""
    layers: dict[tuple[str, date], dict[str, Dataset]] = {}
    for dataset in datasets:
        layers.setdefault((_tile(dataset), dataset.record.time.date()), {})[dataset.variable] = dataset
    cells = {place: _cell(found) for place, found in layers.items() if all(band in found for band in _TRUE_COLOUR)}
    tiles = sorted({tile for tile, _ in cells}, reverse=True)
    dates = sorted({day for _, day in cells})
    compose(cells, tiles, dates, title).save(path, format="PNG")
    return len(tiles), len(dates)


def compose(cells: Mapping[tuple[str, date], Cell], tiles: Sequence[str], dates: Sequence[date], title: str) -> Image.Image:
    """The sheet of pictures by tile and date."""
    width = _SIDE + len(dates) * (_CELL + _GAP) + _GAP
    height = _HEAD + len(tiles) * (_CELL + _CAPTION + _GAP) + _GAP
    image = Image.new("RGB", (max(width, 640), height), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_GAP, _GAP), title, fill=_INK, font=_font(22))
    for column, day in enumerate(dates):
        draw.text((_left(column) + _CELL / 2, _HEAD - 10), f"{day:%d %B %Y}", fill=_INK, font=_font(16), anchor="ms")
    for row, tile in enumerate(tiles):
        top = _HEAD + row * (_CELL + _CAPTION + _GAP)
        draw.text((_GAP, top + _CELL / 2), tile, fill=_INK, font=_font(16), anchor="lm")
        for column, day in enumerate(dates):
            _paste(image, draw, cells.get((tile, day)), (_left(column), top), day)
    return image


def real_values(dataset: Dataset) -> NDArray[np.float64]:
    """Real values at the size of a thumbnail, by the dataset's own mapping; NaN where there is no data."""
    pixels, valid = _read(dataset, Resampling.average)
    share = (pixels.astype(np.float64) - dataset.min_value) / (dataset.max_value - dataset.min_value)
    if dataset.exponent != 1:
        share = np.clip(share, 0, None) ** dataset.exponent
    real = (dataset.real_max - dataset.real_min) * share + dataset.real_min
    return np.where(valid, real, np.nan)


def painted(channels: Sequence[NDArray[np.float64]]) -> NDArray[np.uint8]:
    """A picture of red, green and blue between 0 and 1; the colour of nothing where one is NaN."""
    stacked = np.dstack(channels)
    valid = ~np.isnan(stacked).any(axis=-1, keepdims=True)
    return np.where(valid, np.rint(np.clip(np.nan_to_num(stacked), 0, 1) * 255), np.array(_EMPTY)).astype(np.uint8)


def _tile(dataset: Dataset) -> str:
    """The MGRS tile where a name says it, else the tile as it is called."""
    for text in (dataset.tile, dataset.record.name, dataset.uri):
        match = re.search(r"(?:^|_)T?(\d{2}[A-Z]{3})(?:_|$)", text)
        if match:
            return match[1]
    return dataset.tile


def _cell(layers: Mapping[str, Dataset]) -> Cell:
    bands = [np.clip(real_values(layers[band]) / _BRIGHTEST, 0, None) ** (1 / _GAMMA) for band in _TRUE_COLOUR]
    cloud = _cloud_percent(layers[_CLASSES]) if _CLASSES in layers else None
    return Cell(painted(bands), f"cloud {cloud:.0f} %" if cloud is not None else "")


def _cloud_percent(dataset: Dataset) -> float | None:
    classes, valid = _read(dataset, Resampling.nearest)
    return float(100 * np.mean(np.isin(classes[valid], _CLOUDS))) if valid.any() else None


def _read(dataset: Dataset, resampling: Resampling) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    with rasterio.open(dataset.uri.removeprefix("file://")) as raster:
        scale = min(_CELL / max(raster.width, raster.height), 1.0)
        shape = (max(round(raster.height * scale), 1), max(round(raster.width * scale), 1))
        pixels = raster.read(1, out_shape=shape, resampling=resampling)
        valid = raster.read_masks(1, out_shape=shape, resampling=Resampling.nearest) > 0
    return pixels, valid


def _paste(image: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell | None, place: tuple[int, int], day: date) -> None:
    left, top = place
    if cell is None:
        draw.rectangle((left, top, left + _CELL, top + _CELL), outline=_EMPTY)
        draw.text((left + _CELL / 2, top + _CELL / 2), "no data", fill=_INK, font=_font(14), anchor="mm")
        return
    picture = Image.fromarray(cell.picture)
    scale = _CELL / max(picture.size)
    picture = picture.resize((max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)), Image.Resampling.BICUBIC)
    image.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
    note = f"   {cell.note}" if cell.note else ""
    draw.text((left + _CELL / 2, top + _CELL + 6), f"{day:%Y-%m-%d}{note}", fill=_INK, font=_font(14), anchor="ma")


def _left(column: int) -> int:
    return _SIDE + column * (_CELL + _GAP)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
