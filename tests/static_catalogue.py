"""A static STAC catalogue of two small Sentinel-2 scenes in a folder, for tests that search and must not leave the machine."""

from __future__ import annotations

import json
from pathlib import Path

from common.config import CatalogueSettings

NAMES = (
    "S2A_MSIL2A_20240105T103421_N0510_R108_T32UNA_20240105T140000",
    "S2B_MSIL2A_20240110T103319_N0510_R108_T32UNA_20240110T131500",
)
_RING = [[10, 50], [11, 50], [11, 51], [10, 51], [10, 50]]


def static_catalogue(folder: Path) -> CatalogueSettings:
    """Write the catalogue into `folder`; the settings that search it."""
    links = [{"rel": "item", "href": f"./{name}.json"} for name in NAMES]
    root = {"type": "Catalog", "stac_version": "1.0.0", "id": "small", "description": "Two scenes", "links": links}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "catalog.json").write_text(json.dumps(root))
    for name in NAMES:
        (folder / f"{name}.json").write_text(json.dumps(_item(name)))
    return CatalogueSettings(type="static-stac", url=str(folder), collections={"sentinel2": []})


def _item(name: str) -> dict[str, object]:
    moment = name.split("_")[2]
    date = f"{moment[:4]}-{moment[4:6]}-{moment[6:11]}:{moment[11:13]}:{moment[13:]}Z"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [_RING]},
        "bbox": [10, 50, 11, 51],
        "properties": {"datetime": date, "constellation": "sentinel-2", "platform": "sentinel-2a", "eo:cloud_cover": 10},
        "links": [],
        "assets": {"blue": {"href": f"https://data.example.org/{name}/B02.tif", "type": "image/tiff", "eo:bands": [{"name": "B02"}]}},
    }
