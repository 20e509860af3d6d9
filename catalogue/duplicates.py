"""Products of one acquisition that was processed more than once: which of them to keep.

Every rule orders its candidates completely, so that the answer does not depend on the order in which a catalogue lists them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from shapely.geometry.base import BaseGeometry

from catalogue.external.stac_item import parse_time
from common.features import SceneFeature
from common.product_names import Constellation, ProductName, parse_product_name

_COINCIDE = 0.98
"""Share of the common area in the whole area above which two footprints are the same: a reprocessing moves an edge by some pixels."""
_TIERS = {"RT": 0, "T2": 1, "T1": 2}
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)

Group = tuple[str, ...]


def without_duplicates(scenes: Iterable[SceneFeature]) -> list[SceneFeature]:
    """The scenes without the older processings of the same acquisition, by date and name.

    - Sentinel-1: the same name up to the last underscore; the newest by processing, else publication time is kept.
    - Sentinel-2: the same datatake (satellite and sensing start), level, tile and relative orbit; the highest processing baseline is kept,
      and within it every product whose footprint does not coincide with that of a newer one (two datastrips share a tile).
    - Landsat: the same satellite, level, path, row and date; the highest tier (RT < T2 < T1) is kept, then the latest processing.
    - Anything else: one of each name.
    """
    groups: dict[Group, list[tuple[SceneFeature, ProductName | None]]] = {}
    for scene in scenes:
        name = _name(scene)
        groups.setdefault(_group(scene, name), []).append((scene, name))
    kept = [scene for members in groups.values() for scene in _kept(members)]
    return sorted(kept, key=lambda scene: (scene.data.date, scene.source_id))


def _name(scene: SceneFeature) -> ProductName | None:
    try:
        return parse_product_name(scene.source_id)
    except ValueError:
        return None


def _group(scene: SceneFeature, name: ProductName | None) -> Group:
    """What all processings of one acquisition have in common."""
    parts = name.parts if name else {}
    match name.constellation if name else None:
        case Constellation.SENTINEL1 if "UNIQUE_ID" in parts:
            return ("S1", scene.source_id.rpartition(f"_{parts['UNIQUE_ID']}")[0])
        case Constellation.SENTINEL2:
            return ("S2", *(parts[key] for key in ("MISSION_ID", "PRODUCT_LEVEL", "DATE", "TIME", "TILE", "ORBIT")))
        case Constellation.LANDSAT:
            return ("L", parts["SENSOR"], parts["SATELLITE"], parts["LEVEL"][:2], parts["PATH"], parts["ROW"], parts["DATE"])
    return ("", scene.source_id)


def _kept(members: list[tuple[SceneFeature, ProductName | None]]) -> list[SceneFeature]:
    if len(members) == 1:
        return [members[0][0]]
    ordered = sorted(members, key=lambda member: (_rank(member[1]), _made(member[0]), *_identity(member[0])), reverse=True)
    best, name = ordered[0]
    if name is None or name.constellation is not Constellation.SENTINEL2:
        return [best]
    kept: list[tuple[SceneFeature, BaseGeometry]] = []
    for scene, other in ordered:
        if _rank(other) != _rank(name):
            break
        footprint = scene.footprint()
        if not any(scene.source_id == newer.source_id or _coincide(footprint, taken) for newer, taken in kept):
            kept.append((scene, footprint))
    return [scene for scene, _ in kept]


def _rank(name: ProductName | None) -> tuple[int, str]:
    """What counts before the time of processing: the baseline of Sentinel-2, the tier and processing date of Landsat."""
    match name.constellation if name else None:
        case Constellation.SENTINEL2 if name:
            return (int(name.parts["PDGS"]), "")
        case Constellation.LANDSAT if name:
            return (_TIERS.get(name.parts["TIER"], -1), name.parts["PROCESSED"])
    return (0, "")


def _made(scene: SceneFeature) -> datetime:
    """When the product was processed, else published."""
    processed = (scene.data.metadata.model_extra or {}).get("processed")
    found = parse_time(processed) if isinstance(processed, str) else None
    return found or parse_time(scene.tags.get("ingestionDate", "")) or _LONG_AGO


def _identity(scene: SceneFeature) -> tuple[str, str]:
    """Settles what is left: without it the order of listing would decide between two entries of one product."""
    return (scene.source_id, scene.model_dump_json())


def _coincide(one: BaseGeometry, other: BaseGeometry) -> bool:
    whole = one.union(other).area
    return bool(whole == 0 or one.intersection(other).area / whole >= _COINCIDE)
