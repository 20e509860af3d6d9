"""The items of the service as files: a static STAC catalogue, or GeoParquet.

Both are read page by page, so that memory does not grow with their number, and appear whole or not at all.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import UserError
from thresher.client import Client

_PAGE = 1000
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_DROPPED = {"self", "root", "parent", "collection", "items", "http://www.opengis.net/def/rel/ogc/1.0/queryables"}


async def export_stac(client: Client, folder: Path, collections: Sequence[str] = ()) -> int:
    """Write a static catalogue (`catalog.json`, a folder for each collection) into the new `folder`; the number of items.

    Layers stay where they are: the items link to the service. Raises UserError where the folder holds something already.
    """
    _check_empty(folder)
    with _scratch(folder) as scratch:
        catalogue = await client.stac_catalogue()
        wanted = await _wanted(client, collections)
        count = sum([await _write_collection(client, scratch / _name(collection["id"]), collection) for collection in wanted])
        children = [_link("child", f"./{_name(each['id'])}/collection.json", title=each["id"]) for each in wanted]
        root = {key: value for key, value in catalogue.items() if key != "conformsTo"}
        _write(scratch / "catalog.json", {**root, "links": [_link("root", "./catalog.json"), *children]})
        _put_in_place(scratch, folder)
    return count


async def export_geoparquet(client: Client, file: Path, collections: Sequence[str] = ()) -> int:
    """Write all items into the GeoParquet `file` (stac-geoparquet 1.1.0); their number.

    Raises UserError where there are none, or where the library that writes them is not installed.
    """
    try:
        from stac_geoparquet.arrow import parse_stac_ndjson_to_parquet
    except ImportError:
        raise UserError("GeoParquet needs another library: pip install 'thresher[geoparquet]'") from None
    with _scratch(file) as scratch:
        lines, made = scratch / "items.ndjson", scratch / "items.parquet"
        count = 0
        async for items in _pages(client, [collection["id"] for collection in await _wanted(client, collections)]):
            _append(lines, items)
            count += len(items)
        if not count:
            raise UserError("there are no items to export")
        await asyncio.to_thread(parse_stac_ndjson_to_parquet, lines, made, chunk_size=_PAGE)
        _put_in_place(made, file)
    return count


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A folder beside `target` that is gone afterwards."""
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.absolute().parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder", field="folder")


def _put_in_place(made: Path, target: Path) -> None:
    if made.is_dir():
        made.chmod(0o755)
        if target.exists():
            target.rmdir()
    made.replace(target)


async def _pages(client: Client, names: Sequence[str]) -> AsyncIterator[list[dict[str, Any]]]:
    """The items, so many at once as are worth a write."""
    items: list[dict[str, Any]] = []
    async for item in client.stac_items(names):
        items.append(item)
        if len(items) >= _PAGE:
            yield items
            items = []
    if items:
        yield items


def _append(path: Path, items: Sequence[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as lines:
        lines.writelines(json.dumps(item) + "\n" for item in items)


async def _wanted(client: Client, names: Sequence[str]) -> list[dict[str, Any]]:
    found = {collection["id"]: collection for collection in await client.stac_collections()}
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"there is no collection {', '.join(missing)}; there are {', '.join(found) or 'none'}", field="aoi")
    return [found[name] for name in names] if names else list(found.values())


async def _write_collection(client: Client, folder: Path, collection: dict[str, Any]) -> int:
    _make(folder)
    links: list[dict[str, str]] = []
    async for items in _pages(client, [collection["id"]]):
        links += [_write_item(folder, item) for item in items]
    kept = [link for link in collection["links"] if link["rel"] not in _DROPPED]
    around = [_link("root", "../catalog.json"), _link("parent", "../catalog.json")]
    _write(folder / "collection.json", {**collection, "links": [*kept, *around, *links]})
    return len(links)


def _write_item(folder: Path, item: dict[str, Any]) -> dict[str, str]:
    """Write an item; the link to it."""
    name = _name(item["id"])
    kept = [link for link in item["links"] if link["rel"] not in _DROPPED]
    around = [_link("root", "../../catalog.json"), _link("parent", "../collection.json"), _link("collection", "../collection.json")]
    _make(folder / name)
    _write(folder / name / f"{name}.json", {**item, "links": [*kept, *around]})
    return _link("item", f"./{name}/{name}.json")


def _make(folder: Path) -> None:
    folder.mkdir()


def _link(rel: str, href: str, **more: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": "application/geo+json" if rel == "item" else "application/json", **more}


def _name(text: str) -> str:
    """A name that cannot lead out of its folder."""
    plain = _UNSAFE.sub("_", text)
    return plain if plain.strip(".") else "_"


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
