"""Behind the commands: overlap on the ellipsoid, sizes, the map, the variables file, the client without a loop."""

from __future__ import annotations

import asyncio
import io
import json
import math
import threading
from pathlib import Path

import pytest
import shapely
from aiohttp import web
from PIL import Image
from rich.console import Console

from common.errors import UpstreamError, UserError
from common.features import SceneCollection
from common.payload import parse_payload
from thresher import watch
from thresher.answers import AreaStatus, Counts, Dataset
from thresher.client import Client, UnreachableError
from thresher.coverage import area_m2, overlap_percent
from thresher.map import draw_map
from thresher.notebook import Session
from thresher.tables import datasets_table, human_size, scenes_table
from thresher.variables import read_variables
from thresher.watch import watch_areas


class TestCoverage:
    def test_area_of_a_degree_at_the_equator(self) -> None:
        # 1° x 1° cell at the equator on WGS 84: 12 308.8 km².
        assert area_m2(shapely.box(0, 0, 1, 1)) == pytest.approx(12_308.8e6, rel=1e-3)

    def test_orientation_and_holes(self) -> None:
        ring = shapely.Polygon([(0, 0), (0, 2), (2, 2), (2, 0)], [[(0.5, 0.5), (1.5, 0.5), (1.5, 1.5), (0.5, 1.5)]])
        whole, hole = area_m2(shapely.box(0, 0, 2, 2)), area_m2(shapely.box(0.5, 0.5, 1.5, 1.5))
        assert area_m2(ring) == pytest.approx(whole - hole, rel=1e-9)

    def test_share_of_the_area_not_of_degrees(self) -> None:
        area = shapely.box(0, 0, 1, 80)
        # On a sphere the share south of 40° would be sin 40° / sin 80°.
        expected = 100 * math.sin(math.radians(40)) / math.sin(math.radians(80))
        assert overlap_percent(shapely.box(-1, -1, 2, 40), area) == pytest.approx(expected, abs=0.3)

    def test_several_count_once(self) -> None:
        halves = [shapely.box(0, 0, 0.6, 1), shapely.box(0.4, 0, 1, 1)]
        assert overlap_percent(halves, shapely.box(0, 0, 1, 1)) == pytest.approx(100)
        assert overlap_percent([], shapely.box(0, 0, 1, 1)) == 0

    def test_across_the_antimeridian(self) -> None:
        area = shapely.MultiPolygon([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)])
        crossing = shapely.Polygon([(179.5, -1), (-179.5, -1), (-179.5, 2), (179.5, 2), (179.5, -1)])
        assert overlap_percent(crossing, area) == pytest.approx(50, abs=0.1)


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "?"), (0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (999_600, "1.0 MB"), (195_577_613, "196 MB"), (8 * 10**12, "8.0 TB")],
)
def test_human_size(size: int | None, text: str) -> None:
    assert human_size(size) == text


