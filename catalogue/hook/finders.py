"""Products by name, and those of a place and a period: in the catalogue of an order (STAC or OData), or in the configured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import quote

from pydantic import JsonValue
from shapely.geometry import MultiPolygon, box, mapping
from shapely.geometry.base import BaseGeometry

from catalogue.external.base import ExternalCatalogue, SceneQuery
from catalogue.external.filters import SceneFilter, canonical_product_type
from catalogue.external.odata_area import area_condition
from catalogue.external.odata_filter import TimeSlice, encoded, filter_text, literal
from catalogue.external.odata_product import ProductSource, scene_of_product
from catalogue.external.presets import ODATA_COLLECTIONS
from catalogue.external.scene_facts import product_name
from catalogue.external.stac_item import BadItemError, StacItem, maps_of
from catalogue.external.stac_scene import scene_of
from catalogue.hook.orders import ItemError
from catalogue.hook.source_http import SourceReader
from common.errors import UpstreamError, UserError
from common.features import SceneFeature
from common.geometry import as_multipolygon, simplified
from common.product_names import Constellation, ProductName
from common.times import rfc3339

_MOST = 500
_VERTICES = 200
_ROOM = 3000
"""Characters of an area in a URL."""
_BEFORE, _AFTER = timedelta(minutes=5), timedelta(minutes=90)
"""Between the date in the name of a product, which is that of its data take, and the one a catalogue tells."""


@dataclass(frozen=True)
class Wanted:
    """Products of a place and a period."""

    constellation: Constellation
    product_type: str | None
    area: BaseGeometry
    """EPSG:4326."""
    start: datetime
    end: datetime
    collection: str = ""
    filename: str | None = None
    """Pattern of the product's name."""

    @property
    def filter(self) -> SceneFilter:
        return SceneFilter(product_type=self.product_type, filename=self.filename)


class Finder(Protocol):
    """A place where products are looked for."""

    async def named(self, product: str, collection: str) -> SceneFeature | None:
        """The product of that name (without `.SAFE`); None where it is not there. Raises ItemError, or a temporary ThresherError."""
        ...

    async def around(self, wanted: Wanted) -> list[SceneFeature]:
        """What was taken then and there; raises as `named`."""
        ...


@dataclass(frozen=True)
class StacFinder:
    """A STAC API."""

    reader: SourceReader
    url: str

    async def named(self, product: str, collection: str) -> SceneFeature | None:
        names = (product, f"{product}.SAFE")
        root = self.url.rstrip("/")
        if collection:
            for name in names:
                link = f"{root}/collections/{quote(collection, safe='')}/items/{quote(name, safe='')}"
                document = await self.reader.get(link)
                if isinstance(document, dict) and document.get("type") == "Feature":
                    return self._scene(document, link)
        more = f"&collections={quote(collection, safe='')}" if collection else ""
        found = await self.reader.get(f"{root}/search?ids={','.join(quote(name, safe='') for name in names)}&limit=10{more}")
        scenes = self._scenes(found)
        return next((scene for scene in scenes if scene.source_id.removesuffix(".SAFE") == product), None)

    async def around(self, wanted: Wanted) -> list[SceneFeature]:
        area = simplified(wanted.area, _VERTICES)
        query: dict[str, JsonValue] = {
            "datetime": f"{rfc3339(wanted.start)}/{rfc3339(wanted.end)}",
            "intersects": _plain(mapping(area)),
            "limit": _MOST,
        }
        if wanted.collection:
            query["collections"] = [wanted.collection]
        return _fitting(self._scenes(await self.reader.post(f"{self.url.rstrip('/')}/search", query)), wanted)

    def _scenes(self, document: JsonValue) -> list[SceneFeature]:
        scenes: list[SceneFeature] = []
        for item in maps_of(document.get("features")) if isinstance(document, dict) else []:
            try:
                scenes.append(self._scene(dict(item), ""))
            except ItemError:
                continue
        return scenes

    def _scene(self, document: JsonValue, link: str) -> SceneFeature:
        try:
            return scene_of(StacItem.of(document), catalogue="order", location=link)
        except BadItemError as error:
            raise ItemError(f"the item of the product cannot be read: {error}") from None


