"""Scenes of a static STAC catalogue: JSON documents that link to each other, in a folder or on a web server.

Everything is read and filtered here; a big catalogue is better served by an API.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import shapely
from pydantic import JsonValue
from pystac_client.stac_api_io import StacApiIO

from catalogue.external.base import FoundScenes, SceneQuery
from catalogue.external.filters import wanted_product_type
from catalogue.external.http import HttpError, read_document, stac_io
from catalogue.external.offers import Offer
from catalogue.external.selection import FoundItem, Notes, scenes_of, too_many
from catalogue.external.stac_item import Fields, maps_of, parse_time, text_of, time_of
from common.errors import UpstreamError
from common.payload import Payload
from common.threads import Stop, in_thread

_READERS = 8
_AT_ONCE = 256
"""Documents in memory at a time."""
_MAX_DOCUMENTS = 200_000
"""A catalogue with more is better served by an API."""


@dataclass(frozen=True)
class StaticStacCatalogue:
    """A catalogue, collection or item collection document, by URL or path, or the folder of a `catalog.json`."""

    name: str
    url: str
    offer: Offer
    timeout_s: float = 60.0
    retries: int = 4
    max_items: int = 20_000

    def supports(self, payload: Payload) -> bool:
        return self.offer.choose(payload.scene_type.constellation, wanted_product_type(payload.scene_type)) is not None

    async def search(self, query: SceneQuery) -> FoundScenes:
        """Scenes by date; see `ExternalCatalogue.search`. Reads in threads."""
        return await in_thread(lambda stop: self._search(query, stop))

    def _search(self, query: SceneQuery, stop: Stop) -> FoundScenes:
        choice = self.offer.choose(query.constellation, query.filter.product_type)
        if choice is None:
            return FoundScenes([])
        notes = Notes(self.name)
        reader = stac_io(self.timeout_s, self.retries)
        with closing(reader.session):
            items = [item for item in _Walk(reader, notes, stop).items(_root(self.url)) if _may_match(item.document, query)]
        scenes = scenes_of(items, query, choice, notes)
        shapely.prepare(query.area)
        scenes = [scene for scene in scenes if query.area.intersects(scene.footprint())]
        scenes.sort(key=lambda scene: (scene.data.date, scene.source_id))
        if not query.limit and len(scenes) > self.max_items:
            raise too_many(self.name, self.max_items)
        first = query.page * query.limit
        page = scenes[first : first + query.limit] if query.limit else scenes
        return FoundScenes(page, has_next=bool(query.limit) and first + query.limit < len(scenes), notes=notes.told())


class _Walk:
    """Reads a tree of documents, several at once, each once."""

    def __init__(self, reader: StacApiIO, notes: Notes, stop: Stop) -> None:
        self._reader = reader
        self._notes = notes
        self._stop = stop

    def items(self, root: str) -> Iterator[FoundItem]:
        """All items below `root`.

        A catalogue that cannot be read is an UpstreamError, and so is an item behind a server in trouble; an item that is missing or
        malformed is left out with a note.
        """
        seen = {root}
        waiting: deque[tuple[str, bool]] = deque([(root, False)])
        with ThreadPoolExecutor(_READERS, thread_name_prefix="static-stac") as pool:
            try:
                while waiting:
                    self._stop.check()
                    wave = [waiting.popleft() for _ in range(min(len(waiting), _AT_ONCE))]
                    reads = [(href, is_item, pool.submit(self._read, href)) for href, is_item in wave]
                    for href, is_item, read in reads:
                        document = self._document(href, is_item, read)
                        if document is None:
                            continue
                        yield from _items_in(document, href)
                        following = [link for link in _links(document, href) if link[0] not in seen]
                        seen.update(target for target, _ in following)
                        waiting.extend(following)
                        if len(seen) > _MAX_DOCUMENTS:
                            raise UpstreamError(f"{root}: more than {_MAX_DOCUMENTS} documents; serve it through a STAC API")
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _document(self, href: str, is_item: bool, read: Future[Fields]) -> Fields | None:
        try:
            document = read.result()
            if not is_item or document.get("type") == "Feature":
                return document
            self._notes.left_out(f"item {href}", "it is not a STAC item")
        except HttpError as error:
            if not is_item or error.is_passing:
                raise
            self._notes.left_out(f"item {href}", str(error).removeprefix(f"{href}: "))
        return None

    def _read(self, href: str) -> Fields:
        if href.startswith("file:"):
            return _read_file(href)
        return read_document(self._reader, href)


def _read_file(href: str) -> Fields:
    try:
        document = json.loads(Path(unquote(urlsplit(href).path)).read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise HttpError(f"{href}: there is no such file", 404) from None
    except OSError as error:
        raise HttpError(f"{href}: {error.strerror}", None) from None
    except (ValueError, RecursionError) as error:
        raise HttpError(f"{href}: not JSON: {error}", 200) from None
    if not isinstance(document, dict):
        raise HttpError(f"{href}: not a JSON object", 200)
    return document


def _root(url: str) -> str:
    """The URI of the root document."""
    if url.startswith(("http://", "https://")):
        return url
    path = Path(unquote(urlsplit(url).path) if url.startswith("file:") else url).expanduser().resolve()
    if path.is_dir():
        names = ("catalog.json", "collection.json")
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise UpstreamError(f"{path}: there is no {' or '.join(names)} in this folder")
        path = found
    return path.as_uri()


def _items_in(document: Fields, href: str) -> Iterator[FoundItem]:
    kind = document.get("type")
    if kind == "Feature":
        yield FoundItem(dict(document), href)
    elif kind == "FeatureCollection":
        for item in maps_of(document.get("features")):
            yield FoundItem(dict(item), href)
    elif not isinstance(document.get("links"), list):
        raise UpstreamError(f"{href}: neither a STAC catalogue nor an item")


def _links(document: Fields, href: str) -> list[tuple[str, bool]]:
    """The documents below this one and whether each is an item. A web server cannot send us to local files."""
    if document.get("type") in ("Feature", "FeatureCollection"):
        return []
    found: list[tuple[str, bool]] = []
    for link in maps_of(document.get("links")):
        target = urljoin(href, text_of(link, "href"))
        allowed = target.startswith(("http://", "https://")) or (target.startswith("file:") and href.startswith("file:"))
        if link.get("rel") in ("child", "item") and allowed:
            found.append((target, link["rel"] == "item"))
    return found


def _may_match(document: JsonValue, query: SceneQuery) -> bool:
    """Cheap tests on what is plainly said, so that a scene is built only for items near the query."""
    if not isinstance(document, dict):
        return True
    properties = document.get("properties")
    moment = time_of(properties, "datetime", "start_datetime") if isinstance(properties, dict) else parse_time("")
    return moment is None or query.start <= moment <= query.end
