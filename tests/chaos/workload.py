"""What the stack is given to do: chains of tiles, a graph that counts along them, and the products they come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

AOI = "chaos"
GRAPHS = Path(__file__).resolve().parent / "graphs"
VARIABLE = {"name": "count", "dtype": "uint8", "nodata": 0, "min_value": 1, "max_value": 255, "instances": [{"name": "raw"}]}
_WKT = "POLYGON ((10 50, 11 50, 11 51, 10 51, 10 50))"


@dataclass(frozen=True)
class Size:
    """`orbits` scenes a date, of `tiles` tiles each, on `dates` dates: orbits x tiles chains."""

    orbits: int
    dates: int
    tiles: int

    @property
    def scene_count(self) -> int:
        return self.orbits * self.dates

    @property
    def chain_count(self) -> int:
        return self.orbits * self.tiles

    @property
    def tile_count(self) -> int:
        return self.chain_count * self.dates


LONG = Size(orbits=10, dates=30, tiles=10)
SHORT = Size(orbits=4, dates=10, tiles=10)


@dataclass(frozen=True)
class Workload:
    """The files of a run and what is posted."""

    folder: Path
    size: Size

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.txt"

    @property
    def products(self) -> Path:
        return self.folder / "products"

    @property
    def template(self) -> Path:
        return self.folder / "template.tif"

    def prepare(self) -> None:
        self.ledger.touch()
        for scene in self._scenes():
            product = self.products / scene
            product.mkdir(parents=True)
            (product / "product.txt").write_text(f"{scene}\n")
        with rasterio.open(
            self.template, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8", nodata=0, crs="EPSG:4326",
            transform=from_origin(10, 51, 0.125, 0.125),
        ) as raster:  # fmt: skip
            raster.write(np.full((1, 8, 8), 7, "uint8"))

    def payload(self) -> str:
        return json.dumps(
            {
                "name": AOI,
                "type": "Polygon",
                "coordinates": [[[10, 50], [11, 50], [11, 51], [10, 51], [10, 50]]],
                "start_time": "2020-01-01T00:00:00Z",
                "end_time": "2030-01-01T00:00:00Z",
                "scene_type": {"constellation": "sentinel1"},
                "scene_graph_name": "ChaosScene",
                "tile_graph_name": "ChaosTile",
                "graph_config": {"ledger": str(self.ledger), "template": str(self.template)},
                # None to spare: whatever a fault does to a job must not count as its failure.
                "retry_count": 0,
                "layers": {"layer": {"variable": "count", "instance": "raw"}},
            }
        )

    def tiles(self) -> str:
        return json.dumps(
            {"type": "FeatureCollection", "features": [self._feature(o, d) for d in range(self.size.dates) for o in self._orbits()]}
        )

    def expected(self) -> dict[str, int]:
        """`{YYYYMMDD}_{tile}` -> its place in its series, from 1."""
        return {
            f"{_date(date):%Y%m%d}_{_tile(orbit, tile)}": date + 1
            for date in range(self.size.dates)
            for orbit in self._orbits()
            for tile in range(self.size.tiles)
        }

    def final_states(self) -> set[str]:
        """Names of the intermediate files that nothing follows to delete."""
        last = _date(self.size.dates - 1)
        return {f"{last:%Y%m%d}_{_tile(orbit, tile)}_state.txt" for orbit in self._orbits() for tile in range(self.size.tiles)}

    def _orbits(self) -> range:
        return range(self.size.orbits)

    def _scenes(self) -> list[str]:
        return [_scene(orbit, date) for date in range(self.size.dates) for orbit in self._orbits()]

    def _feature(self, orbit: int, date: int) -> dict[str, Any]:
        def link(day: int, tile: int) -> dict[str, str] | None:
            return (
                {"SourceID": _tile(orbit, tile), "SceneID": _scene(orbit, day), "Date": _date(day).isoformat()} if 0 <= day < date else None
            )

        return {
            "type": "Feature",
            "geometry": None,
            "properties": {
                "source_id": _scene(orbit, date),
                "data": {"date": _date(date).isoformat(), "metadata": {"uuid": "00000000-0000-0000-0000-000000000000"}},
                "tags": {"orbit": str(orbit)},
                "wkt": _WKT,
                "tiles": [
                    {
                        "SourceID": _tile(orbit, tile),
                        "SceneID": _scene(orbit, date),
                        "Date": _date(date).isoformat(),
                        "data": {},
                        "wkt": _WKT,
                        "previous": link(date - 1, tile),
                        "reference": link(0, tile),
                    }
                    for tile in range(self.size.tiles)
                ],
            },
        }


def _scene(orbit: int, date: int) -> str:
    return f"S1A_{orbit}_{_date(date):%Y%m%d}"


def _tile(orbit: int, tile: int) -> str:
    return f"T{orbit}-{tile}"


def _date(day: int) -> datetime:
    return datetime(2021, 1, 1, tzinfo=UTC) + timedelta(days=day)
