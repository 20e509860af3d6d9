"""The job of a processor: fetch what the tile graph of a tile needs, run it, store its layers and report them."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from shapely.geometry import mapping

from common.config import Settings
from common.errors import ThresherError
from common.geometry import footprint_from_wkt
from common.graph import Graph, GraphTiles, HandledFile, StepPool, StepRecord, Surroundings, load_graph, run_graph
from common.graph.arguments import file_name
from common.graph.conditions import tile_condition_holds
from common.graph.document import Action
from common.layers import LayerStore, open_layer_store
from common.messages import DatasetReport, StoredFile, TileJob, TileRef
from common.radar_settings import write_sources
from common.step_logs import store_log
from common.threads import in_thread
from common.work import JobContext, WorkReport
from processor.datasets import checked_format, dataset_report
from processor.rasters import describe_raster
from processor.statistics import raster_statistics

log = logging.getLogger(__name__)

STEPS = "processor.steps"
"""The package of the steps that come with the program."""

_CLIP_NAME = "clip.geojson"


async def process_tile(job: TileJob, context: JobContext, pool: StepPool | None = None) -> WorkReport:
    """Carry out a tile job. A failing graph is reported with what it keeps on failure; trouble before it is raised.

    `pool`: that of the process; without one every step has an interpreter of its own.
    """
    settings, workdir = context.settings, context.workdir
    graph = load_graph(job.graph_name, settings.graphs.folders)
    tiles = GraphTiles(job.tile, job.previous, job.reference)
    stores = _Stores(settings)
    context.progress("fetch", 0.0)
    await _fetch(graph, tiles, stores, workdir)
    with StepRecord(workdir) as record:
        outcome = await run_graph(
            graph,
            config=_config(job, settings, workdir),
            tiles=tiles,
            workdir=workdir,
            is_retriable=job.is_retriable,
            progress=context.progress,
            around=Surroundings.of(settings, STEPS, pool=pool),
            record=record,
        )
        for line in outcome.log if outcome.error else []:
            log.info("%s", line)
        context.progress("store", 0.9)
        report = _Report(job, context, stores)
        failure: ThresherError | None = None
        try:
            await report.handle(outcome.files)
        except ThresherError as error:
            failure = error
        failed = bool(outcome.error or failure)
        kept = await store_log(record, stores.of(job.tile), job.tile.scene, job.tile, context.run, settings.graphs, failed=failed)
    if failure:
        # What is stored already is still told, so that it can be swept; nothing is indexed, and nothing a retry needs is deleted.
        if outcome.error:
            log.warning("after the failure of the graph: %s", failure)
        return WorkReport(report.files, error=outcome.error or failure, log=kept)
    return WorkReport(report.files, report.datasets, report.deletions, outcome.error, kept)


@dataclass
class _Stores:
    """The storage of each tile: that of its scene."""

    settings: Settings
    _open: dict[str, LayerStore] = field(default_factory=dict)

    def of(self, tile: TileRef) -> LayerStore:
        uri = tile.scene.storage_uri
        if uri not in self._open:
            self._open[uri] = open_layer_store(uri, self.settings)
        return self._open[uri]


@dataclass
class _Report:
    """Stores out files and collects what is to be told of them."""

    job: TileJob
    context: JobContext
    stores: _Stores
    files: list[StoredFile] = field(default_factory=list)
    datasets: list[DatasetReport] = field(default_factory=list)
    deletions: list[str] = field(default_factory=list)

    async def handle(self, handled: list[HandledFile]) -> None:
        for item in handled:
            store, file = self.stores.of(item.tile), item.file
            self.context.check_ours()
            match file.action:
                case Action.CREATE:
                    await store.save(item.tile, file.layer, file.extension, self.context.workdir)
                case Action.INDEX if file.layer in self.job.instances:
                    await self._index(item, store)
                case Action.DELETE:
                    self.deletions.append(store.uri(item.tile, file.layer, file.extension))

    async def _index(self, item: HandledFile, store: LayerStore) -> None:
        layer, extension = item.file.layer, item.file.extension
        path = self.context.workdir / file_name(item.tile, layer, extension)
        if not path.is_file():
            raise ThresherError(f"graph {self.job.graph_name} ended well, but layer {layer} was not made ({path.name})")
        raster = await in_thread(lambda _: describe_raster(path))
        pixels = checked_format(item, raster)
        statistics = await in_thread(lambda _: raster_statistics(path))
        stored = await store.save(item.tile, layer, extension, self.context.workdir, job=self.context.run)
        self.files.append(stored)
        self.datasets.append(dataset_report(item, raster, pixels, stored, self.job.instances[layer], statistics))


async def _fetch(graph: Graph, tiles: GraphTiles, stores: _Stores, workdir: Path) -> None:
    """Bring the in files whose condition holds into the working directory, each once."""
    fetched: set[str] = set()
    for slot, files in enumerate(graph.document.in_files):
        tile = tiles.slot(slot)
        for file in files:
            name = file_name(tile, file.layer, file.extension)
            if name not in fetched and tile_condition_holds(file.condition, tiles):
                fetched.add(name)
                await stores.of(tile).fetch(tile, file.layer, file.extension, workdir)


def _config(job: TileJob, settings: Settings, workdir: Path) -> dict[str, str]:
    """The payload's settings; `layers`, `clip` and `sources` are ours alone: no payload can name a file of the worker."""
    sources = write_sources(settings.dems, settings.orbits, workdir)
    clip = ""
    if job.clip_wkt:
        path = workdir / _CLIP_NAME
        path.write_text(json.dumps(mapping(footprint_from_wkt(job.clip_wkt))))
        clip = str(path)
    return {**job.graph_config, "layers": ",".join(job.layers or job.instances), "clip": clip, "sources": sources}
