"""Scenes of an OData catalogue: Copernicus Data Space, and CREODIAS, which speaks the same with another host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from pydantic import JsonValue

from catalogue.external.base import FoundScenes, SceneQuery
from catalogue.external.filters import SceneFilter, wanted_product_type
from catalogue.external.http import HttpError
from catalogue.external.odata_area import area_condition
from catalogue.external.odata_filter import TimeSlice, encoded, filter_text, time_slices
from catalogue.external.odata_http import ODataReader
from catalogue.external.odata_product import ProductSource, is_offline, scene_of_product
from catalogue.external.offers import Choice, Offer
from catalogue.external.selection import Notes, too_many
from catalogue.external.stac_item import BadItemError, text_of
from common.errors import UserError
from common.features import SceneFeature
from common.payload import Payload
from common.product_names import Constellation
from common.threads import Stop, in_thread

_DEFAULT_TYPES = {Constellation.SENTINEL1: "SLC", Constellation.SENTINEL2: "S2MSI1C"}
_DEFAULT_MODE = "IW"
_DEFAULT_POLARISATIONS = frozenset({"VV", "VH"})
_MAX_SKIP = 10_000
"""Beyond it the services answer 422, or leave out the link to the next page without a word."""
_SHOWN = 5


@dataclass(frozen=True)
class ODataCatalogue:
    """An OData catalogue and how it is talked to.

    What a payload does not say is taken as the reference takes it: SLC, mode IW and polarisations VV and VH of Sentinel-1, S2MSI1C of
    Sentinel-2. Products repackaged as cloud-optimised (`…_COG`) are not listed beside their originals.
    """

    name: str
    url: str
    """Root of the API."""
    offer: Offer
    dated_by_publication: bool = False
    timeout_s: float = 60.0
    retries: int = 4
    page_size: int = 1000
    max_vertices: int = 400
    max_url_length: int = 4000
    parallel: int = 4
    slice_days: int = 92
    max_items: int = 20_000
    """More than these are not read for one query: it is refused."""

    def supports(self, payload: Payload) -> bool:
        return self._choice(payload.scene_type.constellation, wanted_product_type(payload.scene_type)) is not None

    async def search(self, query: SceneQuery) -> FoundScenes:
        """Scenes by acquisition date; see `ExternalCatalogue.search`."""
        choice = self._choice(query.constellation, query.filter.product_type)
        if choice is None:
            return FoundScenes([])
        notes = Notes(self.name)
        wanted = _with_defaults(query, choice, notes)
        async with ODataReader(self.timeout_s, self.retries, self.parallel) as reader:
            reading = _Reading(self, reader, query, wanted, choice.collections, notes)
            reading.area = await in_thread(lambda _: reading.short_area())
            documents, has_next = await reading.one_page() if query.limit else (await reading.everything(), False)
        scenes = await in_thread(lambda stop: self._scenes(documents, query, wanted, notes, stop))
        return FoundScenes(scenes, has_next=has_next, notes=notes.told())

    def _choice(self, constellation: Constellation, wanted: str | None) -> Choice | None:
        """The reference's default product type where none is wanted, else the first that is offered."""
        kind = wanted or _DEFAULT_TYPES.get(constellation)
        if kind is None:
            return None
        choice = self.offer.choose(constellation, kind) or (None if wanted else self.offer.choose(constellation, None))
        return choice if choice is not None and choice.collections else None

    def _scenes(
        self, documents: Iterable[JsonValue], query: SceneQuery, wanted: SceneFilter, notes: Notes, stop: Stop
    ) -> list[SceneFeature]:
        source = ProductSource(self.name, self.url, self.dated_by_publication)
        scenes: list[SceneFeature] = []
        for document in documents:
            stop.check()
            label = f"product {text_of(document, 'Name', 'Id') or '(without name)'}" if isinstance(document, dict) else "a product"
            try:
                scene = scene_of_product(document, source)
            except BadItemError as error:
                notes.left_out(label, str(error))
                continue
            refusal = _refusal(scene, query, wanted)
            if refusal is None:
                scenes.append(scene)
            elif refusal:
                notes.left_out(scene.source_id, refusal)
        offline = [scene.source_id for scene in scenes if is_offline(scene)]
        if offline:
            more = f" and {len(offline) - _SHOWN} more" if len(offline) > _SHOWN else ""
            notes.say(f"offline, must be restored before they can be downloaded: {', '.join(offline[:_SHOWN])}{more}")
        return scenes


