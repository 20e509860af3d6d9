"""The contact sheet: real values through each dataset's own mapping, pictures in their places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import Affine

from thresher.answers import Dataset
from thresher.demo.sheet import draw_sheet

CELL, SIDE, GAP, HEAD = 320, 84, 16, 84


def layer(folder: Path, tile: str, day: str, variable: str, pixels: np.ndarray, **numbers: float) -> Dataset:
    path = folder / f"{day}_{tile}_{variable}.tif"
    profile: dict[str, Any] = {"driver": "GTiff", "width": pixels.shape[1], "height": pixels.shape[0], "count": 1, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **profile, nodata=0, crs="EPSG:32631", transform=Affine(100, 0, 5e5, 0, -100, 5.8e6)) as raster:
        raster.write(pixels, 1)
    mapping = {"min_value": 0, "max_value": 10000, "real_min": -0.1, "real_max": 0.9, "exponent": 1, **numbers}
    return Dataset.model_validate(
        {
            "id": path.name,
            "record": {
                "id": day,
                "name": f"S2A_MSIL2A_{day}T105031_N0510_R051_T{tile}_{day}T155031",
                "time": f"{day[:4]}-{day[4:6]}-{day[6:]}",
            },
            "variable": variable,
            "instance": "l2a",
            "tile": "whole-scene",
            "uri": f"file://{path}",
            "size": 1,
            "sha256": "",
            "dtype": str(pixels.dtype),
            "nodata": 0,
            "bands": 1,
            **mapping,
        }
    )


def scene(folder: Path, tile: str, day: str, colour: tuple[float, float, float], **numbers: float) -> list[Dataset]:
    layers = []
    for variable, value in zip(("B04", "B03", "B02"), colour, strict=True):
        pixels = np.full((400, 400), round((value + 0.1) * 10000), dtype=np.uint16)
        pixels[:, :200] = 0
        layers.append(layer(folder, tile, day, variable, pixels, **numbers))
    classes = np.full((200, 200), 4, dtype=np.uint8)
    classes[:, :100], classes[:50, 100:] = 0, 9
    return [*layers, layer(folder, tile, day, "SCL", classes, min_value=0, max_value=11, real_min=0, real_max=11)]


def middle(image: Image.Image, row: int, column: int, at: float = 0.75) -> tuple[int, ...]:
    place = (SIDE + column * (CELL + GAP) + int(CELL * at), HEAD + row * (CELL + 26 + GAP) + CELL // 2)
    pixel = image.getpixel(place)
    assert isinstance(pixel, tuple)
    return pixel


def test_true_colour_in_rows_and_columns(tmp_path: Path) -> None:
    datasets = [
        *scene(tmp_path, "31UET", "20240320", (0.30, 0.0, 0.0)),
        *scene(tmp_path, "31UES", "20240320", (0.0, 0.30, 0.0)),
        *scene(tmp_path, "31UET", "20240514", (0.0, 0.0, 0.30)),
        # Blue is missing: no picture.
        *[dataset for dataset in scene(tmp_path, "31UES", "20240514", (0.1, 0.1, 0.1)) if dataset.variable != "B02"],
    ]
    path = tmp_path / "sheet.png"
    assert draw_sheet(datasets, path, "Title") == (2, 2)
    with Image.open(path) as image:
        assert middle(image, 0, 0) == (255, 0, 0)
        assert middle(image, 1, 0) == (0, 255, 0)
        assert middle(image, 0, 1) == (0, 0, 255)
        assert middle(image, 1, 1) == (250, 250, 248)
        # Where there is no data.
        assert middle(image, 0, 0, at=0.25) == (208, 210, 214)


def test_the_mapping_of_the_dataset_counts_not_its_numbers(tmp_path: Path) -> None:
    """The same numbers mean less light where the range of real values is smaller."""
    bright = scene(tmp_path, "31UET", "20240320", (0.2, 0.2, 0.2))
    dim = scene(tmp_path, "31UET", "20240514", (0.2, 0.2, 0.2), real_min=-0.05, real_max=0.45)
    draw_sheet([*bright, *dim], tmp_path / "sheet.png", "Title")
    with Image.open(tmp_path / "sheet.png") as image:
        assert middle(image, 0, 0)[0] == round(255 * (0.2 / 0.3) ** (1 / 1.7))
        assert middle(image, 0, 1)[0] == round(255 * (0.1 / 0.3) ** (1 / 1.7))
