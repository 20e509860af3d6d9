"""The documents of a static STAC catalogue of one collection: `catalog.json`, a folder of the collection, the items in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

CATALOG = "catalog.json"
"""The root document, to which all links are relative."""

_COLLECTION = "collection.json"
_VERSION = "1.0.0"
_JSON = "application/json"


@dataclass(frozen=True)
class StaticStac:
    """A catalogue in a folder; its documents are written one by one, those of the items first."""

    folder: Path
    name: str
    collection: str
    """Its id, and the name of its folder."""
    description: str

    def write_item(
        self,
        path: Path,
        ring: Sequence[Sequence[float]],
        properties: dict[str, Any],
        assets: dict[str, Any],
        extensions: Sequence[str],
    ) -> None:
        """Write the item `path` (somewhere in the folder of the collection), named like its file.

        `ring`: its outline, closed, longitude and latitude; `extensions`: as in `eo/v1.1.0`.
        """
        up = "../" * (len(path.relative_to(self.folder / self.collection).parts) - 1)
        document = {
            "type": "Feature",
            "stac_version": _VERSION,
            "stac_extensions": [f"https://stac-extensions.github.io/{extension}/schema.json" for extension in extensions],
            "id": path.stem,
            "collection": self.collection,
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": bounds(ring),
            "properties": properties,
            "links": [
                {"rel": "root", "href": f"{up}../{CATALOG}", "type": _JSON},
                {"rel": "parent", "href": f"{up or './'}{_COLLECTION}", "type": _JSON},
                {"rel": "collection", "href": f"{up or './'}{_COLLECTION}", "type": _JSON},
            ],
            "assets": assets,
        }
        _write(path, document)

    def write_roots(
        self, title: str, description: str, bbox: Sequence[float], interval: tuple[datetime, datetime], items: Sequence[Path]
    ) -> None:
        """Write the collection, of the area and the time of its items, and the catalogue."""
        folder = self.folder / self.collection
        links = [{"rel": "item", "href": f"./{item.relative_to(folder).as_posix()}", "type": "application/geo+json"} for item in items]
        collection = {
            "type": "Collection",
            "stac_version": _VERSION,
            "id": self.collection,
            "title": title,
            "description": description,
            "license": "CC0-1.0",
            "extent": {
                "spatial": {"bbox": [list(bbox)]},
                "temporal": {"interval": [[rfc3339(moment) for moment in interval]]},
            },
            "links": [
                {"rel": "root", "href": f"../{CATALOG}", "type": _JSON},
                {"rel": "parent", "href": f"../{CATALOG}", "type": _JSON},
                *links,
            ],
        }
        catalog = {
            "type": "Catalog",
            "stac_version": _VERSION,
            "id": self.name,
            "description": self.description,
            "links": [
                {"rel": "root", "href": f"./{CATALOG}", "type": _JSON},
                {"rel": "child", "href": f"./{self.collection}/{_COLLECTION}", "type": _JSON},
            ],
        }
        _write(folder / _COLLECTION, collection)
        _write(self.folder / CATALOG, catalog)


def bounds(positions: Sequence[Sequence[float]]) -> list[float]:
    """West, south, east, north of positions that do not cross the antimeridian."""
    longitudes, latitudes = zip(*positions, strict=True)
    return [min(longitudes), min(latitudes), max(longitudes), max(latitudes)]


def rfc3339(moment: datetime) -> str:
    """A time in UTC as documents write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
