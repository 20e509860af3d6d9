"""TEMPORARY results on their way out: a redirect to a link of the storage that is good for minutes, or the file itself, also in ranges."""

from __future__ import annotations

from aiohttp import web

from catalogue.hook.links import Links
from catalogue.hook.orders import Delivery
from common.errors import NotFoundError
from common.sealing import Sealer
from common.storage import Storage
from common.storage.streams import local_file
from common.threads import in_thread

GONE = "there is no such result, or its link is wrong or has expired; the order tells the link that is good now"
_MOST_DIGITS = 18


async def redirected(delivery: Delivery, storage: Storage, uri: str, name: str) -> web.StreamResponse:
    """The file, saved as `name`, for somebody who may have it. Raises NotFoundError where it is gone."""
    short = await delivery.short_link(uri, name)
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    if short is not None:
        return web.Response(status=302, headers={**headers, "Location": short})
    path = local_file(storage, uri)
    if not await in_thread(lambda _: path.is_file()):
        raise NotFoundError(GONE)
    disposition = f'attachment; filename="{name}"'
    return web.FileResponse(path, headers={**headers, "Content-Type": "application/zip", "Content-Disposition": disposition})


def checked_item(text: str) -> int:
    """The number of an item in a link; raises NotFoundError."""
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise NotFoundError(GONE)
    return int(text)


def check_link(sealer: Sealer, request: web.Request, item: int, uri: str) -> None:
    """Raises NotFoundError for a link that is not ours, is another file's, or has expired: none of these is told from another."""
    if not Links(sealer).is_good(item, uri, request.query.get("expires", ""), request.query.get("signature", "")):
        raise NotFoundError(GONE)
