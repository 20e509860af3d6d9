"""Sun and view angles of a Sentinel-2 tile: the 5 km grids of its metadata, interpolated to pixels.

Source: Sentinel-2 Products Specification Document 14.9, 3.10.3 (MTD_TL.xml: `Tile_Angles`): 23 x 23 values every 5 km, the first at the
upper left corner of the tile; zenith and azimuth (clockwise from north) in degrees, of the view for each band and detector.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from common.errors import FatalError
from processor.grids import Grid
from processor.optical.biophysical import Angles
from processor.optical.metadata import read_xml
from processor.optical.product import Product, product_files
from processor.rasters import apply

Floats = NDArray[np.float64]

_MAX_NODES = 1000


@dataclass(frozen=True)
class AngleGrids:
    """Directions to the sun and to the satellite (mean of bands and detectors) at the nodes of a grid.

    They are unit vectors (east, north, up; 3 x rows x columns): these can be averaged and interpolated, azimuths cannot.
    """

    epsg: int
    left: float
    top: float
    column_step: float
    """Metres, as all lengths here; the CRS is the UTM of the tile."""
    row_step: float
    sun: Floats
    view: Floats

    def at(self, grid: Grid) -> Angles:
        """The angles at the centres of the pixels of `grid` (same CRS), bilinear between the nodes, the nearest beyond them."""
        columns, rows = np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5
        x, _ = apply(grid.transform, columns, np.zeros_like(columns))
        _, y = apply(grid.transform, np.zeros_like(rows), rows)
        across, down = (x - self.left) / self.column_step, (self.top - y) / self.row_step
        sun, view = _bilinear(self.sun, down, across), _bilinear(self.view, down, across)
        sun_level, view_level = np.hypot(sun[0], sun[1]), np.hypot(view[0], view[1])
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = (sun[0] * view[0] + sun[1] * view[1]) / (sun_level * view_level)
        # Straight down there is no azimuth, and none matters.
        relative[~np.isfinite(relative)] = 0
        return Angles(
            view_zenith=view[2] / np.hypot(view_level, view[2]),
            sun_zenith=sun[2] / np.hypot(sun_level, sun[2]),
            relative_azimuth=np.clip(relative, -1, 1),
        )


def find_tile_metadata(workdir: Path, product: Product) -> Path:
    """The MTD_TL.xml of a product: in its SAFE folder, or the asset `granule_metadata`. Raises FatalError where there is none."""
    folders = {band.path.parent for band in product.bands.values()}
    candidates = [path for folder in folders for path in (*folder.parents[:2], folder) if (path / "MTD_TL.xml").is_file()]
    if candidates:
        return candidates[0] / "MTD_TL.xml"
    for pattern in ("MTD_TL.xml", "granule[_-]metadata*.xml", "tileinfo_metadata*.xml"):
        found = product_files(workdir, pattern)
        if len(found) == 1:
            return found[0]
    raise FatalError(
        f"the angles of {product.name} are not known: it has no MTD_TL.xml; of a product in separate assets, fetch that of the tile's "
        "metadata too (graph_config.assets: granule_metadata)"
    )


def read_angles(path: Path) -> AngleGrids:
    """The angle grids of an MTD_TL.xml; raises FatalError naming what is missing or wrong."""
    root = read_xml(path)
    sun = _directions(_one(root, "Sun_Angles_Grid"))
    views = [_directions(element) for element in root.iter("Viewing_Incidence_Angles_Grids")]
    if not views or any(view.shape != sun.shape for view in views):
        raise FatalError(f"{path.name} has no Viewing_Incidence_Angles_Grids of the size of the Sun_Angles_Grid")
    zenith = _one(_one(root, "Sun_Angles_Grid"), "Zenith")
    position = _one(root, "Geoposition")
    code = (_one(root, "HORIZONTAL_CS_CODE").text or "").removeprefix("EPSG:")
    if not code.isdigit():
        raise FatalError(f"HORIZONTAL_CS_CODE of {path.name} is no EPSG code")
    return AngleGrids(
        epsg=int(code),
        left=_number(position, "ULX"),
        top=_number(position, "ULY"),
        column_step=_number(zenith, "COL_STEP"),
        row_step=_number(zenith, "ROW_STEP"),
        sun=_filled(sun, path),
        view=_filled(_mean(views), path),
    )


def _mean(views: list[Floats]) -> Floats:
    """Of the views of bands and detectors that see a node."""
    stacked = np.stack(views)
    seen = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(seen, stacked, 0).sum(axis=0) / seen.sum(axis=0)
    return mean


def _directions(grids: Element) -> Floats:
    zenith, azimuth = (np.radians(_values(_one(grids, name))) for name in ("Zenith", "Azimuth"))
    if zenith.shape != azimuth.shape:
        raise FatalError("the angle grids of the tile differ in size")
    return np.stack([np.sin(zenith) * np.sin(azimuth), np.sin(zenith) * np.cos(azimuth), np.cos(zenith)])


def _values(grid: Element) -> Floats:
    rows = [(row.text or "").split() for row in grid.iter("VALUES")]
    try:
        values = np.array(rows, dtype=np.float64)
    except ValueError:
        raise FatalError("an angle grid of the tile is not a table of numbers") from None
    if values.ndim != 2 or min(values.shape) < 2 or max(values.shape) > _MAX_NODES:
        raise FatalError("an angle grid of the tile is not a table of numbers")
    return values


def _filled(directions: Floats, path: Path) -> Floats:
    """Nodes that nothing sees take the mean of their neighbours, from the seen ones outwards."""
    filled = directions.copy()
    if np.isnan(filled).all():
        raise FatalError(f"the angle grids of {path.name} are empty")
    while (missing := np.isnan(filled[0])).any():
        padded = np.pad(filled, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
        rows, columns = missing.shape
        around = np.stack([padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)])
        seen = ~np.isnan(around)
        count = seen.sum(axis=0)
        fresh = missing & (count[0] > 0)
        filled[:, fresh] = (np.where(seen, around, 0).sum(axis=0) / np.maximum(count, 1))[:, fresh]
    return filled


def _bilinear(nodes: Floats, down: Floats, across: Floats) -> NDArray[np.float32]:
    """`nodes` (vectors x rows x columns) at every combination of the positions `down` and `across`, in units of the nodes."""
    rows = _weights(down, nodes.shape[1]) @ nodes
    values: NDArray[np.float32] = rows.astype(np.float32) @ _weights(across, nodes.shape[2]).T.astype(np.float32)
    return values


def _weights(positions: Floats, nodes: int) -> Floats:
    """Of the nodes (columns) at each position (rows); the outermost nodes hold beyond them."""
    weights: Floats = np.maximum(0, 1 - np.abs(np.clip(positions, 0, nodes - 1)[:, np.newaxis] - np.arange(nodes)))
    return weights


def _one(element: Element, tag: str) -> Element:
    found = next(element.iter(tag), None)
    if found is None:
        raise FatalError(f"the tile metadata have no {tag}")
    return found


def _number(element: Element, tag: str) -> float:
    text = _one(element, tag).text or ""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise FatalError(f"{tag} of the tile metadata is {text[:40]!r}, not a number")
    return value
