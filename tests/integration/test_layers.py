"""Layers of tiles, saved to and fetched from a folder and a real bucket."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from common.config import LimitSettings, Settings
from common.errors import ConfigurationError, ErrorKind, FatalError, MissingFileError, StorageError, UserError
from common.layers import LayerStore, layer_file_name, open_layer_store
from common.messages import SceneRef, TileRef
from common.storage import PART_PREFIX

SCENE = SceneRef(id=1, source_id="S1A_SCENE", aoi="My:Area", date=datetime(2022, 1, 4, 23, 59, 59, tzinfo=UTC))
TILE = TileRef(id=2, source_id="A44_IW1_8951", scene=SCENE)
JOB = UUID("8a3cd4c5-d6a6-4f19-a70e-70dd2dca4bfb")


@pytest.fixture(params=["directory", "s3"])
def layers(request: pytest.FixtureRequest, tmp_path: Path) -> LayerStore:
    settings: Settings = request.getfixturevalue("s3_settings") if request.param == "s3" else Settings(storage=str(tmp_path / "store"))
    return open_layer_store("", settings)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    folder = tmp_path / "other"
    folder.mkdir()
    return folder


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _safe(folder: Path, name: str = "S1A_SCENE.SAFE") -> Path:
    safe = folder / name
    (safe / "annotation").mkdir(parents=True)
    (safe / "empty").mkdir()
    (safe / "manifest.safe").write_text("<xml/>")
    (safe / "annotation" / "a.xml").write_bytes(b"a" * 5000)
    (safe / "measurement.tiff").write_bytes(b"t" * 5000)
    return safe


@pytest.mark.parametrize(
    ("layer", "extension", "name"),
    [
        ("sigma0_VV", "tif", "20220104_A44_IW1_8951_sigma0_VV.tif"),
        ("sigma0_VV", "", "20220104_A44_IW1_8951_sigma0_VV"),
        ("all", "*", "20220104_A44_IW1_8951_all"),
        ("__product__", "SAFE", "S1A_SCENE.SAFE"),
        ("__product__", "*", "S1A_SCENE"),
        ("__annotations__", "zip", "S1A_SCENE_annotations.zip"),
        ("preprocessed", "dim", "20220104_A44_IW1_8951_preprocessed.dim"),
    ],
)
def test_names_are_those_of_the_reference(layer: str, extension: str, name: str) -> None:
    assert layer_file_name(TILE, layer, extension) == name


@pytest.mark.parametrize("layer", ["../../etc/passwd", "a/b", "a\\b", "a\0b", "x" * 300])
def test_a_layer_cannot_lead_elsewhere(layer: str) -> None:
    with pytest.raises(UserError):
        layer_file_name(TILE, layer, "tif")


async def test_a_file_goes_where_the_reference_puts_it(layers: LayerStore, work: Path, other: Path) -> None:
    (work / "20220104_A44_IW1_8951_B02.tif").write_bytes(b"pixels")
    stored = await layers.save(TILE, "B02", "tif", work)
    assert stored.uri == layers.uri(TILE, "B02", "tif")
    assert stored.uri.removeprefix(layers.storage.root) == "/My:Area/S1A_SCENE/tiles/A44_IW1_8951/20220104_A44_IW1_8951_B02.tif"
    fetched = await layers.fetch(TILE, "B02", "tif", other)
    assert fetched == other / "20220104_A44_IW1_8951_B02.tif"
    assert fetched.read_bytes() == b"pixels"


async def test_a_file_of_one_attempt_never_meets_another(layers: LayerStore, work: Path) -> None:
    (work / "20220104_A44_IW1_8951_B02.tif").write_bytes(b"pixels")
    stored = await layers.save(TILE, "B02", "tif", work, job=JOB)
    assert stored.uri.endswith(f"/A44_IW1_8951/{JOB}/20220104_A44_IW1_8951_B02.tif")
    with pytest.raises(MissingFileError):
        await layers.fetch(TILE, "B02", "tif", work)
    await layers.storage.delete(stored.uri)


async def test_a_product_folder_travels_as_one_zip(layers: LayerStore, work: Path, other: Path) -> None:
    _safe(work)
    stored = await layers.save(TILE, "__product__", "SAFE", work)
    assert stored.uri.endswith("/tiles/A44_IW1_8951/S1A_SCENE.zip")
    fetched = await layers.fetch(TILE, "__product__", "SAFE", other)
    assert fetched == other / "S1A_SCENE.SAFE"
    assert _tree(other) == _tree(work)
    assert not [path for folder in (work, other) for path in folder.iterdir() if path.name.startswith(PART_PREFIX)]


async def test_the_same_folder_gives_the_same_bytes(layers: LayerStore, work: Path, other: Path) -> None:
    for folder in (work, other):
        _safe(folder)
    (other / "S1A_SCENE.SAFE" / "manifest.safe").touch()
    first = await layers.save(TILE, "__product__", "SAFE", work)
    second = await layers.save(TILE, "__product__", "SAFE", other)
    assert first == second


async def test_a_dimap_travels_with_its_data(layers: LayerStore, work: Path, other: Path) -> None:
    stem = "20220104_A44_IW1_8951_pre"
    (work / f"{stem}.dim").write_text("<dim/>")
    (work / f"{stem}.data").mkdir()
    (work / f"{stem}.data" / "i.img").write_bytes(b"img")
    (work / "unrelated").write_bytes(b"stays here")
    await layers.save(TILE, "pre", "dim", work)
    (other / f"{stem}.data").mkdir()
    (other / f"{stem}.data" / "old").write_bytes(b"of an earlier try")
    await layers.fetch(TILE, "pre", "dim", other)
    assert _tree(other) == {f"{stem}.dim": b"<dim/>", f"{stem}.data": None, f"{stem}.data/i.img": b"img"}


async def test_everything_becomes_a_folder_of_the_scene(layers: LayerStore, work: Path, other: Path) -> None:
    _safe(work)
    (work / "product.json").write_text("{}")
    (work / f"{PART_PREFIX}1").write_text("an unfinished write")
    await layers.save(TILE, "__product__", "*", work)
    fetched = await layers.fetch(TILE, "__product__", "*", other)
    assert fetched == other / "S1A_SCENE"
    assert _names(fetched) == {"S1A_SCENE.SAFE", "product.json"}


async def test_a_zip_of_everything_gives_its_product_to_who_asks_for_it(layers: LayerStore, work: Path, other: Path) -> None:
    """Saved whole by one graph, wanted as SAFE by another: the member of that name is it, as in the reference."""
    _safe(work)
    (work / "product.json").write_text("{}")
    await layers.save(TILE, "__product__", "*", work)
    fetched = await layers.fetch(TILE, "__product__", "SAFE", other)
    assert _names(other) == {"S1A_SCENE.SAFE"}
    assert (fetched / "manifest.safe").is_file()


async def test_a_zip_without_the_folder_becomes_the_folder(layers: LayerStore, work: Path, other: Path) -> None:
    with zipfile.ZipFile(work / "S1A_SCENE.zip", "w") as archive:
        archive.writestr("manifest.safe", "<xml/>")
    await layers.save(TILE, "__product__", "zip", work)
    await layers.fetch(TILE, "__product__", "SAFE", other)
    assert _tree(other) == {"S1A_SCENE.SAFE": None, "S1A_SCENE.SAFE/manifest.safe": b"<xml/>"}


@pytest.mark.parametrize("extension", ["tif", "SAFE", "dim"])
async def test_a_layer_that_is_not_there_is_named(layers: LayerStore, work: Path, extension: str) -> None:
    with pytest.raises(MissingFileError, match="20220104_A44_IW1_8951_B02"):
        await layers.save(TILE, "B02", extension, work)
    with pytest.raises(MissingFileError, match="/My:Area/S1A_SCENE/tiles/A44_IW1_8951/20220104_A44_IW1_8951_B02"):
        await layers.fetch(TILE, "B02", extension, work)
    assert not _names(work)


async def test_a_hostile_or_broken_zip_leaves_nothing(layers: LayerStore, work: Path, other: Path) -> None:
    with zipfile.ZipFile(work / "S1A_SCENE.zip", "w") as archive:
        archive.writestr("fine", "x")
        archive.writestr("../evil", "x")
    await layers.save(TILE, "__product__", "zip", work)
    with pytest.raises(FatalError):
        await layers.fetch(TILE, "__product__", "SAFE", other)
    (work / "S1A_SCENE.zip").write_bytes(b"PK\x03\x04 and then nothing")
    await layers.save(TILE, "__product__", "zip", work)
    with pytest.raises(StorageError):
        await layers.fetch(TILE, "__product__", "SAFE", other)
    assert not _names(other)
    assert not (other.parent / "evil").exists()


def test_only_allowed_places_are_opened(tmp_path: Path) -> None:
    settings = Settings(storage="s3://bucket/layers", limits=LimitSettings(allowed_storage=["s3://partner/", str(tmp_path)]))
    for uri in ("", "s3://bucket/layers", "s3://bucket/layers/mine", "s3://partner/x", str(tmp_path / "x"), f"file://{tmp_path}/x"):
        open_layer_store(uri, settings)
    for uri in ("s3://bucket", "s3://bucket/layers2", "s3://bucket/layers/../x", "s3://partners", "/etc", f"{tmp_path}/../x", "gs://x"):
        with pytest.raises(UserError, match="storage_uri") as caught:
            open_layer_store(uri, settings)
        assert caught.value.kind is ErrorKind.FATAL


def test_no_storage_at_all_is_told() -> None:
    with pytest.raises(ConfigurationError, match="THRESHER_STORAGE"):
        open_layer_store("", Settings())
    with pytest.raises(UserError):
        open_layer_store("/anywhere", Settings())
