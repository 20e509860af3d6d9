"""A graph tried out: found by name or file, for a tile that need not exist, on a product at hand; no service takes part."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from common.archives import is_archive, unpack
from common.config import Settings
from common.errors import ThresherError, UserError
from common.features import TilePlace
from common.graph import Graph, GraphOutcome, GraphTiles, HandledFile, StepRecord, StepSources, Surroundings, load_graph, run_graph
from common.graph.arguments import file_name
from common.graph.conditions import tile_condition_holds
from common.graph.document import ALL, MAX_BYTES, Action, InFile, parse_graph
from common.layers import PRODUCT
from common.messages import SceneRef, TileRef
from common.product import MANIFEST_NAME
from common.product_names import parse_product_name
from processor.datasets import checked_format
from processor.rasters import describe_raster

PACKAGES = ("processor.steps", "downloader.steps")
SAMPLE_SCENE = "SCENE"
_SAMPLE_DATE = datetime(2022, 1, 4, tzinfo=UTC)
_PART = ".part-"
_SAFE_MARKS = ("manifest.safe", "MTD_MSIL*.xml")


@dataclass(frozen=True)
class Trial:
    """A graph, and what it would meet."""

    graph: Graph
    tiles: GraphTiles
    config: Mapping[str, str]
    """Of a payload; `layers` among it."""
    around: Surroundings
    inputs: Mapping[str, Path] = field(default_factory=dict)
    """Layer (`preprocessed`, or of another tile `preprocessed@1`) -> file or folder."""


@dataclass(frozen=True)
class MadeLayer:
    """A file a trial left behind."""

    path: Path
    layer: str
    action: Action
    note: str = ""


def find_graph(name: str, folders: Sequence[Path], settings: Settings) -> tuple[Graph, Surroundings]:
    """The graph of a file, or of this name; raises UserError. Scripts are looked for in `folders`, beside the file, above it, and where
    workers look.
    """
    path = Path(name)
    places = [*folders, *settings.graphs.folders]
    if path.is_file():
        with path.open("rb") as file:
            graph = Graph(path.stem, parse_graph(file.read(MAX_BYTES + 1), path.stem))
        own = path.resolve().parent
        places = [*folders, own, own.parent, *settings.graphs.folders]
    elif name.endswith(".json") and "/" in name and not any((folder / name).is_file() for folder in places):
        raise UserError(f"{name}: there is no such file")
    else:
        graph = load_graph(name, places)
    return graph, replace(Surroundings.of(settings), sources=StepSources(tuple(places), PACKAGES))


def sample_tile(scene: str, *, tile: str = "", date: datetime | None = None, place: TilePlace | None = None, number: int = 1) -> TileRef:
    """A tile of a scene of this name; its date is that of the name, where it has one."""
    if date is None:
        try:
            date = parse_product_name(scene).sensing_start
        except ValueError:
            date = _SAMPLE_DATE
    reference = SceneRef(id=number, source_id=scene, aoi="trial", date=date)
    return TileRef(id=number, source_id=tile or scene, scene=reference, place=place or TilePlace())


def product_name(path: Path) -> str:
    """What a product's file or folder is named after."""
    return path.resolve().name.split(".")[0]


