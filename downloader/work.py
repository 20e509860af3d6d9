"""The job of a downloader: fetch a scene once, run its scene graph for each of its tiles, then store what the graphs made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import ErrorKind, FatalError, MissingFileError, TemporaryError, ThresherError
from common.graph import Graph, GraphTiles, HandledFile, StepPool, StepRecord, Surroundings, load_graph, run_graph
from common.graph.document import Action
from common.layers import LayerStore, open_layer_store
from common.log import log_context
from common.messages import SceneJob, TileRef
from common.step_logs import store_log
from common.threads import in_thread
from common.work import JobContext, ProgressCallback, WorkReport
from downloader.copying import link_tree
from downloader.members import wanted_members
from downloader.providers import ProductRequest, fetch_product
from downloader.providers.order import providers_of
from downloader.shared import Shared

log = logging.getLogger(__name__)

STEPS = ("downloader.steps", "processor.steps")
"""The packages of the steps that come with the program: programs to start, also those that run on tiles."""

_FETCHED, _RUN = 0.7, 0.85
"""Where, between 0 and 1, the two first parts of the work end."""

_ERRORS = {ErrorKind.TEMPORARY: TemporaryError, ErrorKind.ERROR: ThresherError, ErrorKind.FATAL: FatalError}


async def download_scene(job: SceneJob, context: JobContext, shared: Shared | None = None, pool: StepPool | None = None) -> WorkReport:
    """Carry out a scene job. All tiles run before anything is stored: if the graph fails for one, nothing of the scene is.

    A graph with neither steps nor out files needs no product, and none is fetched. The stored layers lie under keys of the tile, not of
    this run (the same product gives the same files, whoever stores them last), so the report names none to be swept. `shared`: the
    accounts and limits of this process; by default of this job alone. `pool`: that of the process; without one every step has an
    interpreter of its own.
    """
    settings = context.settings
    graph = load_graph(job.graph_name, settings.graphs.folders)
    store = open_layer_store(job.scene.storage_uri, settings)
    if not graph.document.processing_steps and not any(graph.document.out_files):
        return WorkReport()
    product = context.workdir / "product"
    shared = shared or Shared(settings)
    progress = _part_of(context.progress, 0.0, _FETCHED)
    members = wanted_members(graph.document, job.graph_config, [tile.place.swath_id for tile in job.tiles])
    request = ProductRequest(job.scene, progress, job.layers, job.graph_config, members, context.received)
    providers, shared = providers_of(settings, job.scene, shared)
    await fetch_product(providers, request, product, shared)

    with StepRecord(context.workdir) as record:
        around = Surroundings.of(settings, *STEPS, pool=pool)
        failure: ThresherError | None = None
        try:
            for index, each in enumerate(await _make(graph, job, context, product, around, record)):
                context.progress("store", _between(_RUN, 1.0, index, job.tiles))
                context.check_ours()
                with log_context(tile=each.tile.source_id):
                    await _save(store, graph, each)
        except ThresherError as error:
            failure = error
        kept = await store_log(record, store, job.scene, None, context.run, settings.graphs, failed=failure is not None)
    if failure:
        failure.log = kept
        raise failure
    context.progress("store", 1.0)
    return WorkReport(log=kept)


@dataclass(frozen=True)
class _Made:
    """What the scene graph left behind for a tile."""

    tile: TileRef
    workdir: Path
    files: list[HandledFile]


async def _workdir(product: Path, own: Path, *, single: bool) -> Path:
    """Where the graph of a tile runs: in the product itself, or, of several tiles, in a view of its own, so that none sees the others'."""
    if single:
        return product
    await in_thread(lambda stop: link_tree(product, own, stop))
    return own


async def _make(graph: Graph, job: SceneJob, context: JobContext, product: Path, around: Surroundings, record: StepRecord) -> list[_Made]:
    """Run the scene graph for each tile; raises ThresherError if it fails for one."""
    made: list[_Made] = []
    for index, tile in enumerate(job.tiles):
        workdir = await _workdir(product, context.workdir / "tiles" / str(index), single=len(job.tiles) == 1)
        progress = _part_of(context.progress, _between(_FETCHED, _RUN, index, job.tiles), _between(_FETCHED, _RUN, index + 1, job.tiles))
        with log_context(tile=tile.source_id):
            made.append(_Made(tile, workdir, await _run(graph, tile, workdir, job, progress, around, record)))
    return made


async def _run(
    graph: Graph, tile: TileRef, workdir: Path, job: SceneJob, progress: ProgressCallback, around: Surroundings, record: StepRecord
) -> list[HandledFile]:
    """The files the scene graph made for a tile, of which only those to create count; raises ThresherError if it failed."""
    outcome = await run_graph(
        graph,
        # `layers` and `clip` are ours alone: no payload can name a file of the worker. Scenes are stored whole.
        config={**job.graph_config, "layers": ",".join(job.layers), "clip": ""},
        tiles=GraphTiles(tile),
        workdir=workdir,
        is_retriable=job.is_retriable,
        progress=progress,
        around=around,
        record=record,
    )
    if outcome.error is None:
        return outcome.with_action(Action.CREATE)
    for line in outcome.log:
        log.info("%s", line)
    raise _ERRORS[outcome.error.kind](f"tile {tile.source_id}: {outcome.error}") from outcome.error


async def _save(store: LayerStore, graph: Graph, made: _Made) -> None:
    for item in made.files:
        layer, extension = item.file.layer, item.file.extension
        try:
            stored = await store.save(item.tile, layer, extension, made.workdir)
        except MissingFileError as error:
            name = Path(error.uri).name
            raise ThresherError(
                f"tile {made.tile.source_id}: graph {graph.name} ended well, but layer {layer} was not made ({name})"
            ) from error
        log.info("stored %s (%d bytes)", stored.uri, stored.size)


def _part_of(progress: ProgressCallback, start: float, end: float) -> ProgressCallback:
    return lambda step, done: progress(step, start + (end - start) * min(1.0, max(0.0, done)))


def _between(start: float, end: float, index: int, items: Sequence[object]) -> float:
    return start + (end - start) * index / max(1, len(items))
