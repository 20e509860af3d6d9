"""Masks from the quality layers of products: which pixels are cloud, shadow, snow, saturated, or not measured at all.

Sources: Sentinel-2 Products Specification Document 14.9, table on the scene classification (SCL); Landsat 8-9 Collection 2 Level 2
Science Product Guide (LSDS-1619), table 6-3 (QA_PIXEL).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError

CLEAR, MASKED, NODATA = 0, 1, 255
"""Pixels of a mask."""


class SceneClass(IntEnum):
    """SCL of Sentinel-2 Level-2A."""

    NO_DATA = 0
    SATURATED = 1
    DARK = 2
    CLOUD_SHADOW = 3
    VEGETATION = 4
    NOT_VEGETATED = 5
    WATER = 6
    UNCLASSIFIED = 7
    CLOUD_MEDIUM = 8
    CLOUD_HIGH = 9
    CIRRUS = 10
    SNOW = 11


class QaBit(IntEnum):
    """Bits of QA_PIXEL of Landsat Collection 2. The confidences above bit 7 follow from these and are not used."""

    FILL = 0
    DILATED_CLOUD = 1
    CIRRUS = 2
    CLOUD = 3
    CLOUD_SHADOW = 4
    SNOW = 5
    CLEAR = 6
    WATER = 7


SCL_DEFAULT = "saturated,cloud_shadow,cloud_medium,cloud_high,cirrus"
QA_DEFAULT = "dilated_cloud,cirrus,cloud,cloud_shadow"

Mask = Callable[[NDArray[np.integer]], NDArray[np.uint8]]
"""From the pixels of a quality layer to a mask of the same shape."""


def scl_mask(names: str) -> Mask:
    """Masks these classes of SCL: names or numbers separated by commas. Raises FatalError for an unknown one."""
    table = np.full(256, MASKED, np.uint8)  # a class that is not defined says nothing good
    table[: len(SceneClass)] = CLEAR
    table[_numbers(names, SceneClass, "class of SCL")] = MASKED
    table[SceneClass.NO_DATA] = NODATA
    return lambda pixels: table[np.clip(pixels, 0, 255)]


def qa_mask(names: str) -> Mask:
    """Masks pixels of QA_PIXEL with any of these bits: names or numbers separated by commas. Raises FatalError for an unknown one."""
    bits = sum(1 << number for number in set(_numbers(names, QaBit, "bit of QA_PIXEL")))

    def mask(pixels: NDArray[np.integer]) -> NDArray[np.uint8]:
        masked = np.where((pixels & bits) != 0, np.uint8(MASKED), np.uint8(CLEAR))
        masked[(pixels & (1 << QaBit.FILL)) != 0] = NODATA
        return masked

    return mask


def grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """`mask` (rows, columns) grown by a square of `pixels` to every side; beyond the edges nothing is masked."""
    if pixels == 0:
        return mask
    result = mask
    for axis in (0, 1):
        size = result.shape[axis]
        counts = np.concatenate([np.zeros_like(np.take(result, [0], axis), np.int64), np.cumsum(result, axis=axis, dtype=np.int64)], axis)
        here = np.arange(size)
        upper, lower = np.minimum(here + pixels + 1, size), np.maximum(here - pixels, 0)
        result = np.take(counts, upper, axis) > np.take(counts, lower, axis)
    return result


def _numbers(names: str, known: type[IntEnum], what: str) -> list[int]:
    return [_number(name.strip(), known, what) for name in names.split(",") if name.strip()]


def _number(name: str, known: type[IntEnum], what: str) -> int:
    values: Iterable[IntEnum] = known
    for value in values:
        if name in (str(int(value)), value.name.lower()):
            return int(value)
    raise FatalError(f"'{name[:40]}' is no {what}; these are: {', '.join(value.name.lower() for value in values)}")
