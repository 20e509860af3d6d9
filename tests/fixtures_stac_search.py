"""STAC APIs that replay recorded answers, and how they are searched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from shapely.geometry import shape
from shapely.ops import unary_union

from catalogue.external.offers import Offer
from catalogue.external.presets import PRESETS
from catalogue.external.stac_api import StacApiCatalogue
from common.features import SceneFeature
from common.payload import Payload, parse_payload
from tests.stac_replay import Item, StacReplay

StacServer = Callable[..., StacReplay]


@pytest.fixture
def stac_server() -> Iterator[StacServer]:
    with ExitStack() as stack:
        yield lambda items, **manners: stack.enter_context(StacReplay(items, **manners).running())


def payload(items: list[Item], constellation: str, ring: list[list[float]] | None = None, **changes: Any) -> Payload:
    """A payload for the envelope of the items, over all their time."""
    bounds = unary_union([shape(item["geometry"]) for item in items]).bounds if ring is None else (0, 0, 0, 0)
    west, south, east, north = (round(bound, 3) for bound in bounds)
    moments = [item["properties"]["datetime"] for item in items]
    parameters = changes.pop("parameters", {})
    return parse_payload(
        {
            "type": "Polygon",
            "coordinates": [ring or [[west, south], [east, south], [east, north], [west, north], [west, south]]],
            "name": "area",
            "start_time": min(moments),
            "end_time": max([*moments, "2026-01-01T00:00:00Z"]) if len(moments) == 1 else max(moments),
            "scene_type": {"constellation": constellation, "parameters": parameters},
            "scene_graph_name": "CopyProductToStorage",
            "tile_graph_name": "Extract",
            **changes,
        }
    )


def api(preset: str, replay: StacReplay, **changes: Any) -> StacApiCatalogue:
    known = PRESETS[preset]
    catalogue = StacApiCatalogue(preset, replay.url, Offer.of(known.collections, key=preset), queryables=known.queryables, timeout_s=10)
    return replace(catalogue, **changes)


def names(scenes: list[SceneFeature]) -> list[str]:
    return [scene.source_id for scene in scenes]


def moment(item: Item) -> datetime:
    return datetime.fromisoformat(item["properties"]["datetime"])