def test_tables_and_map_of_recorded_tiles(shared_data: Path, tmp_path: Path) -> None:
    """The tiles the reference recorded, in the older field names: 3 scenes, each in the same bursts."""
    collection = SceneCollection.model_validate(json.loads((shared_data / "payloads" / "DenmarkDemoS1.tiles.json").read_text()))
    payload = parse_payload((shared_data / "payloads" / "DenmarkDemoS1.json").read_bytes())
    console = Console(width=1000, record=True, file=io.StringIO())
    console.print(scenes_table(collection, payload))
    lines = [line for line in console.export_text().splitlines() if "S1A_IW_SLC" in line]
    assert len(lines) == len(collection.scenes)
    assert all("SENTINEL1A" in line and "A44" in line and "100.0" in line for line in lines)
    draw_map(collection, payload.area, tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
        assert (230, 90, 30) in colours
        # The frame is that of the bursts, wider than high; the legend stands beside it.
        assert image.width == 1700
        assert 300 <= image.height < 1400


def test_map_across_the_antimeridian_is_not_a_map_of_the_world(tmp_path: Path) -> None:
    area = shapely.MultiPolygon([shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16)])
    wkt = "POLYGON ((178.5 -17.5, -178.5 -17.5, -178.5 -15.5, 178.5 -15.5, 178.5 -17.5))"
    scene = {"source_id": "S", "wkt": wkt, "data": {"date": "2024-03-01T00:00:00Z"}}
    draw_map(SceneCollection.model_validate({"features": [{"properties": scene}]}), area, tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        # 3° x 2°, not 360° x 2°.
        assert image.height > 0.5 * (image.width - 300)


class TestVariablesFile:
    GOOD = "{name: V, dtype: uint8, min_value: 0, max_value: 1, instances: [{name: i}]}"

    @pytest.mark.parametrize(
        ("text", "field"),
        [
            ("", "variables"),
            ("[]", "variables"),
            ("variables: []", "variables"),
            (f"{{variables: [{GOOD}], more: 1}}", "more"),
            (f"variables: [{GOOD}, {GOOD}]", "variables.V"),
            ("variables: [1]", "variables.0"),
            (f"variables: [{GOOD.replace('name: V, ', '')}]", "variables.0.name"),
            (f"variables: [{GOOD.replace('uint8', 'uint9')}]", "variables.V.dtype"),
            (f"variables: [{GOOD.replace('max_value: 1', 'max_value: 0')}]", "variables.V.min_value"),
            (f"variables: [{GOOD.replace('max_value: 1', 'max_value: much')}]", "variables.V.max_value"),
            (f"variables: [{GOOD.replace('{name: i}', '{name: i}, {name: i}')}]", "variables.V.instances"),
            (f"variables: [{GOOD.replace('[{name: i}]', '[]')}]", "variables.V.instances"),
            (f"variables: [{GOOD.replace('dtype', 'colour: red, dtype')}]", "variables.V.colour"),
        ],
    )
    def test_errors_name_the_field(self, text: str, field: str) -> None:
        with pytest.raises(UserError) as caught:
            read_variables(text)
        assert caught.value.field == field

    def test_not_yaml(self) -> None:
        with pytest.raises(UserError, match="not YAML"):
            read_variables("variables: [")

    def test_defaults(self) -> None:
        (variable,) = read_variables(f"variables: [{self.GOOD}]")
        assert variable.bands == ["V"]
        assert math.isnan(variable.nodata)


class _Restarting:
    """A service that is away for a while and then done."""

    def __init__(self, misses: int) -> None:
        self.misses = misses
        self.asked = 0

    async def area(self, name: str) -> AreaStatus:
        self.asked += 1
        if self.asked <= self.misses:
            raise UnreachableError("away")
        return AreaStatus(name=name, scenes=Counts(done=1, total=1), tiles=Counts(done=4, total=4))


class TestWatch:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watch, "_POLL_S", 0.001)
        monkeypatch.setattr(watch, "_PATIENCE_POLLS", 5)

    async def test_outlasts_a_restart_of_the_service(self) -> None:
        service = _Restarting(misses=5)
        outcome = await watch_areas(service, ["a", "b"], Console(file=io.StringIO()))  # type: ignore[arg-type]
        assert outcome.succeeded
        assert outcome.tiles.done == 8

    async def test_gives_up_in_the_end(self) -> None:
        with pytest.raises(UnreachableError):
            await watch_areas(_Restarting(misses=6), ["a"], Console(file=io.StringIO()))  # type: ignore[arg-type]

    async def test_bars_on_a_terminal(self) -> None:
        file = io.StringIO()
        await watch_areas(_Restarting(misses=0), ["a"], Console(file=file, force_terminal=True, width=100))  # type: ignore[arg-type]
        assert "4/4" in file.getvalue()


def dataset(number: int, variable: str = "B02") -> dict[str, object]:
    record = {"id": "r", "name": "S2A", "time": "2024-03-20T10:50:31Z"}
    numbers = {"size": 1000, "nodata": "nan", "min_value": 0, "max_value": 10000, "real_min": -0.1, "real_max": 0.9, "exponent": 1}
    grid = {"epsg": 32631, "shape": [512, 256], "transform": [100, 0, 5e5, 0, -100, 5.8e6], "footprint": None}
    names = {"id": str(number), "variable": variable, "instance": "l2a", "tile": "t", "uri": "/s/f.tif", "sha256": "ab", "dtype": "uint16"}
    return {**names, "record": record, **numbers, **grid, "bands": 1, "something_newer": True}


class TestClient:
    def test_pages_of_datasets_without_a_loop(self) -> None:
        """As in a notebook: a session beside a loop that runs already."""
        queries: list[dict[str, str]] = []

        async def answer(request: web.Request) -> web.Response:
            queries.append(dict(request.query))
            page = int(request.query["page"])
            return web.json_response({"datasets": [dataset(page)], "next": page < 2})

        async def within_a_loop() -> list[Dataset]:
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            try:
                return await asyncio.to_thread(ask, url)
            finally:
                await runner.cleanup()

        def ask(url: str) -> list[Dataset]:
            with Session(url) as session:
                return session.datasets(aoi="Somewhere")

        app = web.Application()
        app.router.add_get("/cube/datasets", answer)
        before = threading.active_count()
        found = asyncio.run(within_a_loop())
        assert [entry.id for entry in found] == ["0", "1", "2"]
        assert math.isnan(found[0].nodata)
        assert queries[2] == {"aoi": "Somewhere", "page": "2", "limit": "1000"}
        assert threading.active_count() <= before + 1
        table = datasets_table(found)
        assert table.row_count == 2

    @pytest.mark.parametrize("body", ["<html>", "[1]", '{"name": 3}'])
    async def test_answers_that_are_none(self, body: str, aiohttp_url: str) -> None:
        _bodies[aiohttp_url] = body
        async with Client(aiohttp_url) as client:
            with pytest.raises(UpstreamError):
                await client.area("Somewhere")


_bodies: dict[str, str] = {}


@pytest.fixture
async def aiohttp_url():  # type: ignore[no-untyped-def]
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=_bodies[f"http://{request.host}"], content_type="application/json")

    app = web.Application()
    app.router.add_get("/aoi/{aoi}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
