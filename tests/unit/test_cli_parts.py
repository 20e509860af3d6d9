"""Behind the commands: overlap on the ellipsoid, sizes, the map, the variables file, the client without a loop."""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import subprocess
import sys
import threading
from itertools import combinations
from pathlib import Path

import pytest
import shapely
from aiohttp import web
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from PIL import Image, ImageColor
from rich.console import Console

from common.errors import UpstreamError, UserError
from common.features import SceneCollection
from common.payload import Payload, parse_payload
from thresher import watch
from thresher.answers import AreaStatus, Counts, Dataset
from thresher.client import Client, UnreachableError
from thresher.coverage import area_m2, overlap_percent
from thresher.map import draw_map, map_figure
from thresher.notebook import Session
from thresher.tables import datasets_table, human_size, scenes_table
from thresher.variables import read_variables
from thresher.watch import watch_areas

ROOT = Path(__file__).resolve().parents[2]


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


def test_table_of_recorded_tiles(shared_data: Path) -> None:
    """The tiles the reference recorded, in the older field names: 3 scenes, each in the same bursts."""
    collection, payload = recorded(shared_data)
    console = Console(width=1000, record=True, file=io.StringIO())
    console.print(scenes_table(collection, payload))
    lines = [line for line in console.export_text().splitlines() if "S1A_IW_SLC" in line]
    assert len(lines) == len(collection.scenes)
    assert all("SENTINEL1A" in line and "A44" in line and "100.0" in line for line in lines)


def recorded(data: Path) -> tuple[SceneCollection, Payload]:
    collection = SceneCollection.model_validate(json.loads((data / "payloads" / "DenmarkDemoS1.tiles.json").read_text()))
    return collection, parse_payload((data / "payloads" / "DenmarkDemoS1.json").read_bytes())


def labels(figure: Figure) -> dict[str, Bbox]:
    """What is written on the map itself that can be seen, and where."""
    texts = [text for text in figure.axes[0].texts if not isinstance(text, Annotation) and text.get_visible()]
    found = {text.get_text(): text.get_window_extent() for text in texts}
    assert len(found) == len(texts)
    return found


def title(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if isinstance(text, Annotation)]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def scene(name: str, day: str, wkt: str, *tiles: dict[str, object]) -> dict[str, object]:
    return {"source_id": name, "wkt": wkt, "data": {"date": f"{day}T02:20:00Z"}, "tiles": [*tiles]}


def burst(name: str, day: str, wkt: str, reference: str | None = None) -> dict[str, object]:
    tile = {"SourceID": name, "SceneID": f"S{day}", "Date": f"{day}T02:20:00Z"}
    return {**tile, "wkt": wkt, "reference": {**tile, "SourceID": reference} if reference else None}


def collection_of(*scenes: dict[str, object]) -> SceneCollection:
    return SceneCollection.model_validate({"features": [{"properties": each} for each in scenes]})


