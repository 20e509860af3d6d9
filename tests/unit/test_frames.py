"""Scenes, tiles and datasets as GeoDataFrames: columns and types, footprints, and the same by way of a session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from aiohttp import web

from common.features import SceneCollection
from thresher.answers import Dataset
from thresher.frames import datasets_frame, scenes_frame, tiles_frame
from thresher.notebook import Session

Value = TypeVar("Value")
UTC_TIME = "datetime64[us, UTC]"


@pytest.fixture
def document(shared_data: Path) -> dict[str, Any]:
    """Three scenes in three bursts each, as the reference recorded them."""
    found: dict[str, Any] = json.loads((shared_data / "payloads" / "DenmarkDemoS1.tiles.json").read_text())
    return found


@pytest.fixture
def collection(document: dict[str, Any]) -> SceneCollection:
    return SceneCollection.model_validate(document)


def dataset(**more: object) -> dict[str, object]:
    record = {"id": "r", "name": "S2A", "time": "2024-03-20T10:50:31Z"}
    numbers = {"size": 1000, "nodata": "nan", "min_value": 0, "max_value": 10000, "real_min": -0.1, "real_max": 0.9, "exponent": 1}
    grid = {"epsg": 32631, "shape": [512, 256], "footprint": shapely.geometry.mapping(shapely.box(3, 50, 4, 51))}
    names = {"id": "1", "variable": "B02", "instance": "l2a", "tile": "t", "uri": "/s/f.tif", "sha256": "ab", "dtype": "uint16"}
    return {**names, "record": record, **numbers, **grid, "bands": 1, **more}


def scene(**more: object) -> SceneCollection:
    wkt = "POLYGON ((178.5 -17.5, -178.5 -17.5, -178.5 -15.5, 178.5 -15.5, 178.5 -17.5))"
    properties = {"source_id": "S", "wkt": wkt, "data": {"date": "2024-03-01T00:00:00Z"}, **more}
    return SceneCollection.model_validate({"features": [{"properties": properties}]})


class TestFrames:
    def test_scenes(self, collection: SceneCollection) -> None:
        frame = scenes_frame(collection)
        assert frame.crs.to_epsg() == 4326
        assert list(frame["source_id"]) == [scene.source_id for scene in collection.scenes]
        assert frame["date"].dtype == UTC_TIME
        assert frame["date"].max() == collection.scenes[0].data.date
        assert (frame["relative_orbit"] == 44).all()
        assert frame["cloud_cover"].isna().all()
        assert (frame["tiles"] == 3).all()
        assert frame.geometry[0].equals(collection.scenes[0].footprint())

    def test_tiles(self, collection: SceneCollection) -> None:
        frame = tiles_frame(collection)
        assert len(frame) == 9
        assert frame.groupby("scene").size().to_list() == [3, 3, 3]
        assert set(frame["swath"]) == {"IW1"}
        roots = frame[frame["reference"].isna()]
        assert set(roots["date"]) == {frame["date"].min()}
        assert (frame["reference_date"].dropna() == frame["date"].min()).all()
        assert frame.loc[0, "anx_time_ds"] == 8951
        assert frame.geometry[0].equals(collection.scenes[0].tiles[0].footprint())

    def test_datasets(self) -> None:
        bare = dataset(id="2", epsg=None, shape=None, footprint=None)
        frame = datasets_frame([Dataset.model_validate(dataset()), Dataset.model_validate(bare)])
        assert frame.crs.to_epsg() == 4326
        assert frame["date"].dtype == UTC_TIME
        row = frame.iloc[0]
        assert (row["record"], row["record_id"], row["rows"], row["columns"], row["epsg"]) == ("S2A", "r", 512, 256, 32631)
        assert row["geometry"].equals(shapely.box(3, 50, 4, 51))
        assert frame.loc[1, ["rows", "columns", "epsg", "geometry"]].isna().all()
        assert frame["nodata"].isna().all()

    @pytest.mark.parametrize("make", [scenes_frame, tiles_frame])
    def test_columns_of_nothing(self, make: Callable[[SceneCollection], gpd.GeoDataFrame], collection: SceneCollection) -> None:
        empty = make(SceneCollection(scenes=[]))
        assert empty.empty
        assert empty.dtypes.equals(make(collection).dtypes)
        assert empty.crs.to_epsg() == 4326

    def test_columns_of_no_datasets(self) -> None:
        assert datasets_frame([]).dtypes.equals(datasets_frame([Dataset.model_validate(dataset())]).dtypes)

    def test_footprints_are_split_at_the_antimeridian(self) -> None:
        (footprint,) = scenes_frame(scene()).geometry
        assert len(footprint.geoms) == 2
        assert footprint.area == pytest.approx(6, rel=0.01)

    @pytest.mark.parametrize("orbit", ["", "D51", "-1", "9" * 30])
    def test_tags_that_are_no_numbers(self, orbit: str) -> None:
        (row,) = scenes_frame(scene(tags={"relativeOrbit": orbit, "cloudCoverPercentage": "a few"})).itertuples()
        assert pd.isna(row.relative_orbit)
        assert pd.isna(row.cloud_cover)

    def test_a_tile_that_is_the_whole_scene(self) -> None:
        tile = {"SourceID": "T", "SceneID": "S", "Date": "2024-03-01T00:00:00Z", "wkt": "POLYGON ((0 0, 1 0, 1 1, 0 0))"}
        (row,) = tiles_frame(scene(tiles=[tile])).itertuples()
        assert row.swath == ""
        assert pd.isna(row.tile_nr)
        assert pd.isna(row.anx_time_ds)

    def test_they_can_be_kept(self, collection: SceneCollection, tmp_path: Path) -> None:
        for frame in (scenes_frame(collection), tiles_frame(collection), datasets_frame([Dataset.model_validate(dataset())])):
            frame.to_file(tmp_path / "kept.gpkg", engine="pyogrio")
            kept = gpd.read_file(tmp_path / "kept.gpkg", engine="pyogrio")
            assert list(kept.columns) == list(frame.columns)
            assert list(kept["date"]) == list(frame["date"])


def test_frames_of_a_session(document: dict[str, Any]) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, dict(request.query)))
        return web.json_response({"datasets": [dataset()], "next": False} if request.path == "/cube/datasets" else document)

    def ask(url: str) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame, gpd.GeoDataFrame]:
        with Session(url) as session:
            return session.scenes_frame({"name": "a"}, limit=5), session.tiles_frame({"name": "a"}), session.datasets_frame(aoi="a")

    scenes, tiles, datasets = serve(answer, ask)
    assert (len(scenes), len(tiles), len(datasets)) == (3, 9, 1)
    assert [path for path, _ in asked] == ["/catalog/scenes", "/catalog/tiles", "/cube/datasets"]
    assert asked[0][1]["limit"] == "5"
    assert asked[2][1]["aoi"] == "a"


def serve(answer: Callable[[web.Request], Any], ask: Callable[[str], Value]) -> Value:
    async def beside() -> Value:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            return await asyncio.to_thread(ask, f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    return asyncio.run(beside())
