"""Which products a catalogue offers: the collections that hold each constellation and product type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from catalogue.external.filters import canonical_product_type, same_product_type
from common.errors import ConfigurationError
from common.features import SceneFeature
from common.product_names import Constellation, constellation_of

DEFAULT_TYPES = {
    Constellation.SENTINEL1: ("SLC", "GRD"),
    Constellation.SENTINEL2: ("S2MSI2A", "S2MSI1C"),
    Constellation.LANDSAT: ("L2", "L1"),
}
"""Taken where a payload gives no `producttype`: the first that the catalogue offers. Ours: Sentinel-2 L2A, where the reference takes
L1C, because it is what STAC catalogues hold as ready assets."""


@dataclass(frozen=True)
class Choice:
    """What to ask a catalogue for."""

    product_type: str | None
    """None: not known before the answer."""
    collections: tuple[str, ...]
    """In order of preference; empty: all."""


@dataclass(frozen=True)
class Offer:
    """Collections by constellation and product type (empty: any type). An empty offer is one that is not known: everything may be there."""

    collections: Mapping[tuple[Constellation, str], tuple[str, ...]]

    @classmethod
    def of(cls, collections: Mapping[str, Sequence[str]], *, key: str) -> Self:
        """The offer of a map such as `{"sentinel2/S2MSI2A": [..], "landsat89": [..]}`; ConfigurationError names the entry below `key`."""
        found: dict[tuple[Constellation, str], tuple[str, ...]] = {}
        for entry, ids in collections.items():
            name, _, kind = entry.partition("/")
            try:
                constellation = constellation_of(name)
            except ValueError as error:
                raise ConfigurationError(f"{key}.{entry}: {error}") from None
            product_type = canonical_product_type(constellation, kind) if kind else ""
            if product_type is None:
                raise ConfigurationError(f"{key}.{entry}: '{kind}' is not a product type of {constellation}")
            found[constellation, product_type] = tuple(ids)
        return cls(found)

    def choose(self, constellation: Constellation, wanted: str | None) -> Choice | None:
        """The collections for a product type, or for the default one where none is wanted; None if there are none."""
        if not self.collections:
            return Choice(wanted, ()) if constellation in DEFAULT_TYPES else None
        held = {kind: ids for (of, kind), ids in self.collections.items() if of is constellation}
        if wanted is not None:
            for kind, ids in held.items():
                if kind in ("", wanted) or same_product_type(kind, wanted) or same_product_type(wanted, kind):
                    return Choice(wanted, ids)
            return None
        for kind in DEFAULT_TYPES.get(constellation, ()):
            if kind in held:
                return Choice(kind, held[kind])
        return next((Choice(kind or None, ids) for kind, ids in held.items()), None)


def of_default_type(scenes: list[SceneFeature], constellation: Constellation) -> tuple[list[SceneFeature], str | None]:
    """The scenes of the first default product type that is there at all, and that type (None: no scene says its type)."""
    for kind in DEFAULT_TYPES.get(constellation, ()):
        of_kind = [scene for scene in scenes if same_product_type(kind, scene.tags.get("productType", ""))]
        if of_kind:
            return of_kind, kind
    return scenes, None
