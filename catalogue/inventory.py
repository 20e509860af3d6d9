"""The inventory: the scenes of a payload, found in the external catalogues and put in order for review."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import shapely
from shapely.errors import ShapelyError

from catalogue.duplicates import without_duplicates
from catalogue.external.base import ExternalCatalogue, FoundScenes, SceneQuery
from common.errors import ThresherError, UpstreamError, UserError
from common.features import SceneCollection, SceneFeature
from common.payload import Payload, SceneType
from common.threads import Stop, in_thread

_log = logging.getLogger(__name__)


async def find_scenes(payload: Payload, catalogues: Sequence[ExternalCatalogue]) -> SceneCollection:
    """The scenes of a payload, by date, from the first of the catalogues that answers.

    Older processings and scenes outside of the exact area are dropped. With a `limit`, page `page` (0-based) of what the catalogue lists;
    `has_next` says whether it may hold more, counted before anything is dropped.

    Raises UserError if no catalogue holds such products, UpstreamError naming each catalogue with its error if all of them fail.
    """
    able = _able(payload, catalogues)
    query = SceneQuery.of(payload)
    found, errors = await _first_answer(able, query)
    if found is None:
        raise UpstreamError(f"no catalogue answered: {'; '.join(errors)}")
    collection = await in_thread(lambda stop: _inventory(payload, query, found, stop))
    return collection.model_copy(update={"notes": [*(f"did not answer: {error}" for error in errors), *collection.notes]})


async def _first_answer(catalogues: Sequence[ExternalCatalogue], query: SceneQuery) -> tuple[FoundScenes | None, list[str]]:
    """What the first catalogue that answers found, and the errors of those before it."""
    errors: list[str] = []
    for catalogue in catalogues:
        try:
            return await catalogue.search(query), errors
        except UserError:
            raise
        except (ThresherError, OSError) as error:
            _log.warning("catalogue %s failed: %s", catalogue.name, error)
            errors.append(f"{catalogue.name}: {error}")
    return None, errors


def _able(payload: Payload, catalogues: Sequence[ExternalCatalogue]) -> list[ExternalCatalogue]:
    able = [catalogue for catalogue in catalogues if catalogue.supports(payload)]
    if able:
        return able
    kind = payload.scene_type
    names = ", ".join(catalogue.name for catalogue in catalogues) or "none"
    wanted = kind.parameters.get("producttype")
    others = {key: value for key, value in kind.parameters.items() if key != "producttype"}
    of_any_type = payload.model_copy(update={"scene_type": SceneType(constellation=kind.constellation, parameters=others)})
    if wanted and any(catalogue.supports(of_any_type) for catalogue in catalogues):
        message = f"no configured catalogue ({names}) holds '{wanted[:80]}' products of {kind.constellation}"
        raise UserError(message, field="scene_type.parameters.producttype")
    raise UserError(f"no configured catalogue ({names}) holds products of {kind.constellation}", field="scene_type.constellation")


def _inventory(payload: Payload, query: SceneQuery, found: FoundScenes, stop: Stop) -> SceneCollection:
    """Duplicates and scenes off the area dropped, in order, with what the payload says of all its scenes."""
    area = query.area
    shapely.prepare(area)
    notes = list(found.notes)
    scenes: list[SceneFeature] = []
    for scene in without_duplicates(found.scenes):
        stop.check()
        try:
            if area.intersects(scene.footprint()):
                scenes.append(_of_payload(scene, payload))
        except (ShapelyError, UserError) as error:
            notes.append(f"{scene.source_id} is left out: its footprint cannot be compared with the area: {error}")
    return SceneCollection(scenes=scenes, has_next=found.has_next, notes=notes)


def _of_payload(scene: SceneFeature, payload: Payload) -> SceneFeature:
    """The scene as it is to be ingested. Its own tags stand before the payload's: a difference is told at ingestion."""
    data = scene.data.model_copy(
        update={
            "graph_name": payload.scene_graph_name,
            "graph_config": dict(payload.graph_config),
            "is_retriable": payload.is_retriable,
            "storage_uri": payload.storage_uri,
        }
    )
    return scene.model_copy(update={"aoi": payload.name, "data": data, "tags": {**payload.record_tags, **scene.tags}})