class TestMap:
    AREA = shapely.box(10, 59, 12, 61)

    def test_of_recorded_tiles(self, shared_data: Path, tmp_path: Path) -> None:
        collection, payload = recorded(shared_data)
        figure = map_figure(collection, payload.area)
        assert set(labels(figure)) == {"A44_IW1_8951", "A44_IW1_8979", "A44_IW1_9007"}
        assert title(figure) == ["DenmarkDemo", "3 scenes, 9 tiles on 3 dates, 2022-01-11 to 2022-02-04"]
        days = ("2022-01-11", "2022-01-23", "2022-02-04")
        assert legend(figure) == ["area of interest", "whole scene", *(f"{day}   1 scene, 3 tiles" for day in days)]
        draw_map(collection, payload.area, tmp_path / "map.png", name="Elsewhere")
        with Image.open(tmp_path / "map.png") as image:
            assert image.format == "PNG"
            # The frame is that of the bursts, wider than high.
            assert 1200 < image.width < 2000
            assert 300 < image.height < image.width
            colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
        lines = [line.get_color() for line in figure.axes[0].get_legend().get_lines()][1:]
        assert len(set(lines)) == 3
        # The outlines of all dates are seen, although each lies upon the others.
        assert {ImageColor.getrgb(colour) for colour in ("#e4572e", *lines)} <= colours

    def test_bursts_of_a_place_share_a_label(self) -> None:
        """Their ids differ by one from date to date."""
        outline = shapely.box(9, 59.5, 13, 60.5).wkt
        days = ("2025-04-06", "2025-04-18")
        first = scene("S1", days[0], self.AREA.wkt, burst("A108_IW1_8472", days[0], outline))
        second = scene("S2", days[1], self.AREA.wkt, burst("A108_IW1_8471", days[1], outline, reference="A108_IW1_8472"))
        assert set(labels(map_figure(collection_of(first, second), self.AREA))) == {"A108_IW1_8472"}

    def test_labels_never_overprint(self) -> None:
        """Bursts too low for text are not labelled, wide ones are."""
        day = "2025-04-06"
        low = [burst(f"low_{number}", day, shapely.box(10, 59 + number / 50, 12, 59.02 + number / 50).wkt) for number in range(20)]
        wide = [burst(f"wide_{number}", day, shapely.box(10 + number, 59.5, 11.5 + number, 61).wkt) for number in range(2)]
        found = labels(map_figure(collection_of(scene("S1", day, self.AREA.wkt, *low, *wide)), self.AREA))
        assert {"wide_0", "wide_1"} <= set(found)
        assert not any(one.overlaps(other) for one, other in combinations(found.values(), 2))
        crowded = [burst(f"crowded_{number}", day, shapely.box(10, 59, 10.02 + number / 1000, 59.01).wkt) for number in range(20)]
        assert labels(map_figure(collection_of(scene("S1", day, self.AREA.wkt, *crowded)), self.AREA)) == {}

    def test_a_tile_that_is_its_scene_is_one_outline(self) -> None:
        name = "S2A_MSIL2A_20240320T105031_N0510_R051_T31UET_20240320T150000"
        outline = shapely.box(10, 0, 12, 2).wkt
        figure = map_figure(collection_of(scene(name, "2024-03-20", outline, burst("T31UET", "2024-03-20", outline))), self.AREA)
        assert set(labels(figure)) == {"31UET"}
        assert legend(figure) == ["area of interest", "2024-03-20   1 scene, 1 tile"]

    def test_a_legend_of_many_dates_ends(self) -> None:
        days = [f"2024-{month:02}-{day:02}" for month in (1, 2, 3) for day in range(1, 11)]
        figure = map_figure(collection_of(*(scene(f"S{day}", day, self.AREA.wkt) for day in days)), self.AREA)
        assert len(legend(figure)) == 1 + 12
        assert legend(figure)[-2:] == ["2024-02-01   1 scene", "and 19 more, to 2024-03-10"]

    def test_true_to_scale_in_the_middle(self) -> None:
        """At 60° a degree of longitude is half as long as one of latitude."""
        (axes,) = map_figure(SceneCollection(scenes=[]), self.AREA).axes
        assert axes.get_aspect() == pytest.approx(2)
        (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
        width, height = axes.figure.get_size_inches()
        assert height / (north - south) == pytest.approx(2 * width / (east - west))

    def test_nothing_found(self) -> None:
        assert title(map_figure(SceneCollection(scenes=[]), self.AREA, name="Somewhere")) == ["Somewhere", "no scenes"]

    def test_across_the_antimeridian_it_is_not_a_map_of_the_world(self) -> None:
        area = shapely.MultiPolygon([shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16)])
        wkt = "POLYGON ((178.5 -17.5, -178.5 -17.5, -178.5 -15.5, 178.5 -15.5, 178.5 -17.5))"
        figure = map_figure(collection_of(scene("S", "2024-03-01", wkt)), area)
        (axes,) = figure.axes
        assert axes.get_xlim() == pytest.approx((178.5, 181.5), abs=0.2)
        figure.draw_without_rendering()
        assert {"179°E", "180°", "179°W"} <= {label.get_text() for label in axes.get_xticklabels()}

    def test_outlines_and_names_as_people_edit_them(self) -> None:
        wkt = "POLYGON ((10 59, 12 61, 12 59, 10 61, 10 59))"
        tile = burst("$\\frac{$", "2024-03-01", "POLYGON ((10 60, 12 61, 12 60, 10 61, 10 60))")
        map_figure(collection_of(scene("S", "2024-03-01", wkt, tile)), self.AREA, name="$\\frac{$").draw_without_rendering()

    def test_without_home_and_display(self, tmp_path: Path) -> None:
        (tmp_path / "no_folder").touch()
        code = (
            "import shapely; from pathlib import Path; from common.features import SceneCollection; from thresher.map import draw_map\n"
            "draw_map(SceneCollection(scenes=[]), shapely.box(0, 0, 1, 1), Path('map.png'))"
        )
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MPL", "XDG_", "DISPLAY"))}
        environment = {**kept, "HOME": str(tmp_path / "no_folder"), "MPLBACKEND": "TkAgg", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "map.png").stat().st_size > 1000


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
