"""Scenes of a STAC API, through pystac-client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import urljoin

from pydantic import JsonValue
from pystac_client import ItemSearch
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry import mapping

from catalogue.external.base import FoundScenes, SceneQuery
from catalogue.external.filters import wanted_product_type
from catalogue.external.http import read_document, stac_io, upstream_errors
from catalogue.external.offers import Choice, Offer
from catalogue.external.presets import Queryables
from catalogue.external.selection import FoundItem, Notes, scenes_of, too_many
from catalogue.external.stac_item import Fields, maps_of, text_of, texts_of
from common.errors import UpstreamError
from common.geometry import simplified
from common.payload import Payload
from common.product_names import Constellation
from common.threads import Stop, in_thread
from common.times import rfc3339


@dataclass(frozen=True)
class Condition:
    """A comparison of an item's property, in the terms of STAC's `query` extension."""

    name: str
    operator: str
    """gte, lte, eq or in."""
    value: JsonValue


@dataclass(frozen=True)
class StacApiCatalogue:
    """A STAC API and how it is talked to."""

    name: str
    url: str
    offer: Offer
    queryables: Mapping[Constellation, Queryables] = field(default_factory=dict)
    timeout_s: float = 60.0
    retries: int = 4
    page_size: int = 100
    max_vertices: int = 400
    max_items: int = 20_000
    """More than these are not read for one query: it is refused."""

    def supports(self, payload: Payload) -> bool:
        return self.offer.choose(payload.scene_type.constellation, wanted_product_type(payload.scene_type)) is not None

    async def search(self, query: SceneQuery) -> FoundScenes:
        """Scenes in the order of the server; see `ExternalCatalogue.search`. Reads in a thread."""
        return await in_thread(lambda stop: self._search(query, stop))

    def _search(self, query: SceneQuery, stop: Stop) -> FoundScenes:
        choice = self.offer.choose(query.constellation, query.filter.product_type)
        if choice is None:
            return FoundScenes([])
        notes = Notes(self.name)
        items: list[FoundItem] = []
        skipped = query.page * query.limit
        last = skipped + query.limit if query.limit else self.max_items + 1
        enough = min(last, self.max_items + 1)
        reader = stac_io(self.timeout_s, self.retries)
        with closing(reader.session):
            for page in self._pages(reader, query, choice):
                items.extend(FoundItem(document, self._location(document)) for document in page)
                stop.check()
                if len(items) >= enough:
                    break
        if last > self.max_items and len(items) > self.max_items:
            raise too_many(self.name, self.max_items)
        page_of_items = items[skipped:last]
        scenes = scenes_of(page_of_items, query, choice, notes)
        return FoundScenes(scenes, has_next=bool(query.limit) and len(page_of_items) == query.limit, notes=notes.told())

    def _pages(self, reader: StacApiIO, query: SceneQuery, choice: Choice) -> Iterator[list[JsonValue]]:
        """The items, page by page; raises UpstreamError where the server fails or its pages lead nowhere."""
        landing = read_document(reader, self.url)
        seen: set[tuple[str, str] | None] = set()
        with upstream_errors(self.url):
            search = self._item_search(reader, landing, query, choice)
            for page in search.pages_as_dicts():
                features = page["features"]
                if not isinstance(features, list):
                    raise TypeError("'features' is not a list")
                fresh = [item for item in features if _key(item) not in seen]
                if not fresh:
                    raise UpstreamError(f"{self.url}: its pages do not advance ('next' leads to items already given)")
                seen.update(key for item in fresh if (key := _key(item)) is not None)
                yield fresh

    def _location(self, document: JsonValue) -> str:
        """Where the item is: its own link, else where the API must have it."""
        if not isinstance(document, dict):
            return ""
        own = [text_of(link, "href") for link in maps_of(document.get("links")) if link.get("rel") == "self"]
        root = self.url.rstrip("/")
        return next(filter(None, own), f"{root}/collections/{text_of(document, 'collection')}/items/{text_of(document, 'id')}")

    def _item_search(self, reader: StacApiIO, landing: Fields, query: SceneQuery, choice: Choice) -> ItemSearch:
        conforms = texts_of(landing.get("conformsTo"))
        links = [link for link in maps_of(landing.get("links")) if link.get("rel") == "search" and text_of(link, "href")]
        posts = [link for link in links if text_of(link, "method").upper() == "POST"]
        root = self.url.rstrip("/") + "/"
        url = urljoin(root, text_of((posts or links)[0], "href") if links else "search")
        method = "GET" if links and not posts and any(text_of(link, "method").upper() == "GET" for link in links) else "POST"
        conditions = _conditions(query, self.queryables.get(query.constellation, Queryables()))
        use_query = any(text.endswith("item-search#query") for text in conforms)
        use_filter = not use_query and method == "POST" and any(text.endswith("cql2-json") for text in conforms)
        sortable = any(text.endswith("item-search#sort") for text in conforms)
        size = min(self.page_size, (query.page + 1) * query.limit) if query.limit else self.page_size
        area = simplified(query.area, self.max_vertices)
        parts = getattr(area, "geoms", None)
        return ItemSearch(
            url,
            method=method,
            stac_io=reader,
            limit=size,
            collections=list(choice.collections) or None,
            intersects=mapping(parts[0] if parts is not None and len(parts) == 1 else area),
            datetime=f"{rfc3339(query.start)}/{rfc3339(query.end)}",
            query=_as_query(conditions) if use_query and conditions else None,
            filter=_as_cql2(conditions) if use_filter and conditions else None,
            filter_lang="cql2-json" if use_filter and conditions else None,
            sortby=[{"field": "properties.datetime", "direction": "asc"}] if query.limit and sortable else None,
        )


def _conditions(query: SceneQuery, names: Queryables) -> list[Condition]:
    """What the server is asked to filter by; bounds that exclude nothing are left out."""
    wanted, found = query.filter, list[Condition]()
    if names.cloud_cover and wanted.cloud_cover is not None:
        if wanted.cloud_cover.low > 0:
            found.append(Condition(names.cloud_cover, "gte", wanted.cloud_cover.low))
        if wanted.cloud_cover.high < 100:
            found.append(Condition(names.cloud_cover, "lte", wanted.cloud_cover.high))
    if names.relative_orbit and wanted.relative_orbit is not None:
        found.append(Condition(names.relative_orbit, "eq", wanted.relative_orbit))
    if names.orbit_direction and wanted.orbit_direction is not None:
        found.append(Condition(names.orbit_direction, "eq", wanted.orbit_direction.lower()))
    if names.sensor_mode and wanted.sensor_mode is not None:
        found.append(Condition(names.sensor_mode, "eq", wanted.sensor_mode))
    if names.platform:
        found.append(Condition(names.platform, "in", list(names.platforms)))
    return found


def _key(item: JsonValue) -> tuple[str, str] | None:
    """What tells an item from others; None for one without an id, which is told of later."""
    identity = text_of(item, "id") if isinstance(item, dict) else ""
    return (text_of(item, "collection"), identity) if isinstance(item, dict) and identity else None


def _as_query(conditions: list[Condition]) -> dict[str, dict[str, JsonValue]]:
    query: dict[str, dict[str, JsonValue]] = {}
    for condition in conditions:
        query.setdefault(condition.name, {})[condition.operator] = condition.value
    return query


def _as_cql2(conditions: list[Condition]) -> dict[str, JsonValue]:
    operators = {"gte": ">=", "lte": "<=", "eq": "=", "in": "in"}
    parts: list[JsonValue] = [{"op": operators[one.operator], "args": [{"property": one.name}, one.value]} for one in conditions]
    return {"op": "and", "args": parts}
