"""A product in one file: fetched and unpacked, or, of a zip of which only some members are wanted, read in ranges."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from common.errors import UserError
from common.remote_zip import ranges_of, read_directory
from common.storage import PART_PREFIX
from common.storage.base import checked_component
from common.storage.directory import disk_errors
from common.threads import Stop, in_thread
from common.urls import local_path
from downloader.products import place_archive, place_file
from downloader.providers.base import STEP, ProductRequest
from downloader.providers.separate import UNKNOWN
from downloader.tasks import gather_all
from downloader.transfer import Expectation, Transfer
from downloader.transfer.reading import NoRangesError, RangeFile

_FETCHED = 0.95
"""Part of the work that is done when the file is there but not unpacked."""
_BLOCK = 8 * 2**20


async def fetch_whole(
    transfer: Transfer, url: str, request: ProductRequest, folder: Path, *, expected: Expectation = UNKNOWN, field: str
) -> None:
    """Fetch the product at `url` into `folder`; only the wanted members where its server answers ranges."""
    source_id = checked_component(request.scene.source_id)
    part = folder / f"{PART_PREFIX}{uuid.uuid4().hex}"
    if request.members and local_path(url) is None:
        try:
            await _fetch_members(await transfer.open(url, field=field), request, part)
        except NoRangesError:
            part.unlink(missing_ok=True)
        else:
            await _place(lambda stop: place_archive(part, source_id, folder, stop, wanted=request.members.wants), source_id)
            part.unlink(missing_ok=True)
            request.progress(STEP, 1.0)
            return

    def progress(done: int, total: int | None) -> None:
        request.progress(STEP, _FETCHED * min(1.0, done / total) if total else 0.5)
        request.received(done, total)

    await transfer.fetch(url, part, expected=expected, progress=progress, field=field)
    name = file_name(url, source_id)
    await _place(lambda stop: place_file(part, name, source_id, folder, stop, wanted=request.members.wants), source_id)
    if request.members:
        await in_thread(lambda _: request.members.check_fetched(folder))
    request.progress(STEP, 1.0)


def file_name(url: str, source_id: str) -> str:
    """`{source_id}` with the suffix of the link, for a product that is a single file."""
    suffix = PurePosixPath(unquote(urlsplit(url).path)).suffix
    try:
        return checked_component(source_id + suffix)
    except UserError:
        return source_id


async def _fetch_members(file: RangeFile, request: ProductRequest, target: Path) -> None:
    """Write a zip with holes: its table of contents and the wanted members are there, at their places."""
    directory, members = await read_directory(file)
    names = set(request.members.of([member.filename for member in members if not member.is_dir()], file.where))
    ranges = ranges_of([member for member in members if member.filename in names], file.size)
    blocks = [(start, min(start + _BLOCK, stop)) for first, stop in ranges for start in range(first, stop, _BLOCK)]
    await in_thread(lambda _: _write(target, directory.known(), file.size))
    total, done = sum(stop - start for start, stop in blocks), 0
    limit = asyncio.Semaphore(file.connections)

    async def fetch_block(start: int, stop: int) -> None:
        nonlocal done
        async with limit:
            content = await file.read(start, stop)
            await in_thread(lambda _: _write(target, [(start, content)]))
        done += stop - start
        request.progress(STEP, _FETCHED * done / total)
        request.received(done, total)

    await gather_all(fetch_block(start, stop) for start, stop in blocks)


def _write(target: Path, pieces: Sequence[tuple[int, bytes]], size: int | None = None) -> None:
    with disk_errors(f"{target} cannot be written"), target.open("r+b" if size is None else "w+b") as file:
        for start, content in pieces:
            file.seek(start)
            file.write(content)
        if size is not None:
            file.truncate(size)


async def _place(work: Callable[[Stop], None], source_id: str) -> None:
    def place(stop: Stop) -> None:
        with disk_errors(f"{source_id} cannot be put in place"):
            work(stop)

    await in_thread(place)
