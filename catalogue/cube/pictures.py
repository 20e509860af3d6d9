"""Small pictures of layers: PNG, read from their overviews, grey for one layer and red, green and blue for three.

Each channel is stretched from the 2nd to the 98th percentile of its valid pixels; what is no-data is transparent.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from common.errors import ThresherError
from common.storage.links import StoredLink

LARGEST = 2048
"""Pixels of the longer side, at most."""
_LARGEST_SOURCE = 64 * 2**20
"""Pixels of the level a picture is read from, at most: a huge raster without overviews is refused rather than read whole."""
_STRETCH = (2, 98)
_COMPOSITES = (("B04", "B03", "B02"), ("red", "green", "blue"), ("SR_B4", "SR_B3", "SR_B2"), ("B4", "B3", "B2"))
_PICTURES = ("TCI", "visual")
_READ = {
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": 64 * 2**20,
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "GDAL_HTTP_TIMEOUT": "30",
}


class NoPictureError(ThresherError):
    """The layer cannot be shown as a picture."""


def picture(links: Sequence[StoredLink], size: int) -> bytes:
    """A PNG of one layer or of three on the same ground, the longer side `size` pixels at most.

    Blocking, and bounded in memory by `size`. Raises NoPictureError.
    """
    try:
        with rasterio.Env(**_READ), ExitStack() as stack:
            rasters = [stack.enter_context(_opened(link)) for link in links]
            shape = _shape(rasters[0], min(size, LARGEST))
            channels = [_read(raster, band, shape) for raster in rasters for band in _bands(raster, alone=len(rasters) == 1)]
    except RasterioError as error:
        raise NoPictureError(f"the layer cannot be read as a raster: {str(error)[:200]}") from None
    return _png([_stretched(channel) for channel in channels], _valid(channels))


def colours(layers: Mapping[str, str]) -> list[str]:
    """Which layers make the quick look of a tile, by name: three for red, green and blue where they are, else the first; their values."""
    for name in _PICTURES:
        if name in layers:
            return [layers[name]]
    for composite in _COMPOSITES:
        if all(name in layers for name in composite):
            return [layers[name] for name in composite]
    return [layers[min(layers)]] if layers else []


@contextmanager
def _opened(link: StoredLink) -> Iterator[Any]:
    with rasterio.open(str(link.path) if link.path else f"/vsicurl/{link.url}") as raster:
        factor = max((level for level in raster.overviews(1)), default=1)
        if raster.width * raster.height / factor**2 > _LARGEST_SOURCE:
            raise NoPictureError(f"{raster.width} × {raster.height} pixels without overviews are too many for a picture")
        yield raster


def _shape(raster: Any, size: int) -> tuple[int, int]:
    factor = max(raster.width, raster.height) / max(1, size)
    if factor <= 1:
        return raster.height, raster.width
    return max(1, round(raster.height / factor)), max(1, round(raster.width / factor))


def _bands(raster: Any, *, alone: bool) -> Sequence[int]:
    return (1, 2, 3) if alone and raster.count >= 3 and raster.dtypes[0] == "uint8" else (1,)


def _read(raster: Any, band: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Float pixels (rows, columns), NaN where there is no value; of complex numbers the amplitude."""
    pixels = raster.read(band, out_shape=shape, masked=True, resampling=Resampling.nearest)
    values = np.abs(pixels) if np.iscomplexobj(pixels) else pixels
    filled: NDArray[np.float64] = np.ma.filled(values.astype(np.float64), np.nan)
    return np.where(np.isfinite(filled), filled, np.nan)


def _stretched(channel: NDArray[np.float64]) -> NDArray[np.uint8]:
    known = channel[~np.isnan(channel)]
    low, high = np.percentile(known, _STRETCH) if known.size else (0.0, 1.0)
    if high <= low:
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    scaled = np.clip((channel - low) / ((high - low) or 1.0), 0, 1) * 255
    grey: NDArray[np.uint8] = np.nan_to_num(scaled).astype(np.uint8)
    return grey


def _valid(channels: Sequence[NDArray[np.float64]]) -> NDArray[np.uint8]:
    missing = np.any(np.isnan(np.stack(channels)), axis=0)
    return np.where(missing, 0, 255).astype(np.uint8)


def _png(channels: Sequence[NDArray[np.uint8]], alpha: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([*channels, alpha]), mode="LA" if len(channels) == 1 else "RGBA").save(buffer, "PNG")
    return buffer.getvalue()
