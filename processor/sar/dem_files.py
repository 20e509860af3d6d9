"""The files of a digital elevation model: one raster or VRT, or tiles of one degree named by a pattern, in a folder or on a server.

Only the window that is asked for is read, decimated where the raster is much finer than the grid it is for. Heights are as the files tell
them; what they are above is a matter of `processor.sar.dem`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from common.errors import ConfigurationError, FatalError, TemporaryError, ThresherError
from processor.sar.gdal import quiet_gdal
from processor.sar.map_grid import unit_m

Floats = NDArray[np.float64]

_MARGIN = 3
"""Pixels read around the window asked for."""
_MOST_PIXELS = 2**27
_VOID = -3.0e38
_TILE = re.compile(r"\{(LAT|LON)\}")
_REMOTE = ("http://", "https://", "s3://")
_NOT_THERE = re.compile(r"HTTP response code: 404|does not exist|No such file")
_HEIGHTS_ABOVE = {"EGM2008 height": "egm2008", "EGM96 height": "egm96"}


@dataclass(frozen=True, eq=False)
class DemWindow:
    """Part of a DEM as it is: heights in metres above whatever they are above, not a number where there is none."""

    heights: NDArray[np.float32]
    x: float
    """Of the centre of the first pixel, in the CRS."""
    y: float
    step_x: float
    step_y: float
    """Positive: rows go down."""
    crs: str
    """Empty: longitude and latitude."""

    def place(self, longitude: Floats, latitude: Floats) -> tuple[Floats, Floats]:
        """Row and column (whole numbers are centres of pixels) of points in degrees."""
        x, y = _project(self.crs, longitude, latitude)
        if not self.crs:
            middle = self.x + self.heights.shape[1] / 2 * self.step_x
            x = middle + (x - middle + 180.0) % 360.0 - 180.0
        return np.ascontiguousarray((self.y - y) / self.step_y), np.ascontiguousarray((x - self.x) / self.step_x)


@dataclass(frozen=True)
class DemFiles:
    """Where the heights are: a file, an URL (`https://…`, `s3://…`), or a pattern of either with `{LAT}` (`N41`) and `{LON}` (`E012`)."""

    pattern: str
    nodata: float | None = None
    """Besides what the files say of themselves."""
    anonymous: bool = False
    """Read `s3://` without keys."""

    @property
    def is_tiled(self) -> bool:
        return _TILE.search(self.pattern) is not None

    @property
    def name(self) -> str:
        return Path(self.pattern).name

    def read(self, longitude: Floats, latitude: Floats, pixel_m: float) -> DemWindow:
        """The window that holds all points (degrees), its pixels not much smaller than `pixel_m`.

        Raises ConfigurationError for a raster that cannot be used, TemporaryError where a server does not answer.
        """
        with self._gdal():
            if self.is_tiled:
                return self._read_tiles(longitude, latitude, pixel_m)
            return self._read(_location(self.pattern), longitude, latitude, pixel_m)

    def lack(self, longitude: float, latitude: float) -> str:
        """Why there is no height at a place."""
        if not self.is_tiled:
            return f"{self.name} has none there"
        tile = _expand(self.pattern, math.floor(latitude), math.floor(longitude))
        with self._gdal():
            return f"{tile} {'has none there' if _tile(tile, self.anonymous) else 'does not exist'}"

    def vertical(self) -> str:
        """What a single raster says that its heights are above (`egm96`, `egm2008`, `ellipsoid`); empty where it does not say.

        Raises ConfigurationError for a vertical CRS that is none of these.
        """
        if self.is_tiled:
            return ""
        with self._gdal():
            raster = _header(_location(self.pattern), self.name)
        crs = CRS.from_wkt(raster.wkt)
        if crs.is_compound:
            above = crs.sub_crs_list[1].name
            if above not in _HEIGHTS_ABOVE:
                raise ConfigurationError(
                    f"DEM {self.name} has heights of '{above}': say by 'geoid' which grid leads from there to the ellipsoid"
                )
            return _HEIGHTS_ABOVE[above]
        return "ellipsoid" if len(crs.axis_info) == 3 else ""

    @contextmanager
    def _gdal(self) -> Iterator[None]:
        # GDAL itself tries again what a server refuses for a moment; a missing tile is told at once.
        options = {
            "GDAL_HTTP_MAX_RETRY": "4",
            "GDAL_HTTP_RETRY_DELAY": "1",
            "GDAL_HTTP_TIMEOUT": "120",
            "GDAL_HTTP_CONNECTTIMEOUT": "20",
            "CPL_VSIL_CURL_USE_HEAD": "NO",
        }
        if self.anonymous:
            options["AWS_NO_SIGN_REQUEST"] = "YES"
        with quiet_gdal(), rasterio.Env(**options):
            yield

    def _read_tiles(self, longitude: Floats, latitude: Floats, pixel_m: float) -> DemWindow:
        # Also the tiles that only a margin reaches into.
        margin = 0.01
        south, north = max(-90.0, float(latitude.min()) - margin), min(89.999, float(latitude.max()) + margin)
        west, east = float(longitude.min()) - margin, float(longitude.max()) + margin
        tiles = []
        for row in range(math.floor(south), math.floor(north) + 1):
            for column in range(math.floor(west), math.floor(east) + 1):
                tile = _tile(_expand(self.pattern, row, (column + 180) % 360 - 180), self.anonymous)
                if tile is not None:
                    # In the longitudes asked for, which may lie beyond 180.
                    shift = round((column + 0.5 - tile.x - tile.step_x * tile.width / 2) / 360) * 360.0
                    tiles.append((tile, shift))
        if not tiles:
            return DemWindow(np.full((1, 1), np.nan, np.float32), west, north, 1.0, 1.0, "")
        # The spacing of Copernicus DEM varies with latitude: each band of latitudes is a raster of its own.
        bands: dict[tuple[float, float], list[tuple[_Header, float]]] = {}
        for tile, shift in tiles:
            bands.setdefault((tile.step_x, tile.step_y), []).append((tile, shift))
        return _joined([self._read(_mosaic(band, self.nodata), longitude, latitude, pixel_m) for _, band in sorted(bands.items())])

    def _read(self, location: str, longitude: Floats, latitude: Floats, pixel_m: float) -> DemWindow:
        raster = _header(location, self.name) if not location.startswith("<") else _described(location, self.name)
        x, y = _project(raster.crs, longitude, latitude)
        if not raster.crs:
            middle = raster.x + raster.step_x * raster.width / 2
            x = x + round((middle - float(np.mean(x))) / 360) * 360.0
        left, right = _span((x - raster.x) / raster.step_x, raster.width)
        top, bottom = _span((raster.y - y) / raster.step_y, raster.height)
        if left >= right or top >= bottom:
            return DemWindow(np.full((1, 1), np.nan, np.float32), raster.x, raster.y, raster.step_x, raster.step_y, raster.crs)
        # Of a DEM much finer than the grid, means: what lies between the pixels of the grid would only be noise there.
        factor = max(1, int(pixel_m / (raster.step_y * (unit_m(raster.crs) if raster.crs else 111_320.0))))
        shape = -(-(bottom - top) // factor), -(-(right - left) // factor)
        if shape[0] * shape[1] > _MOST_PIXELS:
            raise FatalError(f"DEM {self.name}: a window of {shape[0]} x {shape[1]} pixels is too large")
        heights = self._pixels(location, Window(left, top, right - left, bottom - top), shape)
        across, down = (right - left) / shape[1], (bottom - top) / shape[0]
        return DemWindow(
            heights,
            raster.x + (left + (across - 1) / 2) * raster.step_x,
            raster.y - (top + (down - 1) / 2) * raster.step_y,
            raster.step_x * across,
            raster.step_y * down,
            raster.crs,
        )

    def _pixels(self, location: str, window: Window, shape: tuple[int, int]) -> NDArray[np.float32]:
        try:
            with rasterio.open(location) as raster:
                found = raster.read(1, window=window, out_shape=shape, masked=True, resampling=Resampling.average)
                scale, offset = raster.scales[0], raster.offsets[0]
        except RasterioError as error:
            raise _failure(location if not location.startswith("<") else self.pattern, error) from None
        heights: NDArray[np.float32] = found.astype(np.float32).filled(np.nan)
        heights[heights < _VOID / 2] = np.nan
        if self.nodata is not None:
            heights[heights == np.float32(self.nodata)] = np.nan
        return heights * np.float32(scale) + np.float32(offset) if (scale, offset) != (1.0, 0.0) else heights


@dataclass(frozen=True)
class _Header:
    """Grid of a raster; `x` and `y` are those of the centre of the first pixel."""

    location: str
    x: float
    y: float
    step_x: float
    step_y: float
    width: int
    height: int
    nodata: float | None
    wkt: str
    crs: str
    """Empty: longitude and latitude on WGS 84."""


def _expand(pattern: str, latitude: int, longitude: int) -> str:
    """The name of the tile whose south-western corner is at whole degrees."""
    names = {
        "LAT": f"{'N' if latitude >= 0 else 'S'}{abs(latitude):02d}",
        "LON": f"{'E' if longitude >= 0 else 'W'}{abs(longitude):03d}",
    }
    return _TILE.sub(lambda match: names[match[1]], pattern)


def _location(path: str) -> str:
    """As GDAL calls it."""
    if path.startswith("s3://"):
        return "/vsis3/" + path.removeprefix("s3://")
    return "/vsicurl/" + path if path.startswith(_REMOTE) else path


@lru_cache(maxsize=512)
def _tile(path: str, anonymous: bool) -> _Header | None:  # noqa: ARG001 - another answer for other rights
    """A tile, or None where there is none."""
    if not path.startswith((*_REMOTE, "/vsi")) and not Path(path).is_file():
        return None
    try:
        return _described(_location(path), path)
    except RasterioError as error:
        if path.startswith((*_REMOTE, "/vsi")) and _NOT_THERE.search(str(error)):
            return None
        raise _failure(path, error) from None


@lru_cache(maxsize=64)
def _header(location: str, name: str) -> _Header:
    try:
        return _described(location, name)
    except RasterioError as error:
        if _NOT_THERE.search(str(error)):
            raise ConfigurationError(f"DEM {name} does not exist ({location})") from None
        raise _failure(location, error) from None


def _described(location: str, name: str) -> _Header:
    with rasterio.open(location) as raster:
        transform = raster.transform
        if raster.crs is None:
            raise ConfigurationError(f"DEM {name} has no CRS")
        if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
            raise ConfigurationError(f"DEM {name} is turned or mirrored: make one with north at its top (gdalwarp)")
        wkt = raster.crs.to_wkt()
        flat = CRS.from_wkt(wkt).to_2d()
        if flat.is_compound:
            flat = flat.sub_crs_list[0]
        plain = flat.is_geographic and "WGS" in flat.name
        return _Header(
            location,
            x=transform.c + transform.a / 2,
            y=transform.f + transform.e / 2,
            step_x=transform.a,
            step_y=-transform.e,
            width=raster.width,
            height=raster.height,
            nodata=raster.nodata,
            wkt=wkt,
            crs="" if plain else flat.to_wkt(),
        )


def _joined(windows: list[DemWindow]) -> DemWindow:
    """Windows of the same rows, one below another, on the columns of the first, which is the finest; linear between columns."""
    first = windows[0]
    found = [window for window in windows if window.heights.size > 1]
    if len(found) < 2:
        return found[0] if found else first
    first = found[0]
    if any(abs(window.step_y - first.step_y) > 1e-6 * first.step_y for window in found):
        raise ConfigurationError("the tiles of the DEM have rows of different spacing: make a mosaic of them (gdalwarp)")
    north = max(window.y for window in found)
    rows = [round((north - window.y) / first.step_y) for window in found]
    height = max(row + window.heights.shape[0] for row, window in zip(rows, found, strict=True))
    columns = np.arange(first.heights.shape[1])
    joined = np.full((height, columns.size), np.nan, np.float32)
    for row, window in zip(rows, found, strict=True):
        place = np.clip((first.x + columns * first.step_x - window.x) / window.step_x, 0, window.heights.shape[1] - 1)
        left = np.minimum(place.astype(int), max(0, window.heights.shape[1] - 2))
        share = (place - left).astype(np.float32)
        right = np.minimum(left + 1, window.heights.shape[1] - 1)
        values = window.heights[:, left] * (1 - share) + window.heights[:, right] * share
        part = joined[row : row + values.shape[0]]
        np.copyto(part, values, where=np.isfinite(values))
    return DemWindow(joined, first.x, north, first.step_x, first.step_y, first.crs)


def _mosaic(tiles: list[tuple[_Header, float]], nodata: float | None) -> str:
    """A VRT of tiles of one spacing, each shifted by whole turns of longitude."""
    step_x, step_y = tiles[0][0].step_x, tiles[0][0].step_y
    west = min(tile.x + shift - tile.step_x / 2 for tile, shift in tiles)
    north = max(tile.y + tile.step_y / 2 for tile, _ in tiles)
    sources, right, bottom = [], 0.0, 0.0
    for tile, shift in tiles:
        x = _whole((tile.x + shift - tile.step_x / 2 - west) / step_x)
        y = _whole((north - tile.y - tile.step_y / 2) / step_y)
        width, height = _whole(tile.width * tile.step_x / step_x), _whole(tile.height * tile.step_y / step_y)
        right, bottom = max(right, x + width), max(bottom, y + height)
        void = nodata if nodata is not None else tile.nodata
        sources.append(
            f"<ComplexSource><SourceFilename>{escape(tile.location)}</SourceFilename><SourceBand>1</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" xSize="{tile.width}" ySize="{tile.height}"/>'
            f'<DstRect xOff="{x!r}" yOff="{y!r}" xSize="{width!r}" ySize="{height!r}"/>'
            + (f"<NODATA>{void!r}</NODATA>" if void is not None else "")
            + "</ComplexSource>"
        )
    return (
        f'<VRTDataset rasterXSize="{math.ceil(right)}" rasterYSize="{math.ceil(bottom)}"><SRS>EPSG:4326</SRS>'
        f"<GeoTransform>{west!r}, {step_x!r}, 0, {north!r}, 0, {-step_y!r}</GeoTransform>"
        f'<VRTRasterBand dataType="Float32" band="1"><NoDataValue>{_VOID!r}</NoDataValue>{"".join(sources)}</VRTRasterBand></VRTDataset>'
    )


def _whole(pixels: float) -> float:
    """Without the rounding of divisions: a tile must not be resampled because of it."""
    return float(round(pixels)) if abs(pixels - round(pixels)) < 1e-3 else pixels


def _span(positions: Floats, size: int) -> tuple[int, int]:
    """First and last + 1 of the pixels around positions, of those there are."""
    return max(0, math.floor(float(positions.min())) - _MARGIN), min(size, math.ceil(float(positions.max())) + 1 + _MARGIN)


def _project(crs: str, longitude: Floats, latitude: Floats) -> tuple[Floats, Floats]:
    if not crs:
        return np.asarray(longitude, float), np.asarray(latitude, float)
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise FatalError("the CRS of the DEM is not defined for the whole area")
    return x, y


def _failure(location: str, error: Exception) -> ThresherError:
    """What kind of trouble it is: that of a server passes, that of a file does not."""
    text = f"DEM {location} cannot be read: {error}"
    return TemporaryError(text) if location.startswith((*_REMOTE, "/vsicurl", "/vsis3")) else ConfigurationError(text)
