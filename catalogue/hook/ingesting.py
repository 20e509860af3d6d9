"""From an item to its work: what its source found becomes scene, tile and job rows of its AOI, as a payload would."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import shapely
from shapely.geometry import MultiPolygon

from catalogue.cube.variables import InstanceSpec, VariableSpec, apply_variable, get_variable
from catalogue.database import Connection, Pool
from catalogue.hook.annotations import OrderAnnotations
from catalogue.hook.orders import ItemError, OrderItem, Resolution
from catalogue.hook.service import HookService
from catalogue.hook.workflows import SourceKind, Workflow
from catalogue.ingestion import check_scenes, ingest
from catalogue.sentinel1.annotations.http import HttpLimits
from catalogue.sentinel1.annotations.reader import AnnotationReader
from catalogue.sentinel1.series import SeriesTile
from catalogue.tiles import find_tiles
from common.errors import NotFoundError, UserError
from common.features import SceneCollection, SceneData, SceneFeature
from common.geometry import as_multipolygon
from common.payload import LayerTarget, Payload, SceneType
from common.product_names import Constellation, constellation_of

log = logging.getLogger(__name__)

_NOWHERE = "POLYGON ((-0.01 -0.01, 0.01 -0.01, 0.01 0.01, -0.01 0.01, -0.01 -0.01))"
"""Footprint of a scene that stands for an item without a product."""
_DAY = timedelta(days=1)
_SENTINEL1 = re.compile(r"^S1.*_[012]S([SD][HV])_")
_POLARISATIONS = {"SH": {"HH"}, "SV": {"VV"}, "DH": {"HH", "HV"}, "DV": {"VV", "VH"}}
_ALL_POLARISATIONS = frozenset({"HH", "HV", "VV", "VH"})


async def start_work(pool: Pool, hook: HookService, item: OrderItem, workflow: Workflow) -> bool:
    """Find the scenes of an item and ingest them; False where the item has ended meanwhile.

    Raises ItemError where it cannot be, a temporary ThresherError where it cannot be now.
    """
    resolution = await _resolve(hook, item, workflow)
    if not resolution.scenes:
        raise ItemError(f"nothing was found for {item.identifier or 'the order'}")
    payload = _payload(item, workflow, resolution)

    async def none(_: Sequence[SeriesTile]) -> Sequence[SeriesTile]:
        return []

    scenes = SceneCollection(scenes=[scene.model_copy(update={"aoi": item.aoi}) for scene in resolution.scenes])
    try:
        tiles = await find_tiles(payload, scenes, _annotations(hook, resolution), none, hook.burst_service)
        if not tiles.scenes:
            raise ItemError("; ".join(tiles.notes)[:500] or "the product has no tiles")
        shelf = hook.graphs()
        await asyncio.to_thread(check_scenes, payload, tiles.scenes, hook.settings, shelf, "product")
        async with pool.acquire() as connection, connection.transaction():
            if not await _still_wanted(connection, item.id):
                return False
            await _ensure_variables(connection, workflow)
            await ingest(connection, payload, _document(item, payload), tiles.scenes, shelf, "product")
            await connection.execute(
                """UPDATE hook_item SET phase = 'work', attempts = 0, message = '', aoi_id = (SELECT id FROM aoi WHERE name = $2)
                   WHERE id = $1""",
                item.id,
                item.aoi,
            )
    except UserError as error:
        raise ItemError(str(error)) from None
    return True


async def _resolve(hook: HookService, item: OrderItem, workflow: Workflow) -> Resolution:
    if workflow.source is SourceKind.NONE:
        return Resolution([_stand_in(item)])
    if not item.identifier and workflow.source in (SourceKind.PRODUCT, SourceKind.PAIR):
        raise ItemError(f"workflow {workflow.name} needs a product: name one in IdentifierList")
    return await hook.parts.source.resolve(item, workflow)


def _annotations(hook: HookService, resolution: Resolution) -> AnnotationReader:
    """Of the order's own products first."""
    if resolution.access is None:
        return hook.annotations
    chosen = hook.settings.annotations
    limits = HttpLimits(chosen.timeout_s, chosen.retries)
    return hook.annotations.led_by(OrderAnnotations(resolution.scenes, resolution.access, hook.settings.limits.allowed_urls, limits))


