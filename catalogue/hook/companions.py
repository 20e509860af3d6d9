"""The products that belong to an ordered one: its partner for interferometry, and the series that leads up to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from shapely.geometry.base import BaseGeometry

from catalogue.external.scene_facts import product_name
from catalogue.hook.finders import Finder, Wanted, place_of
from catalogue.hook.orders import ItemError
from common.features import SceneFeature
from common.product_names import Constellation

_SAME_PASS = timedelta(hours=6)
"""Two products of one relative orbit that are closer belong to one pass over the place."""
_LEAST_OVERLAP, _MOST_SLICES = 0.05, 3
_COVERED = 0.98
_SERIES_TYPE = "S2MSI1C"


async def find_pair(finder: Finder, scene: SceneFeature, days: float, collection: str) -> list[SceneFeature]:
    """The product and its partner: of the same relative orbit, polarisation and place, taken on the nearest date within `days` (of two
    equally near ones the earlier), the earlier first. Slices of a pass need not lie like those of another: up to three cover the product.

    Raises ItemError where there is none, or a temporary ThresherError.
    """
    name = product_name(scene.source_id)
    if name is None or name.constellation is not Constellation.SENTINEL1 or scene.tags.get("productType") != "SLC":
        raise ItemError(f"{scene.source_id} is not a Sentinel-1 SLC product: only of those there are pairs")
    span = timedelta(days=days)
    wanted = Wanted(Constellation.SENTINEL1, "SLC", scene.footprint(), scene.data.date - span, scene.data.date + span, collection)
    passes = _passes(scene, await finder.around(wanted))
    if not passes:
        orbit = scene.tags.get("relativeOrbit", "?")
        raise ItemError(f"{scene.source_id} has no partner: no other SLC of relative orbit {orbit} covers it within {days:g} days")
    nearest = min(passes, key=lambda date: (abs(date - scene.data.date) // timedelta(hours=12), date > scene.data.date, date))
    return sorted([scene, *_covering(scene.footprint(), passes[nearest])], key=lambda each: each.data.date)


async def find_series(finder: Finder, last: str, days: float, collection: str) -> list[SceneFeature]:
    """The Level-1C products of the tile of `last`, taken within `days` up to its date, the earliest first.

    `last` may be a Level-2A product: its Level-1C one is meant. Raises as `find_pair`.
    """
    name = product_name(last)
    if name is None or name.constellation is not Constellation.SENTINEL2:
        raise ItemError(f"{last} is not a Sentinel-2 product: only of those there are series")
    end = name.sensing_start + timedelta(hours=2)  # catalogues tell a later time of the same data take
    tile = name.parts["TILE"]
    known = await finder.named(last, collection)
    area = known.footprint() if known is not None else place_of(name)
    start = name.sensing_start - timedelta(days=days)
    wanted = Wanted(Constellation.SENTINEL2, _SERIES_TYPE, area, start, end, collection, f"*_{tile}_*")
    by_date: dict[datetime, SceneFeature] = {}
    for scene in await finder.around(wanted):
        its = product_name(scene.source_id)
        if its is None or its.parts.get("TILE") != tile or its.sensing_start > name.sensing_start:
            continue
        kept = by_date.get(its.sensing_start)
        # Of a date that was processed again the latest baseline, then the latest processing.
        if kept is None or _baseline(scene.source_id) > _baseline(kept.source_id):
            by_date[its.sensing_start] = scene
    if name.sensing_start not in by_date:
        raise ItemError(f"the Level-1C product of {last} is not found, which the series is to end with")
    return [by_date[date] for date in sorted(by_date)]


def _passes(scene: SceneFeature, others: Sequence[SceneFeature]) -> dict[datetime, list[SceneFeature]]:
    """Products of other passes that fit the scene, by the date of the first of the pass."""
    footprint = scene.footprint()
    found: defaultdict[datetime, list[SceneFeature]] = defaultdict(list)
    for other in sorted(others, key=lambda each: each.data.date):
        same = all(scene.tags.get(tag) == other.tags.get(tag) for tag in ("relativeOrbit", "polarisationMode"))
        overlap = footprint.intersection(other.footprint()).area / footprint.area
        if not same or overlap < _LEAST_OVERLAP or abs(other.data.date - scene.data.date) < _SAME_PASS:
            continue
        date = next((date for date in found if other.data.date - date < _SAME_PASS), other.data.date)
        found[date].append(other)
    return dict(found)


def _covering(footprint: BaseGeometry, slices: Sequence[SceneFeature]) -> list[SceneFeature]:
    """The fewest slices that cover what of the footprint they can, the largest first; of one slice given twice one."""
    chosen: list[SceneFeature] = []
    left = footprint
    for _ in range(_MOST_SLICES):
        best = max(slices, key=lambda each: (left.intersection(each.footprint()).area, each.source_id))
        if best in chosen or left.intersection(best.footprint()).area < (1 - _COVERED) * footprint.area:
            break
        chosen.append(best)
        left = left.difference(best.footprint())
        if left.is_empty:
            break
    return chosen


def _baseline(source_id: str) -> tuple[str, str]:
    name = product_name(source_id)
    return (name.parts["PDGS"], name.parts["PRODUCT_DISC"]) if name else ("", "")
