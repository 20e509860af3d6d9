"""The files of datasets over HTTP, as GDAL reads them: by ranges from a folder, by a short-lived address in S3; and pictures of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import quote
from uuid import UUID

from aiohttp import web

from catalogue.cube.datasets import DatasetFile, find_file, item_files
from catalogue.cube.pictures import LARGEST, NoPictureError, colours, picture
from catalogue.http.requests import query_number, query_text, uuid_in
from catalogue.http.services import services
from catalogue.stac.items import GEOTIFF, file_name, media_type
from common.errors import MissingFileError, NotFoundError, UserError
from common.storage.links import LINK_S, StoredLink, link_to

_PICTURE_SIZE = 512
_AT_ONCE = 2
"""Pictures made at the same time: each holds some tens of megabytes."""
_WAIT_S = 30
_PAINTERS: web.AppKey[asyncio.Semaphore] = web.AppKey("painters", asyncio.Semaphore)
_KEEP_S = 3600


async def get_file(request: web.Request) -> web.StreamResponse:
    """The file of a dataset, or a part of it; in S3 the address where it is."""
    file = await _file(request)
    if query_text(request.match_info["name"], "name") != file_name(file.uri):
        raise NotFoundError(f"the file of dataset {file.id} is {file_name(file.uri)}", field="name")
    link = await _link(request, file)
    headers = _headers(file)
    if request.method == "HEAD" and link.path is None:
        # An address of S3 opens for one method alone: what is known here is told here.
        return web.Response(headers={**headers, "Accept-Ranges": "bytes", "Content-Length": str(file.size)})
    if link.path is None:
        return web.Response(status=307, headers={"Location": link.url, "Cache-Control": f"private, max-age={LINK_S // 2}"})
    return web.FileResponse(link.path, headers=headers)


async def get_preview(request: web.Request) -> web.StreamResponse:
    """A picture of a dataset."""
    file = await _file(request)
    return await _picture(request, [file])


async def get_thumbnail(request: web.Request) -> web.StreamResponse:
    """A picture of an item: its layers of red, green and blue, where it has them."""
    collection, item = (query_text(request.match_info[key], key) for key in ("collection", "item"))
    async with services(request).pool.acquire() as connection:
        files = await item_files(connection, collection, item)
    rasters = {file.layer: file for file in files if media_type(file.uri) == GEOTIFF}
    chosen = colours({name: str(file.id) for name, file in rasters.items()})
    return await _picture(request, [file for key in chosen for file in rasters.values() if str(file.id) == key])


async def _picture(request: web.Request, files: Sequence[DatasetFile]) -> web.StreamResponse:
    size = query_number(request, "size")
    if size is not None and not 16 <= size <= LARGEST:
        raise UserError(f"a picture is 16 to {LARGEST} pixels wide", field="size")
    if not files:
        raise NotFoundError("it has no layer that can be shown", field="item")
    tag = f'"{"-".join(file.sha256[:16] for file in files)}-{size or _PICTURE_SIZE}"'
    headers = {"ETag": tag, "Cache-Control": f"private, max-age={_KEEP_S}"}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    links = [await _link(request, file) for file in files]
    painters = request.app[_PAINTERS]
    async with asyncio.timeout(_WAIT_S), painters:
        try:
            content = await asyncio.to_thread(picture, links, size or _PICTURE_SIZE)
        except NoPictureError as error:
            raise UserError(str(error), field="id") from None
    return web.Response(body=content, content_type="image/png", headers=headers)


def prepare(app: web.Application) -> None:
    """Give the application what its pictures need."""
    app[_PAINTERS] = asyncio.Semaphore(_AT_ONCE)


async def _file(request: web.Request) -> DatasetFile:
    dataset: UUID = uuid_in(request.match_info["id"], "id")
    async with services(request).pool.acquire() as connection:
        return await find_file(connection, dataset)


async def _link(request: web.Request, file: DatasetFile) -> StoredLink:
    try:
        link = await asyncio.to_thread(link_to, file.uri, services(request).settings)
        if link.path is None or await asyncio.to_thread(link.path.is_file):
            return link
    except MissingFileError:
        pass
    raise NotFoundError(f"the file of dataset {file.id} is gone", field="id")


def _headers(file: DatasetFile) -> dict[str, str]:
    return {
        "Content-Type": media_type(file.uri),
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(file_name(file.uri), safe='')}",
        "Cache-Control": f"private, max-age={_KEEP_S}",
        "X-Content-Type-Options": "nosniff",
    }