def _stand_in(item: OrderItem) -> SceneFeature:
    """The scene of an item without a product."""
    name = f"{item.order.workflow}-{item.order.id}-{item.id}"
    return SceneFeature(source_id=name, data=SceneData(date=item.order.submitted_at), wkt=_NOWHERE)


def _payload(item: OrderItem, workflow: Workflow, resolution: Resolution) -> Payload:
    dates = [scene.data.date for scene in resolution.scenes]
    area = shapely.union_all([scene.footprint() for scene in resolution.scenes])
    multi = as_multipolygon(area)
    options = {spec.name: item.order.options[spec.name] for spec in workflow.options if spec.to_graph and spec.name in item.order.options}
    return Payload(
        name=item.aoi,
        area=multi if isinstance(multi, MultiPolygon) else MultiPolygon([multi]),
        start_time=min(dates) - _DAY,
        end_time=max(dates) + _DAY,
        scene_type=SceneType(constellation=_constellation(workflow, resolution)),
        scene_graph_name=workflow.graphs.scene,
        tile_graph_name=workflow.graphs.tile,
        graph_config={**workflow.graphs.config, **options, **resolution.config},
        layers=_layers(item, workflow, resolution),
        # An item is never the same as another: its layers must not take the place of those of a payload.
        record_tags={"order": item.aoi},
        retry_count=workflow.retries,
        priority=item.order.priority,
    )


def _layers(item: OrderItem, workflow: Workflow, resolution: Resolution) -> dict[str, LayerTarget]:
    """Those the options ask for, of the polarisations that all the products have."""
    found = [match.group(1) for scene in resolution.scenes if (match := _SENTINEL1.search(scene.source_id))]
    polarisations = set.intersection(*(_POLARISATIONS[each] for each in found)) if found else None
    layers: dict[str, LayerTarget] = {}
    for name, spec in workflow.layers.items():
        option, _, value = spec.when.partition("=")
        polarisation = name.rpartition("_")[2]
        missing = polarisations is not None and polarisation in _ALL_POLARISATIONS and polarisation not in polarisations
        if not missing and (not option or item.order.options.get(option) == value):
            layers[name] = LayerTarget(variable=spec.variable, instance=name)
    return layers


def _constellation(workflow: Workflow, resolution: Resolution) -> Constellation:
    try:
        return constellation_of(resolution.scenes[0].source_id)
    except ValueError:
        return constellation_of(workflow.constellation)


def _document(item: OrderItem, payload: Payload) -> dict[str, Any]:
    """What is kept as the posted payload: without area, which is kept beside it."""
    posted = payload.model_dump(mode="json", exclude={"area"})
    return {**posted, "order": item.order.id, "item": item.id, "begun": datetime.now(UTC).isoformat()}


async def _still_wanted(connection: Connection, item: int) -> bool:
    phase: str | None = await connection.fetchval("SELECT phase FROM hook_item WHERE id = $1 FOR NO KEY UPDATE", item)
    return phase == "resolve"


async def _ensure_variables(connection: Connection, workflow: Workflow) -> None:
    """Create what the workflow's layers need and is missing; a variable that exists is left as it is, with instances added."""
    for spec in workflow.variables:
        wanted = [InstanceSpec(name=layer) for layer, target in workflow.layers.items() if target.variable == spec.name]
        try:
            existing = await get_variable(connection, spec.name)
        except NotFoundError:
            await apply_variable(connection, spec.model_copy(update={"instances": wanted}))
            continue
        known = {instance.name for instance in existing.instances}
        missing = [instance for instance in wanted if instance.name not in known]
        if missing:
            as_it_is = existing.model_dump(exclude={"id", "instances"})
            await apply_variable(connection, VariableSpec.model_validate({**as_it_is, "instances": missing}))
