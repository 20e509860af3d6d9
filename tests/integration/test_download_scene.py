"""The job of a downloader, whole: product, graph for each tile, storage."""

from __future__ import annotations

import asyncio
import json
import textwrap
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from common.config import Settings
from common.errors import ErrorKind, FatalError, MissingFileError, ThresherError, UserError
from common.layers import LayerStore, open_layer_store
from common.messages import SceneJob, SceneRef, TileRef
from common.storage import PART_PREFIX
from common.work import JobContext, ProgressCallback, WorkReport
from downloader.work import download_scene

NAME = "S2A_MSIL1C_20190108T034121_N0207_R061_T48LWP_20190108T064531"
SCENE = SceneRef(id=1, source_id=NAME, aoi="Area", date=datetime(2019, 1, 8, 3, 41, 21, tzinfo=UTC))

STEP = """
    import argparse, pathlib, sys
    parser = argparse.ArgumentParser()
    for name in ("out", "tile", "fails"):
        parser.add_argument("--" + name)
    args = parser.parse_args()
    folder = pathlib.Path.cwd()
    scene = next(folder.glob("*.SAFE"))
    seen = sorted(path.name for path in folder.iterdir())
    if args.tile in args.fails.split(","):
        print("FATAL ERROR: tile", args.tile, "cannot be done")
        sys.exit(1)
    pathlib.Path(args.out).write_text(",".join(seen))
    (folder / f"rest-of-{args.tile}").write_text("left by a step")
"""