@dataclass
class _Reading:
    """The requests of one search."""

    catalogue: ODataCatalogue
    reader: ODataReader
    query: SceneQuery
    wanted: SceneFilter
    collections: tuple[str, ...]
    notes: Notes
    area: str = ""
    """The condition on the area."""
    found: dict[str, JsonValue] = field(default_factory=dict)
    """By Id, of a search for everything: neighbouring slices and repeated readings may give a product twice."""
    nameless: list[JsonValue] = field(default_factory=list)
    """Without an Id: told of later."""

    def short_area(self) -> str:
        """The condition on the area, as long as the URL can carry; may take seconds for a large outline."""
        without = self._url(TimeSlice(self.query.start, self.query.end), top=self.catalogue.page_size)
        # ` and `, `$skip`, and spaces that the server may write longer than we do in the link to the next page.
        room = self.catalogue.max_url_length - len(without) - 50
        return area_condition(self.query.area, room=room, max_vertices=self.catalogue.max_vertices)

    async def one_page(self) -> tuple[list[JsonValue], bool]:
        """The page that is asked for, and whether the server has more after it."""
        first, limit = self.query.page * self.query.limit, self.query.limit
        self._check_skip(first)
        url = self._url(TimeSlice(self.query.start, self.query.end), top=min(limit, self.catalogue.page_size), skip=first)
        found: list[JsonValue] = []
        while url:
            page = await self.reader.page(url)
            found.extend(page.products)
            url = page.next_url
            if len(found) >= limit or not page.products:
                break
        if not url and len(found) < limit:
            self._check_skip(first + len(found))
        return found[:limit], len(found) > limit or (len(found) == limit and bool(url))

    async def everything(self) -> list[JsonValue]:
        """All products, in slices of time that are read at once."""
        gate = asyncio.Semaphore(self.catalogue.parallel)
        spans = time_slices(self.query.start, self.query.end, timedelta(days=self.catalogue.slice_days))
        try:
            async with asyncio.TaskGroup() as group:
                for span in spans:
                    group.create_task(self._slice(span, gate))
        except ExceptionGroup as errors:
            raise _first(errors) from None
        return [*self.found.values(), *self.nameless]

    async def _slice(self, span: TimeSlice, gate: asyncio.Semaphore) -> None:
        async with gate:
            complete = await self._pages(self._url(span, top=self.catalogue.page_size))
        if complete:
            return
        halves = span.halves()
        if halves is None:
            moment = f"{span.start:%Y-%m-%dT%H:%M:%SZ}"
            self.notes.lines.append(f"{self.catalogue.name}: its pages overlap at {moment}: a product may be missing")
            return
        for half in halves:
            await self._slice(half, gate)

    async def _pages(self, url: str) -> bool:
        """Read a slice; whether it was read wholly.

        It was not where the server skips no further, or where a product comes twice: then products of one date changed places between
        two pages, and another may have been missed.
        """
        seen: set[str] = set()
        read = 0
        complete = True
        start = url
        while url:
            page = await self.reader.page(url)
            fresh = 0
            for document in page.products:
                identity = text_of(document, "Id") if isinstance(document, dict) else ""
                if not identity:
                    self.nameless.append(document)
                    fresh += 1
                elif identity not in seen:
                    seen.add(identity)
                    self.found[identity] = document
                    fresh += 1
            read += len(page.products)
            if len(self.found) + len(self.nameless) > self.catalogue.max_items:
                raise too_many(self.catalogue.name, self.catalogue.max_items)
            if page.next_url and not fresh:
                where = start.partition("?")[0]
                raise HttpError(f"{where}: its pages do not advance ('@odata.nextLink' leads to products already given)", 200)
            complete = complete and fresh == len(page.products)
            url = page.next_url
        return complete and read < _MAX_SKIP

    def _url(self, span: TimeSlice, *, top: int, skip: int = 0) -> str:
        wanted = filter_text(self.collections, self.query.constellation, self.wanted, span, self.area)
        order = encoded("ContentDate/Start asc")
        options = f"&$orderby={order}&$top={top}" + (f"&$skip={skip}" if skip else "") + "&$expand=Attributes"
        return f"{self.catalogue.url.rstrip('/')}/Products?$filter={encoded(wanted)}{options}"

    def _check_skip(self, position: int) -> None:
        if position > _MAX_SKIP:
            advice = "narrow the dates or the area, or ask for all at once (limit 0)"
            raise UserError(f"catalogue '{self.catalogue.name}' pages only through its first {_MAX_SKIP} products; {advice}", field="page")


def _with_defaults(query: SceneQuery, choice: Choice, notes: Notes) -> SceneFilter:
    """The filter with what the reference takes for granted; a name pattern says itself which mode and polarisations are meant."""
    wanted = replace(query.filter, product_type=choice.product_type)
    if query.filter.product_type is None and choice.product_type is not None:
        notes.say(f"scene_type.parameters.producttype is not given; {choice.product_type} is taken")
    if query.constellation is Constellation.SENTINEL1 and wanted.filename is None:
        if wanted.sensor_mode is None:
            wanted = replace(wanted, sensor_mode=_DEFAULT_MODE)
            notes.say(f"scene_type.parameters.sensoroperationalmode is not given; {_DEFAULT_MODE} is taken")
        if wanted.polarisations is None and wanted.sensor_mode == _DEFAULT_MODE:
            wanted = replace(wanted, polarisations=_DEFAULT_POLARISATIONS)
            notes.say("scene_type.parameters.polarisationmode is not given; VV VH is taken")
    return wanted


def _refusal(scene: SceneFeature, query: SceneQuery, wanted: SceneFilter) -> str | None:
    """As `SceneFilter.refusal`, for the constellation and the dates too."""
    if scene.tags.get("constellation") != query.constellation or not query.start <= scene.data.date <= query.end:
        return ""
    return "" if scene.source_id.endswith("_COG") else wanted.refusal(scene)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
