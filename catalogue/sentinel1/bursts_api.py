"""The bursts of scenes as a service of the Copernicus Data Space lists them, so that nothing of the products is read.

Source of the fields and the query: documentation of the Copernicus Data Space Ecosystem, APIs, "Sentinel-1 SLC Bursts" (entity set
`Bursts`). It has an entry for every burst in every polarisation; `AzimuthTime` and `AzimuthAnxTime` (seconds) are those of the annotation.
Footprints are the service's own: they may have more vertices than those read from annotations, and differ from them in the last decimals.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Annotated

from pydantic import AliasChoices, BaseModel, Field, JsonValue, StringConstraints, ValidationError
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.polygon import orient

from catalogue.external.http import HttpError
from catalogue.external.odata_filter import encoded, literal
from catalogue.external.odata_http import ODataReader
from catalogue.external.odata_product import geometry_of
from catalogue.external.scene_facts import footprint_of
from catalogue.external.stac_item import BadItemError, Fields, text_of
from catalogue.sentinel1.annotations.files import AnnotationError, SceneName, parse_scene
from catalogue.sentinel1.burst_ids import MOST, burst_id, relative_orbit
from catalogue.sentinel1.bursts import POLARISATIONS, SWATHS, Burst, anx_time_ds, is_same_time, ring_text
from common.config import Settings
from common.errors import ConfigurationError, ThresherError, UpstreamError, UserError
from common.features import SceneFeature
from common.threads import Stop, in_thread
from common.times import UtcDatetime, rfc3339
from common.urls import check_url, shown_url

_KEY = "annotations.bursts_url"
_MOST_SCENES = 30
"""In one request: the service pages through its first 10,000 entries only, and a scene has up to some 200."""
_LONGEST_GAP_S = 4.5
"""Between two bursts of a sub-swath: they follow one another within 2.8 s in mode IW, within 3.1 s in EW."""
_LATEST_FIRST = timedelta(seconds=2)
_EARLIEST_LAST = timedelta(seconds=5)
"""The first burst of a scene begins within the second its name says, the last one lasts some 3 s, up to the second its name says."""
_SAMPLE_BYTES = 4


class BurstService:
    """The entity set `Bursts` of an OData service; many scenes are asked for in one request."""

    def __init__(
        self, url: str, *, timeout_s: float = 60.0, retries: int = 4, parallel: int = 4, page_size: int = 1000, max_url_length: int = 4000
    ) -> None:
        """`url`: root of the service, or the address of the entity set itself."""
        self._url = f"{url.rstrip('/').removesuffix('/Bursts')}/Bursts"
        self._timeout_s = timeout_s
        self._retries = retries
        self._parallel = parallel
        self._page_size = page_size
        self._max_url_length = max_url_length

    async def read_many(self, scenes: Sequence[SceneFeature]) -> AsyncIterator[tuple[SceneFeature, list[Burst] | ThresherError]]:
        """Every scene with its bursts, by sub-swath and number, or with why they are not known here; in no particular order.

        A service that has failed one request to the end is not asked again.
        """
        wanted: list[_Wanted] = []
        for scene in scenes:
            try:
                wanted.append(_Wanted(scene, parse_scene(scene.source_id)))
            except AnnotationError as error:
                yield scene, error
        batches = list(self._batches(wanted))
        failure: HttpError | None = None
        async with ODataReader(self._timeout_s, self._retries, self._parallel) as reader:
            for first in range(0, len(batches), self._parallel):
                group = batches[first : first + self._parallel]
                answers = [failure] * len(group) if failure else await asyncio.gather(*(self._entries(reader, batch) for batch in group))
                for batch, answer in zip(group, answers, strict=True):
                    if isinstance(answer, HttpError):
                        failure = answer
                        listed: list[list[Burst] | UpstreamError] = [answer] * len(batch)
                    else:
                        listed = await in_thread(partial(_listed, shown_url(self._url), batch, answer))
                    for asked, bursts in zip(batch, listed, strict=True):
                        yield asked.scene, bursts

    def _batches(self, wanted: Sequence[_Wanted]) -> Iterator[list[_Wanted]]:
        """As many scenes together as a URL can carry."""
        batch: list[_Wanted] = []
        for each in wanted:
            if batch and (len(batch) == _MOST_SCENES or len(self._request([*batch, each])) > self._max_url_length):
                yield batch
                batch = []
            batch.append(each)
        if batch:
            yield batch

    def _request(self, batch: Sequence[_Wanted]) -> str:
        products = " or ".join(f"ParentProductName eq {literal(f'{wanted.name.text}.SAFE')}" for wanted in batch)
        # Without an order the service may give an entry twice, and another not at all.
        order = encoded("ContentDate/Start asc")
        return f"{self._url}?$filter={encoded(products)}&$orderby={order}&$top={self._page_size}"

    async def _entries(self, reader: ODataReader, batch: Sequence[_Wanted]) -> list[JsonValue] | HttpError:
        """All entries of the scenes; an error is returned, so that it does not end other requests."""
        entries: dict[str, JsonValue] = {}
        url = self._request(batch)
        try:
            while url:
                page = await reader.page(url)
                before = len(entries)
                for entry in page.products:
                    identity = text_of(entry, "Id") if isinstance(entry, dict) else ""
                    entries.setdefault(identity or f"without Id {len(entries)}", entry)
                if page.next_url and len(entries) == before:
                    return HttpError(
                        f"{shown_url(self._url)}: its pages do not advance ('@odata.nextLink' leads to bursts already given)", 200
                    )
                url = page.next_url
        except HttpError as error:
            return error
        return list(entries.values())


def configured_burst_service(settings: Settings) -> BurstService | None:
    """That of a deployment, None if there is none. Does not touch the network; raises ConfigurationError naming the key."""
    chosen = settings.annotations
    if not chosen.bursts_url:
        return None
    if not chosen.bursts_url.startswith(("http://", "https://")) or "?" in chosen.bursts_url or "#" in chosen.bursts_url:
        raise ConfigurationError(f"{_KEY}: {shown_url(chosen.bursts_url)} must be https://… without a query")
    try:
        check_url(chosen.bursts_url, [chosen.bursts_url], _KEY)
    except UserError as error:
        raise ConfigurationError(str(error)) from None
    return BurstService(chosen.bursts_url, timeout_s=chosen.timeout_s, retries=chosen.retries, parallel=chosen.concurrency)


@dataclass(frozen=True)
class _Wanted:
    """A scene whose bursts are wanted."""

    scene: SceneFeature
    name: SceneName

    @property
    def direction(self) -> str:
        """`A` or `D` as the catalogue says it, else empty."""
        return self.scene.tags.get("orbitDirection", "")[:1].upper()

    @property
    def orbit(self) -> int | None:
        """Relative orbit as the catalogue says it or as it follows from the name: of all its bursts, also where they lie past a node."""
        said = self.scene.tags.get("relativeOrbit", "")
        if said.isdecimal() and int(said):
            return int(said)
        return relative_orbit(self.name.product.parts["MISSION_ID"], int(self.name.product.parts["ORBIT"]))


_Word = Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True)]


class _Entry(BaseModel):
    """One burst in one polarisation. What only some versions of the service may give is optional."""

    swath: _Word = Field(alias="SwathIdentifier", min_length=1)
    polarisation: _Word = Field(alias="PolarisationChannels", pattern="^[HVhv]{2}$")
    time: UtcDatetime = Field(validation_alias=AliasChoices("AzimuthTime", "BeginningDateTime"))
    anx_time_s: float = Field(alias="AzimuthAnxTime", gt=-1e9, lt=1e9)
    burst_id: JsonValue = Field(None, alias="BurstId")
    orbit: int | None = Field(None, alias="RelativeOrbitNumber", ge=1, le=175)
    direction: _Word = Field("", alias="OrbitDirection")
    byte_offset: int | None = Field(None, alias="ByteOffset", ge=0)
    lines: int | None = Field(None, validation_alias=AliasChoices("LinesPerBurst", "Lines"), gt=0)
    samples: int | None = Field(None, alias="SamplesPerBurst", gt=0)

    @property
    def number(self) -> int | None:
        """In its sub-swath, as it follows from where the burst lies in the measurement; None if that is not given."""
        if self.byte_offset is None or self.lines is None or self.samples is None:
            return None
        return self.byte_offset // (self.lines * self.samples * _SAMPLE_BYTES) + 1


@dataclass(frozen=True)
class _Listed:
    """An entry and the footprint it gives."""

    entry: _Entry
    wkt: str

    @property
    def anx_time_ds(self) -> int:
        return anx_time_ds(self.entry.anx_time_s)


def _listed(where: str, batch: Sequence[_Wanted], answer: Sequence[JsonValue], stop: Stop) -> list[list[Burst] | UpstreamError]:
    """Of every scene its bursts, or what is wrong with them."""
    documents: dict[str, list[Fields]] = {wanted.name.text: [] for wanted in batch}
    nameless = False
    for document in answer:
        product = text_of(document, "ParentProductName").removesuffix(".SAFE") if isinstance(document, dict) else ""
        nameless = nameless or not product
        if isinstance(document, dict) and product in documents:
            documents[product].append(document)
    outcomes: list[list[Burst] | UpstreamError] = []
    for wanted in batch:
        stop.check()
        try:
            if nameless:
                raise BadItemError("an entry of the answer has no ParentProductName: it may be of this scene")
            outcomes.append(_bursts(wanted, documents[wanted.name.text]))
        except BadItemError as error:
            outcomes.append(UpstreamError(f"{where}: {wanted.name.text}: {error}"))
    return outcomes


def _bursts(wanted: _Wanted, documents: Sequence[Fields]) -> list[Burst]:
    """As `read_bursts` gives them; raises BadItemError, also for a list that is not complete: it would number the others wrongly."""
    mode = wanted.name.product.parts["MODE"]
    swaths = SWATHS.get(mode)
    if swaths is None:
        raise BadItemError(f"{mode} is a mode without bursts")
    if not documents:
        raise BadItemError("no bursts of it are listed")
    found: dict[str, dict[str, list[_Listed]]] = {swath: {} for swath in swaths}
    for document in documents:
        listed = _read(document)
        if listed.entry.swath not in found:
            raise BadItemError(f"{_label(document)} has '{listed.entry.swath[:20]}' as SwathIdentifier, in mode {mode}")
        found[listed.entry.swath].setdefault(listed.entry.polarisation, []).append(listed)
    missing = [swath for swath, of_swath in found.items() if not of_swath]
    if missing:
        raise BadItemError(f"no bursts of {', '.join(missing)} are listed")
    times = [listed.entry.time for of_swath in found.values() for each in of_swath.values() for listed in each]
    if min(times) - wanted.name.start > _LATEST_FIRST or wanted.name.stop - max(times) > _EARLIEST_LAST:
        raise BadItemError(f"bursts are listed from {rfc3339(min(times))} to {rfc3339(max(times))} only: bursts are missing")
    bursts: list[Burst] = []
    for swath, of_swath in found.items():
        first, *others = (_in_order(swath, of_swath[name]) for name in POLARISATIONS if name in of_swath)
        for other in others:
            if len(first) != len(other) or not all(is_same_time(a.anx_time_ds, b.anx_time_ds) for a, b in zip(first, other, strict=True)):
                raise BadItemError(f"the bursts of {swath} are not the same in its polarisations: {len(first)} and {len(other)}")
        bursts += [_burst(wanted, number, listed) for number, listed in enumerate(first, 1)]
    return bursts


def _in_order(swath: str, listed: Sequence[_Listed]) -> list[_Listed]:
    """The bursts of one sub-swath and polarisation by time, each once; raises BadItemError where one is missing."""
    ordered: list[_Listed] = []
    for each in sorted(listed, key=lambda each: each.entry.time):
        if ordered and is_same_time(ordered[-1].anx_time_ds, each.anx_time_ds):
            if ordered[-1].entry.burst_id != each.entry.burst_id:
                raise BadItemError(f"two bursts of {swath} are listed at {each.entry.anx_time_s} s, with different ids")
            continue
        ordered.append(each)
    for number, each in enumerate(ordered, 1):
        if each.entry.number not in (None, number):
            raise BadItemError(f"burst {number} of {swath} lies at the place of burst {each.entry.number}: bursts are missing")
    for one, next_one in pairwise(ordered):
        gap_s = (next_one.entry.time - one.entry.time).total_seconds()
        if gap_s > _LONGEST_GAP_S:
            raise BadItemError(f"between two bursts of {swath} are {gap_s:.1f} s: bursts are missing")
    return ordered


def _burst(wanted: _Wanted, number: int, listed: _Listed) -> Burst:
    entry = listed.entry
    direction = wanted.direction if wanted.direction in ("A", "D") else entry.direction[:1]
    if direction not in ("A", "D"):
        raise BadItemError(f"burst {number} of {entry.swath} has no OrbitDirection")
    orbit = wanted.orbit or entry.orbit
    if orbit is None:
        raise BadItemError(f"burst {number} of {entry.swath} has no RelativeOrbitNumber")
    written = entry.burst_id
    known = isinstance(written, int) and not isinstance(written, bool) and 0 < written <= MOST
    identity = written if known and isinstance(written, int) else burst_id(entry.swath, orbit, entry.anx_time_s)
    return Burst(entry.swath, number, listed.anx_time_ds, listed.wkt, direction, orbit, identity)


def _read(document: Fields) -> _Listed:
    """An entry of an answer; raises BadItemError naming it and the field."""
    given = {key: value for key, value in document.items() if value is not None}
    try:
        entry = _Entry.model_validate(given)
    except ValidationError as error:
        [first, *_] = error.errors()
        name = str(first["loc"][0])
        said = f"has {str(first['input'])[:40]!r} as {name}: {first['msg']}" if name in given else f"has no {name}"
        raise BadItemError(f"{_label(document)} {said}") from None
    try:
        return _Listed(entry, _wkt(document))
    except BadItemError as error:
        raise BadItemError(f"{_label(document)}, GeoFootprint: {error}") from None


def _label(document: Fields) -> str:
    return f"burst '{(text_of(document, 'Name', 'Id') or 'without name')[:80]}'"


def _wkt(document: Fields) -> str:
    """The footprint in the manner of those from annotations: six decimals, clockwise, from the vertex the service begins with."""
    footprint = footprint_of(geometry_of(document))
    parts = footprint.geoms if isinstance(footprint, MultiPolygon) else [footprint]
    rings = [f"({ring_text(orient(part, -1.0).exterior.coords[:-1])})" for part in parts if isinstance(part, Polygon)]
    return f"POLYGON{rings[0]}" if len(rings) == 1 else f"MULTIPOLYGON({', '.join(rings)})"