@pytest.fixture(params=["directory", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    found: Settings = request.getfixturevalue("s3_settings") if request.param == "s3" else Settings(storage=str(tmp_path / "store"))
    return _with_provider(found, tmp_path)


@pytest.fixture
def one_settings(tmp_path: Path) -> Settings:
    return _with_provider(Settings(storage=str(tmp_path / "store")), tmp_path)


def _with_provider(settings: Settings, folder: Path) -> Settings:
    safe = folder / "archive" / f"{NAME}.SAFE"
    (safe / "IMG").mkdir(parents=True)
    (safe / "manifest.safe").write_text("<xml/>")
    (safe / "IMG" / "B01.jp2").write_bytes(b"pixels" * 1000)
    (folder / "graphs" / "python").mkdir(parents=True)
    (folder / "graphs" / "python" / "split.py").write_text(textwrap.dedent(STEP))
    graph = {
        "config": {"fails": ""},
        "processing_steps": [
            {
                "engine": "python",
                "command": "python/split.py",
                "args": {
                    "out": {"type": "out", "layer": "part", "extension": "txt"},
                    "tile": {"type": "tile", "value": "number"},
                    "fails": {"type": "config", "value": "fails"},
                },
            }
        ],
        "in_files": [[{"layer": "never-there", "extension": "tif"}]],
        "out_files": [
            [
                {"layer": "part", "extension": "txt", "action": "to_create"},
                {"layer": "part", "extension": "txt", "action": "to_index", "datatype": "uint8", "max_value": 255},
                {"layer": "part", "extension": "txt", "action": "to_delete", "condition": "pass"},
                {"layer": "promised", "extension": "txt", "action": "to_create", "condition": "file_exists"},
            ]
        ],
    }
    (folder / "graphs" / "Split.json").write_text(json.dumps(graph))
    broken = {"out_files": [[{"layer": "promised", "extension": "txt", "action": "to_create"}]]}
    (folder / "graphs" / "Promise.json").write_text(json.dumps(broken))
    more = {"providers": {"mine": {"type": "local", "path": str(folder / "archive")}}, "graphs": {"folders": [str(folder / "graphs")]}}
    return Settings.model_validate({**settings.model_dump(), **more})


def _tile(number: int, scene: SceneRef = SCENE) -> TileRef:
    return TileRef.model_validate(
        {"id": number, "source_id": f"tile{number}", "scene": scene, "place": {"swath_id": "IW1", "tile_nr": number}}
    )


def _job(graph: str, tiles: int = 1, scene: SceneRef = SCENE, **config: str) -> SceneJob:
    return SceneJob(
        job=uuid4(), send=1, graph_name=graph, graph_config=config, scene=scene, tiles=[_tile(number + 1, scene) for number in range(tiles)]
    )


def _context(settings: Settings, workdir: Path, progress: ProgressCallback = lambda _step, _done: None) -> JobContext:
    workdir.mkdir()
    return JobContext(settings=settings, workdir=workdir, run=uuid4(), progress=progress)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def _run(job: SceneJob, settings: Settings, workdir: Path, seen: list[tuple[str, float]] | None = None) -> WorkReport:
    return await download_scene(job, _context(settings, workdir, lambda *step: seen.append(step) if seen is not None else None))


def _store(settings: Settings) -> LayerStore:
    return open_layer_store("", settings)


async def test_a_product_is_stored_whole(settings: Settings, tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    report = await _run(_job("CopyProductToStorage"), settings, tmp_path / "job", seen)
    assert report == WorkReport()
    store = _store(settings)
    assert store.uri(_tile(1), "__product__", "*").removeprefix(store.storage.root) == f"/Area/{NAME}/tiles/tile1/{NAME}.zip"
    (tmp_path / "processor").mkdir()
    fetched = await store.fetch(_tile(1), "__product__", "*", tmp_path / "processor")
    assert fetched == tmp_path / "processor" / NAME
    assert (fetched / f"{NAME}.SAFE" / "IMG" / "B01.jp2").read_bytes() == b"pixels" * 1000
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert seen[-1] == ("store", 1.0)


async def test_the_graph_runs_once_for_each_tile_on_its_own(settings: Settings, tmp_path: Path) -> None:
    await _run(_job("Split", tiles=3), settings, tmp_path / "job")
    for number in (1, 2, 3):
        path = await _store(settings).fetch(_tile(number), "part", "txt", tmp_path)
        assert path.name == f"20190108_tile{number}_part.txt"
        assert path.read_text() == f"{NAME}.SAFE"  # nothing of the other tiles was there
        assert not await _store(settings).storage.exists(f"Area/{NAME}/tiles/tile{number}/20190108_tile{number}_promised.txt")


async def test_if_one_tile_fails_nothing_is_stored(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"tile tile3: .*FATAL ERROR: tile 3 cannot be done"):
        await _run(_job("Split", tiles=3, fails="3"), settings, tmp_path / "job")
    for number in (1, 2, 3):
        with pytest.raises(MissingFileError):
            await _store(settings).fetch(_tile(number), "part", "txt", tmp_path)


async def test_doing_it_again_changes_nothing(one_settings: Settings, tmp_path: Path) -> None:
    await _run(_job("CopyProductToStorage"), one_settings, tmp_path / "job1")
    before = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()}
    await _run(_job("CopyProductToStorage"), one_settings, tmp_path / "job2")
    assert {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()} == before
    assert len(before) == 1


async def test_pass_needs_no_product(one_settings: Settings, tmp_path: Path) -> None:
    scene = SCENE.model_copy(update={"source_id": "nobody-has-this"})
    assert await _run(_job("Pass", scene=scene), one_settings, tmp_path / "job") == WorkReport()
    with pytest.raises(ThresherError, match="nobody-has-this could not be fetched: mine: "):
        await _run(_job("CopyProductToStorage", scene=scene), one_settings, tmp_path / "job2")


async def test_a_promise_not_kept_is_told(one_settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ThresherError, match=r"graph Promise ended well, but layer promised was not made") as caught:
        await _run(_job("Promise"), one_settings, tmp_path / "job")
    assert caught.value.kind is ErrorKind.ERROR


async def test_a_place_that_is_not_allowed_is_told_before_anything_is_fetched(one_settings: Settings, tmp_path: Path) -> None:
    scene = SCENE.model_copy(update={"storage_uri": str(tmp_path / "elsewhere")})
    with pytest.raises(UserError, match="storage_uri"):
        await _run(_job("CopyProductToStorage", scene=scene), one_settings, tmp_path / "job")
    assert not list((tmp_path / "job").iterdir())
    allowed = one_settings.model_copy(
        update={"limits": one_settings.limits.model_copy(update={"allowed_storage": [str(tmp_path / "elsewhere")]})}
    )
    await _run(_job("CopyProductToStorage", scene=scene), allowed, tmp_path / "job2")
    assert [path.name for path in (tmp_path / "elsewhere").rglob("*.zip")] == [f"{NAME}.zip"]


async def test_an_unknown_graph_is_told(one_settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="graph 'CopyProduct' is not known"):
        await _run(_job("CopyProduct"), one_settings, tmp_path / "job")


async def test_cancelling_leaves_the_storage_as_it_was(one_settings: Settings, tmp_path: Path) -> None:
    big = tmp_path / "archive" / f"{NAME}.SAFE" / "big.tiff"
    with big.open("wb") as file:
        file.truncate(2**28)
    stored = asyncio.Event()
    loop = asyncio.get_running_loop()

    def progress(step: str, done: float) -> None:
        if step == "store":
            loop.call_soon_threadsafe(stored.set)

    context = _context(one_settings, tmp_path / "job", progress)
    task = asyncio.create_task(download_scene(_job("CopyProductToStorage"), context))
    await stored.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _files(tmp_path / "store")
    assert not [path for path in _files(tmp_path) if path.name.startswith(PART_PREFIX)]


async def test_a_real_product_goes_in_and_comes_out(shared_data: Path, tmp_path: Path) -> None:
    archive = next((shared_data / "s2_imagery").glob("S2A_MSIL1C_*T48LWP*.zip"))
    name = archive.name.removesuffix(".zip").removesuffix(".SAFE")
    scene = SCENE.model_copy(update={"source_id": name})
    settings = Settings.model_validate(
        {"storage": str(tmp_path / "store"), "providers": {"mine": {"type": "local", "path": str(archive.parent)}}}
    )
    await _run(_job("CopyProductToStorage", scene=scene), settings, tmp_path / "job")
    fetched = await _store(settings).fetch(_tile(1, scene), "__product__", "*", tmp_path)
    with zipfile.ZipFile(archive) as original:
        files = {info.filename.partition(".SAFE/")[2] for info in original.infolist() if not info.is_dir()}
    safe = fetched / f"{name}.SAFE"
    assert {path.relative_to(safe).as_posix() for path in safe.rglob("*") if path.is_file()} == files