@dataclass(frozen=True)
class ODataFinder:
    """An OData catalogue of the Copernicus ground segment."""

    reader: SourceReader
    url: str
    """With its version: `https://host/odata/v1`."""

    async def named(self, product: str, collection: str) -> SceneFeature | None:  # noqa: ARG002 - names are unique
        condition = f"Name eq {literal(product)} or Name eq {literal(product + '.SAFE')}"
        scenes = await self._ask(condition, 10)
        # Of several copies one that is online.
        scenes.sort(key=lambda scene: (scene.data.metadata.model_extra or {}).get("online") is False)
        return next((scene for scene in scenes if scene.source_id == product), None)

    async def around(self, wanted: Wanted) -> list[SceneFeature]:
        known = ODATA_COLLECTIONS.get(f"{wanted.constellation.value.lower()}/{wanted.product_type}", ())
        collections = [wanted.collection] if wanted.collection else list(known)
        if not collections:
            raise ItemError("the order does not name the collection of its source (source_catalogue_collection)")
        area = area_condition(as_multipolygon(wanted.area), room=_ROOM, max_vertices=_VERTICES)
        text = filter_text(collections, wanted.constellation, wanted.filter, TimeSlice(wanted.start, wanted.end), area)
        return _fitting(await self._ask(text, _MOST), wanted)

    async def _ask(self, condition: str, top: int) -> list[SceneFeature]:
        url = f"{self.url.rstrip('/')}/Products?$filter={encoded(condition)}&$top={top}&$expand=Attributes"
        document = await self.reader.get(url)
        scenes: list[SceneFeature] = []
        for product in maps_of(document.get("value")) if isinstance(document, dict) else []:
            try:
                scenes.append(scene_of_product(dict(product), ProductSource("order", self.url)))
            except BadItemError:
                continue
        return scenes


@dataclass(frozen=True)
class ConfiguredFinder:
    """The catalogues of this deployment, the first that knows the product."""

    catalogues: Sequence[ExternalCatalogue]

    async def named(self, product: str, collection: str) -> SceneFeature | None:  # noqa: ARG002 - the deployment has its own
        name = product_name(product)
        if name is None:
            raise ItemError(
                f"{product} is not found: its name is none of Sentinel-1, Sentinel-2 or Landsat; name its catalogue in the order"
            )
        day = name.constellation is Constellation.LANDSAT
        start, end = name.sensing_start - _BEFORE, name.sensing_start + (timedelta(days=1) if day else _AFTER)
        wanted = SceneFilter(product_type=product_type_of(name), filename=product)
        for found in await self._search(SceneQuery(name.constellation, place_of(name), start, end, wanted)):
            if found.source_id.removesuffix(".SAFE") == product:
                return found
        return None

    async def around(self, wanted: Wanted) -> list[SceneFeature]:
        area = as_multipolygon(wanted.area)
        return _fitting(await self._search(SceneQuery(wanted.constellation, area, wanted.start, wanted.end, wanted.filter)), wanted)

    async def _search(self, query: SceneQuery) -> list[SceneFeature]:
        trouble: UpstreamError | None = None
        for catalogue in self.catalogues:
            try:
                found = await catalogue.search(query)
            except UpstreamError as error:
                trouble = error  # another one may know it
                continue
            except UserError as error:
                raise ItemError(str(error)) from None
            if found.scenes:
                return found.scenes
        if trouble is not None:
            raise trouble
        return []


def product_type_of(name: ProductName) -> str | None:
    """The product type a name tells, as catalogues are asked for it."""
    parts = (name.parts.get(part, "") for part in ("PRODUCT_TYPE", "PRODUCT_LEVEL", "LEVEL"))
    return next((kind for text in parts if text and (kind := canonical_product_type(name.constellation, text))), None)


def place_of(name: ProductName) -> MultiPolygon:
    """Where a product can only lie: of Sentinel-2 the zone of its tile (6° by 8°, with what tiles overlap), else anywhere."""
    zone, band = name.parts.get("LATITUDE_BAND"), name.parts.get("GRID_SQUARE")
    if name.constellation is not Constellation.SENTINEL2 or not zone or not band or band not in _BANDS:
        return MultiPolygon([box(-180, -90, 180, 90)])
    west, south = 6.0 * (int(zone) - 1) - 180, 8.0 * _BANDS.index(band) - 80
    parts = [box(west - 2, max(south - 1.5, -90), west + 8, min(south + (12 if band == "X" else 8) + 1.5, 90))]
    if west - 2 < -180 or west + 8 > 180:
        parts = [box(-180, parts[0].bounds[1], -172, parts[0].bounds[3]), box(172, parts[0].bounds[1], 180, parts[0].bounds[3])]
    return MultiPolygon(parts)


_BANDS = "CDEFGHJKLMNPQRSTUVWX"
"""Of latitude, from 80° S on, 8° each (Military Grid Reference System)."""


def _fitting(scenes: Sequence[SceneFeature], wanted: Wanted) -> list[SceneFeature]:
    """Those that are what was asked for, whatever the server thinks; the earliest first."""
    fitting = {
        scene.source_id: scene
        for scene in scenes
        if scene.tags.get("constellation") == wanted.constellation
        and wanted.filter.refusal(scene) is None
        and wanted.start <= scene.data.date <= wanted.end
        and scene.footprint().intersects(wanted.area)
    }
    return sorted(fitting.values(), key=lambda scene: scene.data.date)


def _plain(value: object) -> JsonValue:
    """Tuples of coordinates as lists."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else None
