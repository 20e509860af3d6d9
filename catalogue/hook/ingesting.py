"""From an item to its work: what its source found becomes scene, tile and job rows of its AOI, as a payload would."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import shapely
from shapely.geometry import MultiPolygon

from catalogue.cube.variables import VariableSpec, apply_variable, get_variable
from catalogue.database import Connection, Pool
from catalogue.hook.orders import ItemError, OrderItem, Resolution
from catalogue.hook.service import HookService
from catalogue.hook.workflows import SourceKind, Workflow
from catalogue.ingestion import check_scenes, ingest
from catalogue.sentinel1.series import SeriesTile
from catalogue.tiles import find_tiles
from common.errors import NotFoundError, UserError
from common.features import SceneCollection, SceneData, SceneFeature
from common.geometry import as_multipolygon
from common.payload import Payload, SceneType
from common.product_names import Constellation, constellation_of

log = logging.getLogger(__name__)

_NOWHERE = "POLYGON ((-0.01 -0.01, 0.01 -0.01, 0.01 0.01, -0.01 0.01, -0.01 -0.01))"
"""Footprint of a scene that stands for an item without a product."""
_DAY = timedelta(days=1)


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
        tiles = await find_tiles(payload, scenes, hook.annotations, none, hook.burst_service)
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
        layers=workflow.layers,
        # An item is never the same as another: its layers must not take the place of those of a payload.
        record_tags={"order": item.aoi},
        retry_count=workflow.retries,
        priority=item.order.priority,
    )


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
    """Create the variables of the workflow's layers that are missing; those that exist are left as they are, with instances added."""
    for spec in workflow.variables:
        try:
            existing = await get_variable(connection, spec.name)
        except NotFoundError:
            await apply_variable(connection, spec)
            continue
        known = {instance.name for instance in existing.instances}
        if any(instance.name not in known for instance in spec.instances):
            as_it_is = existing.model_dump(exclude={"id", "instances"})
            instances = [instance.model_dump() for instance in spec.instances]
            await apply_variable(connection, VariableSpec.model_validate({**as_it_is, "instances": instances}))
