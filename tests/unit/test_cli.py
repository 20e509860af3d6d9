"""The commands against a real HTTP server that speaks the API: what they print, keep and send, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from common.errors import UserError
from common.features import SceneCollection
from common.payload import parse_payload
from thresher.cli.application import application

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token"

PAYLOAD = {
    "name": "Somewhere",
    "type": "Polygon",
    "coordinates": [[[3.0, 51.0], [4.0, 51.0], [4.0, 52.0], [3.0, 52.0], [3.0, 51.0]]],
    "start_time": "2024-03-01T00:00:00Z",
    "end_time": "2024-10-01T00:00:00Z",
    "scene_type": {"constellation": "sentinel2"},
    "scene_graph_name": "CopyProductToStorage",
    "tile_graph_name": "library/graph/ExtractS2Assets.json",
    "layers": {"B02": {"variable": "B02", "instance": "l2a"}},
}
HALF = "POLYGON ((3.5 50, 5 50, 5 53, 3.5 53, 3.5 50))"
NAMES = (
    "S2A_MSIL2A_20240320T105031_N0510_R051_T31UET_20240320T155031",
    "S2B_MSIL2A_20240514T104619_N0510_R051_T31UET_20240514T154619",
)


def scene_properties(name: str, *, tiles: bool, size: int | None = 2_000_000) -> dict[str, Any]:
    day = f"{name[11:15]}-{name[15:17]}-{name[17:19]}T10:50:31Z"
    tile = {"SourceID": f"{name}_t", "SceneID": name, "Date": day, "wkt": HALF, "data": {"swath_id": "IW1", "tile_nr": 4}}
    return {
        "aoi": "Somewhere",
        "id": 0,
        "source_id": name,
        "wkt": HALF,
        "tags": {"satellite": f"SENTINEL{name[1:3]}", "relativeOrbit": "51", "cloudCoverPercentage": "12.5"},
        "data": {
            "date": day,
            "metadata": {
                "assets": {
                    "B02": {"href": "https://example.com/B02.tif", "size": size},
                    "B12": {"href": "https://example.com/B12.tif", "size": 7_000_000_000},
                }
            },
        },
        **({"tiles": [tile]} if tiles else {}),
    }


class Api:
    """A service that keeps what it was sent. Areas advance by one state each time they are asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.parts: list[dict[str, list[str]]] = []
        """The form fields of each catalogue request."""
        self.queries: list[dict[str, str]] = []
        self.seen: Counter[str] = Counter()
        self.variables: dict[str, dict[str, Any]] = {}
        self.states: list[dict[str, Any]] = [area_state(done=2)]
        self.failing: list[dict[str, Any]] = []
        self.has_next = False
        self.token = ""
        self.broken = False
        self._loop = asyncio.new_event_loop()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self.guard])
        app.router.add_post("/catalog/scenes", self.find)
        app.router.add_post("/catalog/tiles", self.find)
        app.router.add_post("/catalog/aoi", self.ingest)
        app.router.add_get("/aoi/", self.areas)
        app.router.add_get("/aoi/{aoi}", self.area)
        app.router.add_get("/aoi/{aoi}/{kind}/{status}", self.items)
        app.router.add_put("/aoi/{aoi}/retry", self.retry)
        app.router.add_put("/aoi/{aoi}/retry/force", self.retry)
        app.router.add_get("/cube/variables", self.list_variables)
        app.router.add_put("/cube/variables/{name}", self.put_variable)
        return app

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen[f"{request.method} {request.path}"] += 1
        assert request.headers["Accept"] == "application/json"
        if self.broken:
            return web.Response(status=500, text="<html>oops</html>")
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return problem(401, "a bearer token is needed")
        response: web.StreamResponse = await handler(request)
        return response

    async def form(self, request: web.Request) -> dict[str, list[str]]:
        fields: dict[str, list[str]] = {}
        form = await request.post()
        for key, value in form.items():
            text = value if isinstance(value, str) else value.file.read().decode()  # type: ignore[union-attr]
            fields.setdefault(key, []).append(text)
        self.parts.append(fields)
        self.queries.append(dict(request.query))
        return fields

    async def find(self, request: web.Request) -> web.Response:
        fields = await self.form(request)
        try:
            parse_payload(fields["area"][0])
        except UserError as error:
            return problem(400, error.detail, error.field)
        tiles = request.path.endswith("tiles")
        sizes = (2_000_000, None) if self.has_next else (2_000_000, 3_000_000)
        features = [scene_properties(name, tiles=tiles, size=size) for name, size in zip(NAMES, sizes, strict=True)]
        if "scenes" in fields:
            posted = json.loads(fields["scenes"][0])["features"]
            features = [{**scene_properties(entry["properties"]["source_id"], tiles=True)} for entry in posted]
        collection = SceneCollection.model_validate({"features": [{"properties": entry} for entry in features]})
        collection = collection.model_copy(update={"has_next": self.has_next, "notes": ["1 scene outside the area was dropped"]})
        return web.json_response(collection.geojson())

    async def ingest(self, request: web.Request) -> web.Response:
        fields = await self.form(request)
        results = []
        for index, text in enumerate(fields["area"]):
            payload = parse_payload(text)
            if payload.scene_graph_name == "Unknown":
                body = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "is not known", "field": "scene_graph_name"}
                results.append({"area": index, "status": 400, "problem": body})
                continue
            posted = fields.get("tiles") or fields.get("scenes")
            count = len(json.loads(posted[0])["features"]) if posted else 2
            scenes = [{"id": number, "source_id": NAMES[number], "tiles": 1} for number in range(count)]
            done = {"name": payload.name, "scene_count": count, "tile_count": count, "scenes": scenes, "seconds": 0.1, "notes": []}
            results.append({"area": index, "status": 200, **done})
        if len(results) == 1:
            if "problem" in results[0]:
                return web.json_response(results[0]["problem"], status=400, content_type="application/problem+json")
            return web.json_response(results[0])
        return web.json_response({"results": results}, status=207 if any("problem" in result for result in results) else 200)

    async def areas(self, _request: web.Request) -> web.Response:
        return web.json_response([{"ID": "Somewhere", "status": "PENDING"}, {"ID": "Elsewhere", "status": "DONE"}])

    async def area(self, request: web.Request) -> web.Response:
        if request.match_info["aoi"] == "Nowhere":
            return problem(404, "there is no area 'Nowhere'")
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return web.json_response({**state, "name": request.match_info["aoi"]})

    async def items(self, request: web.Request) -> web.Response:
        kind, status = request.match_info["kind"], request.match_info["status"]
        return web.json_response([item for item in self.failing if item["kind"] == kind and item["status"] == status])

    async def retry(self, request: web.Request) -> web.Response:
        if request.path.endswith("force"):
            return web.json_response({"Scenes": 1, "Tiles": 3})
        return web.Response(status=204)

    async def list_variables(self, _request: web.Request) -> web.Response:
        return web.json_response(list(self.variables.values()))

    async def put_variable(self, request: web.Request) -> web.Response:
        document = json.loads(await request.read(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        created = document["name"] not in self.variables
        self.variables[document["name"]] = {**document, "id": "1"}
        return web.json_response({"id": "1", "created": created})

    def run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self.application())
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


def problem(status: int, detail: str, field: str | None = None) -> web.Response:
    body = {"type": "about:blank", "title": "Problem", "status": status, "detail": detail, **({"field": field} if field else {})}
    return web.json_response(body, status=status, content_type="application/problem+json")


def area_state(**counts: int) -> dict[str, Any]:
    tiles = {"new": 0, "pending": 0, "done": 0, "retry": 0, "failed": 0, **counts}
    tiles["total"] = sum(tiles.values())
    scenes = {"new": 0, "pending": 0, "done": 2, "retry": 0, "failed": 0, "total": 2}
    return {"status": "", "scenes": scenes, "tiles": tiles, "root_tiles": 1, "from": "2024-03-20", "to": "2024-05-14"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    service, started = Api(), threading.Event()
    thread = threading.Thread(target=service.run, args=(started,))
    thread.start()
    assert started.wait(10)
    monkeypatch.setenv("THRESHER_URL", service.url)
    monkeypatch.delenv("THRESHER_TOKEN", raising=False)
    yield service
    service.stop()
    thread.join(10)


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    return write(tmp_path / "somewhere.json", PAYLOAD)


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def thresher(*arguments: object) -> Result:
    return CliRunner().invoke(application, [str(argument) for argument in arguments])


def words(text: str, start: str) -> list[str]:
    """The line that begins with `start`, split."""
    return next(line for line in text.splitlines() if line.startswith(start)).split()


class TestScenes:
    def test_lists_volume_and_overlap_with_totals(self, api: Api, payload: Path) -> None:
        result = thresher("scenes", payload)
        assert result.exit_code == 0, result.output
        line = words(result.stdout, "2024-03-20")
        # Half of the area lies under the footprint; only the layer that is asked for counts.
        assert line == ["2024-03-20", "10:50", "SENTINEL2A", "31UET", "R051", "12.5", "2.0", "MB", "50.0", NAMES[0]]
        assert words(result.stdout, "2 scenes") == ["2", "scenes", "5.0", "MB", "50.0"]
        assert "1 scene outside the area was dropped" in result.stderr
        assert json.loads(api.parts[0]["area"][0]) == PAYLOAD

    @pytest.mark.usefixtures("api")
    def test_plain_text_without_frames_in_a_pipe(self, payload: Path) -> None:
        output = thresher("scenes", payload).stdout
        assert not set("─│━┃\x1b") & set(output)
        assert all(line == line.rstrip() for line in output.splitlines())

    def test_unknown_sizes_are_not_guessed(self, api: Api, payload: Path) -> None:
        api.has_next = True
        result = thresher("scenes", payload, "--page", 1, "--limit", 2)
        assert words(result.stdout, "2024-05-14")[6] == "?"
        assert words(result.stdout, "2 scenes")[2:6] == ["2.0", "MB", "+", "?"]
        assert api.queries[0] == {"page": "1", "limit": "2"}
        assert "ask for the next --page" in result.stderr

    @pytest.mark.usefixtures("api")
    def test_keeps_them_to_edit(self, payload: Path, tmp_path: Path) -> None:
        kept = tmp_path / "scenes.json"
        assert thresher("scenes", payload, "-o", kept).exit_code == 0
        document = json.loads(kept.read_text())
        assert [feature["properties"]["source_id"] for feature in document["features"]] == list(NAMES)
        assert list(tmp_path.glob(".*")) == []

    @pytest.mark.usefixtures("api")
    def test_standard_output_holds_only_json_when_asked_for(self, payload: Path) -> None:
        result = thresher("scenes", payload, "-o", "-")
        assert len(json.loads(result.stdout)["features"]) == 2
        assert "2 scenes" in result.stderr

    def test_yaml_is_sent_as_json(self, api: Api, tmp_path: Path) -> None:
        path = tmp_path / "somewhere.yaml"
        lines = [f"{key}: {json.dumps(value)}" for key, value in PAYLOAD.items() if key != "start_time"]
        path.write_text("\n".join([*lines, "start_time: 2024-03-01"]))
        assert thresher("scenes", path).exit_code == 0
        assert json.loads(api.parts[0]["area"][0])["start_time"] == "2024-03-01T00:00:00Z"

    def test_standard_input(self, api: Api) -> None:
        result = CliRunner().invoke(application, ["scenes", "-"], input=json.dumps(PAYLOAD))
        assert result.exit_code == 0
        assert json.loads(api.parts[0]["area"][0]) == PAYLOAD


class TestTiles:
    def test_splits_edited_scenes_and_draws_a_map(self, api: Api, payload: Path, tmp_path: Path) -> None:
        kept, drawn = tmp_path / "scenes.json", tmp_path / "map.png"
        thresher("scenes", payload, "-o", kept)
        document = json.loads(kept.read_text())
        del document["features"][0]
        result = thresher("tiles", payload, "--scenes", write(kept, document), "--map", drawn)
        assert result.exit_code == 0, result.output
        assert words(result.stdout, "2024-05-14")[4:7] == [f"{NAMES[1]}_t", "IW1", "4"]
        assert "1 tiles" in result.stdout
        assert json.loads(api.parts[1]["scenes"][0]) == document
        assert drawn.read_bytes().startswith(b"\x89PNG")

    def test_a_broken_file_of_scenes_is_told_before_asking(self, api: Api, payload: Path, tmp_path: Path) -> None:
        broken = write(tmp_path / "scenes.json", {"features": [{"properties": {"wkt": HALF, "data": {}}}]})
        result = thresher("tiles", payload, "--scenes", broken)
        assert result.exit_code == 2
        assert "scenes.0" in result.stderr
        assert not api.seen


class TestSubmit:
    @pytest.mark.usefixtures("api")
    def test_one(self, payload: Path) -> None:
        result = thresher("submit", payload)
        assert (result.exit_code, result.stdout) == (0, "Somewhere: 2 scenes and 2 tiles in progress\n")

    def test_edited_tiles(self, api: Api, payload: Path, tmp_path: Path) -> None:
        kept = tmp_path / "tiles.json"
        thresher("tiles", payload, "-o", kept)
        document = json.loads(kept.read_text())
        del document["features"][1]
        result = thresher("submit", payload, "--tiles", write(kept, document))
        assert result.stdout == "Somewhere: 1 scenes and 1 tiles in progress\n"
        assert json.loads(api.parts[1]["tiles"][0]) == document

    def test_a_batch_is_one_request_and_one_failure_blocks_no_other(self, api: Api, tmp_path: Path) -> None:
        good = write(tmp_path / "good.json", PAYLOAD)
        refused = write(tmp_path / "refused.json", {**PAYLOAD, "name": "Refused", "scene_graph_name": "Unknown"})
        broken = write(tmp_path / "broken.json", {**PAYLOAD, "end_time": "2023-01-01T00:00:00Z"})
        last = write(tmp_path / "last.json", {**PAYLOAD, "name": "Last"})
        result = thresher("submit", good, refused, broken, last)
        assert result.exit_code == 2
        assert words(result.stdout, str(good))[1:] == ["Somewhere", "2", "2", "in", "progress"]
        assert "Refused  " in result.stdout
        assert "scene_graph_name: is not known" in result.stdout
        assert "end_time: 2023-01-01 is not after start_time 2024-03-01" in result.stdout
        assert words(result.stdout, str(last))[1:] == ["Last", "2", "2", "in", "progress"]
        assert api.seen == {"POST /catalog/aoi": 1}
        assert len(api.parts[0]["area"]) == 3

    @pytest.mark.usefixtures("api")
    def test_a_batch_of_one_good_payload_that_is_refused(self, tmp_path: Path) -> None:
        refused = write(tmp_path / "refused.json", {**PAYLOAD, "scene_graph_name": "Unknown"})
        broken = write(tmp_path / "broken.json", {})
        result = thresher("submit", broken, refused)
        assert result.exit_code == 2
        assert "name: missing" in words_of(result.stdout, broken)
        assert "scene_graph_name: is not known" in words_of(result.stdout, refused)

    def test_watch_follows_to_the_end(self, api: Api, payload: Path) -> None:
        api.states = [area_state(new=1, pending=1), area_state(pending=1, done=1), area_state(done=2)]
        result = thresher("submit", payload, "--watch")
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[1:] == [f"scenes 2/2  tiles {done}/2" for done in range(3)]

    def test_watch_fails_with_the_messages_of_what_failed(self, api: Api, payload: Path) -> None:
        api.states = [area_state(pending=2, new=1), area_state(new=1, retry=1, failed=1)]
        scene = {"id": 1, "source_id": NAMES[0]}
        api.failing = [
            {"kind": "tiles", "id": 1, "source_id": "t1", "scene": scene, "status": "RETRY", "message": "disk [full]"},
            {"kind": "tiles", "id": 2, "source_id": "t2", "scene": scene, "status": "FAILED", "message": "no such band"},
        ]
        result = thresher("submit", payload, "--watch")
        assert result.exit_code == 1
        assert f"RETRY t1 of {NAMES[0]}: disk [full]" in result.stderr
        assert f"FAILED t2 of {NAMES[0]}: no such band" in result.stderr
        assert "1 tiles wait" in result.stderr

    @pytest.mark.parametrize("options", [["--scenes", "a", "--tiles", "b"], ["other.json", "--tiles", "b"]])
    def test_options_that_contradict_each_other(self, api: Api, payload: Path, options: list[str]) -> None:
        assert thresher("submit", payload, *options).exit_code == 2
        assert not api.seen


class TestStatus:
    @pytest.mark.usefixtures("api")
    def test_lists_areas(self) -> None:
        assert words(thresher("status").stdout, "Elsewhere") == ["Elsewhere", "DONE"]

    def test_one_area_with_what_failed(self, api: Api) -> None:
        api.states = [area_state(done=3, failed=1)]
        api.failing = [{"kind": "tiles", "id": 2, "source_id": "t2", "status": "FAILED", "message": "no such band", "scene": None}]
        result = thresher("status", "Somewhere")
        assert result.exit_code == 0
        assert words(result.stdout, "tiles") == ["tiles", "0", "0", "3", "0", "1", "4"]
        assert "from 2024-03-20 to 2024-05-14" in result.stdout
        assert "FAILED t2: no such band" in result.stderr

    @pytest.mark.usefixtures("api")
    def test_retry(self) -> None:
        assert thresher("retry", "Somewhere").stdout == "nothing to retry in this area\n"
        assert thresher("retry", "Somewhere", "--force").stdout == "1 scenes and 3 tiles run again\n"

    def test_a_name_is_one_part_of_the_path(self, api: Api) -> None:
        thresher("status", "../cube/variables")
        assert api.seen == {"GET /aoi/../cube/variables": 1}


class TestVariables:
    def test_applies_and_lists(self, api: Api) -> None:
        file = ROOT / "payloads" / "sentinel2.variables.yaml"
        assert thresher("variables", "apply", file).stdout == "14 variables applied, 14 of them new\n"
        assert thresher("variables", "apply", file).stdout == "14 variables applied, 0 of them new\n"
        assert api.variables["B02"]["instances"][1] == {"name": "l2a", "metadata": {"level": "L2A"}}
        assert api.variables["B02"]["bands"] == ["B02"]
        assert words(thresher("variables", "list").stdout, "SCL")[:7] == ["SCL", "l2a", "class", "uint8,", "nodata", "0,", "0"]

    def test_nan_travels_as_text(self, api: Api, tmp_path: Path) -> None:
        file = tmp_path / "v.yaml"
        file.write_text("variables: [{name: V, dtype: float32, nodata: .nan, min_value: 0, max_value: 1, instances: [{name: i}]}]")
        assert thresher("variables", "apply", file).exit_code == 0
        assert str(api.variables["V"]["nodata"]).lower() == "nan"
        assert "nodata nan" in thresher("variables", "list").stdout

    def test_nothing_is_applied_if_one_is_wrong(self, api: Api, tmp_path: Path) -> None:
        file = tmp_path / "v.yaml"
        good = "{name: V, dtype: uint8, min_value: 0, max_value: 1, instances: [{name: i}]}"
        file.write_text(f"variables: [{good}, {good.replace('name: V', 'name: W').replace('uint8', 'uint7')}]")
        result = thresher("variables", "apply", file)
        assert result.exit_code == 2
        assert "variables.W.dtype: 'uint7' is not one of" in result.stderr
        assert not api.variables


class TestFailures:
    @pytest.mark.parametrize(
        ("change", "field"),
        [({"end_time": "2023-01-01T00:00:00Z"}, "end_time"), ({"scene_type": {"constellation": "sentinel9"}}, "scene_type.constellation")],
    )
    def test_wrong_payload_is_told_before_asking(self, api: Api, tmp_path: Path, change: dict[str, Any], field: str) -> None:
        result = thresher("scenes", write(tmp_path / "p.json", {**PAYLOAD, **change}))
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {field}: ")
        assert result.stderr.rstrip().endswith("p.json)")
        assert result.stderr.count("\n") == 1
        assert not api.seen

    @pytest.mark.usefixtures("api")
    def test_what_the_service_refuses(self, tmp_path: Path) -> None:
        result = thresher("submit", write(tmp_path / "p.json", {**PAYLOAD, "scene_graph_name": "Unknown"}))
        assert (result.exit_code, result.stderr) == (2, "error: scene_graph_name: is not known\n")

    @pytest.mark.usefixtures("api")
    def test_missing_file(self, tmp_path: Path) -> None:
        result = thresher("scenes", tmp_path / "none.json")
        assert result.exit_code == 2
        assert "none.json: no such file or directory" in result.stderr

    @pytest.mark.usefixtures("api")
    def test_unknown_area(self) -> None:
        result = thresher("status", "Nowhere")
        assert (result.exit_code, result.stderr) == (2, "error: there is no area 'Nowhere'\n")

    def test_token(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        api.token = TOKEN
        result = thresher("status")
        assert (result.exit_code, result.stderr) == (2, "error: a bearer token is needed (set THRESHER_TOKEN)\n")
        monkeypatch.setenv("THRESHER_TOKEN", TOKEN)
        assert thresher("status").exit_code == 0

    def test_broken_service(self, api: Api) -> None:
        api.broken = True
        result = thresher("status")
        assert result.exit_code == 1
        assert "Traceback" not in result.output

    def test_unreachable(self, monkeypatch: pytest.MonkeyPatch, payload: Path) -> None:
        monkeypatch.setenv("THRESHER_URL", "http://127.0.0.1:9")
        result = thresher("scenes", payload)
        assert result.exit_code == 3
        assert "http://127.0.0.1:9 does not answer (connection refused)" in result.stderr
        assert "is `thresher up` running there?" in result.stderr

    @pytest.mark.usefixtures("api")
    def test_output_that_cannot_be_written(self, payload: Path, tmp_path: Path) -> None:
        result = thresher("scenes", payload, "-o", tmp_path / "no" / "folder.json")
        assert result.exit_code == 1
        assert "No such file or directory" in result.stderr


def words_of(text: str, path: Path) -> str:
    return " ".join(words(text, str(path)))


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom thresher.cli.application import application\n"
        "try:\n    application(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'rasterio', 'geopandas', 'numpy', 'shapely', 'aiohttp', 'pydantic', 'PIL'} & set(sys.modules)), file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "submit" in done.stdout
    assert done.stderr.strip() == "[]"