def run_trial(trial: Trial, product: Path | None, out: Path, clip: Path | None = None) -> list[MadeLayer]:
    """Run the graph on `product` and leave its files in `out`, with all that was printed in `steps.log`; raises ThresherError."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_PART, dir=out) as text:
        workdir = Path(text).resolve() / "work"
        _prepare(trial, product, workdir)
        with StepRecord(out) as record:
            outcome = asyncio.run(
                run_graph(
                    trial.graph,
                    config={**trial.config, "clip": _clip(clip, workdir)},
                    tiles=trial.tiles,
                    workdir=workdir,
                    is_retriable=True,
                    progress=lambda *_: None,
                    around=trial.around,
                    record=record,
                )
            )
            _keep_log(record, Path(text), out)
        made = list(_kept(trial, outcome, workdir, out))
    if outcome.error:
        raise outcome.error
    return made


def _prepare(trial: Trial, product: Path | None, workdir: Path) -> None:
    """Lay out what the graph would find: the in files of a tile graph, or the product itself for a scene graph."""
    wanted = [
        (slot, file)
        for slot, files in enumerate(trial.graph.document.in_files)
        for file in files
        if tile_condition_holds(file.condition, trial.tiles)
    ]
    takes_product = any(file.layer == PRODUCT and slot == 0 for slot, file in wanted)
    if product and not takes_product:
        _stage(product, workdir, trial.tiles.current.scene.source_id)
    workdir.mkdir(parents=True, exist_ok=True)
    for slot, file in wanted:
        target = workdir / file_name(trial.tiles.slot(slot), file.layer, file.extension)
        if not target.exists():
            _place(trial, slot, file, product, target)


def _place(trial: Trial, slot: int, file: InFile, product: Path | None, target: Path) -> None:
    key = file.layer if slot == 0 else f"{file.layer}@{slot}"
    given = trial.inputs.get(key)
    if given is None and file.layer == PRODUCT and trial.tiles.slot(slot) == trial.tiles.current:
        given = product
    if given is None:
        option = "--product PATH" if key == PRODUCT else f"--input {key}=PATH"
        raise UserError(f"graph '{trial.graph.name}' needs layer '{file.layer}' of tile T{slot}: give it with {option}")
    if file.layer == PRODUCT and file.extension in (ALL, "SAFE"):
        staged = target.parent / f"{_PART}product"
        _stage(given, staged, trial.tiles.slot(slot).scene.source_id)
        inside = staged / target.name
        if file.extension == "SAFE" and not inside.is_dir():
            raise UserError(f"{given}: there is no {target.name} in it")
        (inside if inside.exists() else staged).rename(target)
    else:
        _copy(given, target)
        data = given.with_suffix(".data")
        if file.extension == "dim" and data.is_dir():
            _copy(data, target.with_suffix(".data"))


def _stage(product: Path, folder: Path, name: str) -> None:
    """As a downloader leaves a product: a SAFE or another folder below `folder`, separate assets directly in it."""
    if product.is_dir():
        is_assets = (product / MANIFEST_NAME).is_file()
        shutil.copytree(product, folder if is_assets else folder / product.resolve().name)
    elif product.is_file() and is_archive(product):
        unpack(product, folder)
    else:
        _copy(product, folder / product.name)
    _name_safe(folder, name)


def _name_safe(folder: Path, name: str) -> None:
    """A product in the SAFE format is in a folder named after it, however it was packed."""
    for place in (folder, *(entry for entry in folder.iterdir() if entry.is_dir())):
        if any(next(place.glob(mark), None) for mark in _SAFE_MARKS):
            aside = folder.with_name(f"{folder.name}.unpacked")
            place.rename(aside)
            folder.mkdir(exist_ok=True)
            aside.rename(folder / f"{name}.SAFE")
            return


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.is_file():
        shutil.copyfile(source, target)
    else:
        raise UserError(f"{source}: there is no such file or folder")


def _clip(clip: Path | None, workdir: Path) -> str:
    if clip is None:
        return ""
    target = workdir / "clip.geojson"
    document = json.loads(clip.read_text())
    target.write_text(json.dumps(document.get("geometry", document)))
    return str(target)


def _keep_log(record: StepRecord, scratch: Path, out: Path) -> None:
    if not record.is_empty:
        path = record.write(scratch)
        path.replace(out / path.name)


def _kept(trial: Trial, outcome: GraphOutcome, workdir: Path, out: Path) -> Iterator[MadeLayer]:
    asked = set(filter(None, trial.config.get("layers", "").split(",")))
    for handled in outcome.files:
        file = handled.file
        source = workdir / file_name(handled.tile, file.layer, file.extension)
        if file.action is Action.DELETE:
            yield MadeLayer(Path(source.name), file.layer, file.action, "would be deleted from the storage")
        elif file.action is Action.INDEX and asked and file.layer not in asked:
            continue
        elif file.action is not Action.IGNORE:
            yield _moved(handled, source, out, is_asked=file.layer in asked or file.action is Action.CREATE)


def _moved(handled: HandledFile, source: Path, out: Path, *, is_asked: bool) -> MadeLayer:
    file = handled.file
    if file.extension == ALL and not source.exists():
        return MadeLayer(Path(source.name), file.layer, file.action, "is the whole working directory: not kept here")
    if not source.exists():
        if is_asked:
            raise ThresherError(f"the graph ended well, but layer {file.layer} was not made ({source.name})")
        return MadeLayer(Path(source.name), file.layer, file.action, "was not made")
    note = ""
    if file.action is Action.INDEX:
        raster = describe_raster(source)
        pixels = checked_format(handled, raster)
        note = (
            f"{pixels.dtype}, no data {pixels.nodata:g}, {pixels.min_value:g}..{pixels.max_value:g}, {raster.shape[0]} x {raster.shape[1]}"
        )
    target = out / source.name
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)
    data = source.with_suffix(".data")
    if file.extension == "dim" and data.is_dir():
        shutil.rmtree(target.with_suffix(".data"), ignore_errors=True)
        data.replace(target.with_suffix(".data"))
    return MadeLayer(target, file.layer, file.action, note)
