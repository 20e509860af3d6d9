"""GeoDataFrames for notebooks: scenes, tiles and datasets as rows, with their footprints in EPSG:4326 and their times in UTC.

Footprints that cross the antimeridian are split there. Columns are there, with their types, also when there are no rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import geopandas as gpd
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from common.features import SceneCollection, SceneFeature
from common.geometry import split_at_antimeridian
from thresher.answers import Dataset

CRS = "EPSG:4326"

_TEXT, _COUNT, _REAL, _TIME = "string", "Int64", "float64", "datetime64[us, UTC]"
_SCENE = {
    "aoi": _TEXT,
    "source_id": _TEXT,
    "date": _TIME,
    "constellation": _TEXT,
    "satellite": _TEXT,
    "product_type": _TEXT,
    "relative_orbit": _COUNT,
    "orbit_direction": _TEXT,
    "cloud_cover": _REAL,
    "tiles": _COUNT,
    "record_id": _TEXT,
    "graph_name": _TEXT,
    "catalogue": _TEXT,
}
_TILE = {
    "aoi": _TEXT,
    "source_id": _TEXT,
    "scene": _TEXT,
    "date": _TIME,
    "swath": _TEXT,
    "tile_nr": _COUNT,
    "anx_time_ds": _COUNT,
    "previous": _TEXT,
    "previous_date": _TIME,
    "reference": _TEXT,
    "reference_date": _TIME,
    "graph_name": _TEXT,
}
_DATASET = {
    "id": _TEXT,
    "aoi": _TEXT,
    "record": _TEXT,
    "record_id": _TEXT,
    "date": _TIME,
    "variable": _TEXT,
    "instance": _TEXT,
    "tile": _TEXT,
    "layer": _TEXT,
    "uri": _TEXT,
    "size": _COUNT,
    "sha256": _TEXT,
    "dtype": _TEXT,
    "nodata": _REAL,
    "min_value": _REAL,
    "max_value": _REAL,
    "real_min": _REAL,
    "real_max": _REAL,
    "exponent": _REAL,
    "bands": _COUNT,
    "epsg": _COUNT,
    "rows": _COUNT,
    "columns": _COUNT,
}

_Row = tuple[dict[str, Any], BaseGeometry | None]


def scenes_frame(collection: SceneCollection) -> gpd.GeoDataFrame:
    """A row for each scene, in the order of the collection.

    `cloud_cover` is in percent, NaN where the catalogue does not tell it; `tiles` counts the tiles listed with the scene.
    """
    return _frame(map(_scene_row, collection.scenes), _SCENE)


def tiles_frame(collection: SceneCollection) -> gpd.GeoDataFrame:
    """A row for each tile, scene by scene.

    `scene` is the `source_id` of its scene, `previous` and `reference` those of the tiles it follows and refers to. `anx_time_ds` is the
    time of a burst after the ascending node, in tenths of a second; it and `tile_nr` are missing, and `swath` is empty, for a tile that
    is the whole scene.
    """
    return _frame((row for scene in collection.scenes for row in _tile_rows(scene)), _TILE)


def datasets_frame(datasets: Sequence[Dataset]) -> gpd.GeoDataFrame:
    """A row for each dataset: its file (`uri`, `size` in bytes), its format, its grid (`epsg`, `rows`, `columns`) and its footprint.

    `date` is the time of the record. A pixel `v` means
    `(real_max - real_min) * ((v - min_value) / (max_value - min_value)) ** exponent + real_min`.
    """
    return _frame(map(_dataset_row, datasets), _DATASET)


def _scene_row(scene: SceneFeature) -> _Row:
    tags = scene.tags
    values = {
        "aoi": scene.aoi,
        "source_id": scene.source_id,
        "date": scene.data.date,
        "constellation": tags.get("constellation"),
        "satellite": tags.get("satellite"),
        "product_type": tags.get("productType"),
        "relative_orbit": _whole(tags.get("relativeOrbit", "")),
        "orbit_direction": tags.get("orbitDirection"),
        "cloud_cover": _real(tags.get("cloudCoverPercentage", "")),
        "tiles": len(scene.tiles),
        "record_id": scene.data.record_id,
        "graph_name": scene.data.graph_name,
        "catalogue": scene.data.metadata.catalogue,
    }
    return values, scene.footprint()


def _tile_rows(scene: SceneFeature) -> Iterable[_Row]:
    for tile in scene.tiles:
        previous, reference = tile.previous, tile.reference
        values = {
            "aoi": scene.aoi,
            "source_id": tile.source_id,
            "scene": scene.source_id,
            "date": scene.data.date,
            "swath": tile.data.swath_id,
            "tile_nr": tile.data.tile_nr if tile.data.swath_id else None,
            "anx_time_ds": tile.anx_time if tile.data.swath_id else None,
            "previous": previous.source_id if previous else None,
            "previous_date": previous.date if previous else None,
            "reference": reference.source_id if reference else None,
            "reference_date": reference.date if reference else None,
            "graph_name": tile.data.graph_name,
        }
        yield values, tile.footprint()


def _dataset_row(dataset: Dataset) -> _Row:
    rows, columns = dataset.shape or (None, None)
    own = dataset.model_dump(include=set(_DATASET) - {"record"})
    values = {
        **own,
        "record": dataset.record.name,
        "record_id": dataset.record.id,
        "date": dataset.record.time,
        "rows": rows,
        "columns": columns,
    }
    return values, shapely.geometry.shape(dataset.footprint) if dataset.footprint else None


def _frame(rows: Iterable[_Row], columns: Mapping[str, str]) -> gpd.GeoDataFrame:
    found = list(rows)
    data = {name: pd.Series([values[name] for values, _ in found], dtype=dtype) for name, dtype in columns.items()}
    footprints: list[Any] = [split_at_antimeridian(footprint) if footprint is not None else None for _, footprint in found]
    return gpd.GeoDataFrame(data, geometry=gpd.GeoSeries(footprints, crs=CRS))


def _whole(text: str) -> int | None:
    """Tags are texts, and people edit them."""
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _real(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
