"""From the items a catalogue answers to the scenes that were asked for, with notes on those left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from catalogue.external.base import SceneQuery
from catalogue.external.offers import Choice, of_default_type
from catalogue.external.stac_item import BadItemError, StacItem, text_of
from catalogue.external.stac_scene import scene_of
from common.errors import UserError
from common.features import SceneFeature

_SHOWN = 20


@dataclass
class Notes:
    """Sentences for the person who asked; the first twenty, then how many more."""

    catalogue: str
    lines: list[str] = field(default_factory=list)

    def left_out(self, what: str, why: str) -> None:
        self.lines.append(f"{self.catalogue}: {what[:200]} is left out: {why[:300]}")

    def say(self, sentence: str) -> None:
        self.lines.insert(0, f"{self.catalogue}: {sentence}")

    def told(self) -> tuple[str, ...]:
        more = len(self.lines) - _SHOWN
        return (*self.lines[:_SHOWN], *((f"{self.catalogue}: and {more} more are left out",) if more > 0 else ()))


@dataclass(frozen=True)
class FoundItem:
    """An item's JSON and where it was read (empty: the item itself says)."""

    document: JsonValue
    location: str = ""


def scenes_of(items: Iterable[FoundItem], query: SceneQuery, choice: Choice, notes: Notes) -> list[SceneFeature]:
    """The scenes of the items that agree with the query, but for the exact area; a product listed twice once.

    Of two items of one product the one in the preferred collection of `choice` is taken.
    """
    wanted = replace(query.filter, product_type=choice.product_type)
    ranked: dict[str, tuple[int, SceneFeature]] = {}
    for found in items:
        try:
            item = StacItem.of(found.document)
            scene = scene_of(item, catalogue=notes.catalogue, location=found.location)
        except BadItemError as error:
            notes.left_out(_label(found), str(error))
            continue
        refusal = _refusal(scene, query) if not choice.collections or item.collection in ("", *choice.collections) else ""
        if refusal is None:
            refusal = wanted.refusal(scene)
        if refusal is not None:
            if refusal:
                notes.left_out(scene.source_id, refusal)
            continue
        rank = choice.collections.index(item.collection) if item.collection in choice.collections else len(choice.collections)
        if scene.source_id not in ranked or rank < ranked[scene.source_id][0]:
            ranked[scene.source_id] = (rank, scene)
    scenes = [scene for _, scene in ranked.values()]
    kind = choice.product_type
    if kind is None:
        scenes, kind = of_default_type(scenes, query.constellation)
    if query.filter.product_type is None and kind is not None and scenes:
        notes.say(f"scene_type.parameters.producttype is not given; {kind} is taken")
    return scenes


def too_many(catalogue: str, most: int) -> UserError:
    """The refusal of a query that finds more than `most` products."""
    advice = "narrow the dates or the area, or take pages"
    return UserError(f"catalogue '{catalogue}' lists more than {most} products; {advice}", field="limit")


def _refusal(scene: SceneFeature, query: SceneQuery) -> str | None:
    """As `SceneFilter.refusal`, for the constellation and the dates."""
    constellation = scene.tags.get("constellation", "")
    if not constellation:
        return "it says neither its constellation nor its platform"
    return None if constellation == query.constellation and query.start <= scene.data.date <= query.end else ""


def _label(found: FoundItem) -> str:
    identity = text_of(found.document, "id") if isinstance(found.document, dict) else ""
    return f"item {identity or found.location or '(without id)'}"
