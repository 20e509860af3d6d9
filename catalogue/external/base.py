"""What every external catalogue is asked and answers, whatever it speaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, Self

from shapely.geometry import MultiPolygon

from catalogue.external.filters import SceneFilter, filter_of
from common.features import SceneFeature
from common.payload import Payload
from common.product_names import Constellation


@dataclass(frozen=True)
class SceneQuery:
    """Which scenes are wanted: products of a constellation, acquired within [start, end] over an area (EPSG:4326)."""

    constellation: Constellation
    area: MultiPolygon
    start: datetime
    end: datetime
    filter: SceneFilter = field(default_factory=SceneFilter)
    page: int = 0
    """0-based, in pages of `limit`."""
    limit: int = 0
    """0: all."""

    @classmethod
    def of(cls, payload: Payload) -> Self:
        """The query of a payload; raises UserError naming a search parameter that is not understood."""
        kind = payload.scene_type
        return cls(
            kind.constellation, payload.area, payload.start_time, payload.end_time, filter_of(kind), page=payload.page, limit=payload.limit
        )


@dataclass(frozen=True)
class FoundScenes:
    """The answer of one catalogue: a page of scenes, as it gives them, before duplicates and the exact area are looked at."""

    scenes: list[SceneFeature]
    has_next: bool = False
    """Whether another page may hold more."""
    notes: tuple[str, ...] = ()
    """What was left out and why, in sentences."""


class ExternalCatalogue(Protocol):
    """A place that lists products."""

    @property
    def name(self) -> str:
        """The name it is configured under."""
        ...

    def supports(self, payload: Payload) -> bool:
        """Whether it lists products of the payload's constellation and product type; raises UserError for a type nobody knows."""
        ...

    async def search(self, query: SceneQuery) -> FoundScenes:
        """The scenes of the query.

        Raises UpstreamError where the catalogue does not answer as it should, UserError where it answers with too many.
        """
        ...
