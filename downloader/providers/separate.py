"""A product that comes in separate files: fetched together, several at once, into one folder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import FatalError, ThresherError
from common.storage.base import checked_component
from common.threads import in_thread
from common.urls import shown_url
from downloader.providers.base import STEP, ProductRequest
from downloader.safe_manifest import MANIFEST, read_manifest
from downloader.tasks import gather_all
from downloader.transfer import Expectation, Transfer

_MOST = 20_000
UNKNOWN = Expectation()
"""Nothing is known of the file beforehand."""


@dataclass(frozen=True)
class ProductFile:
    """One file of a product."""

    url: str
    path: str
    """Below the product's folder."""
    expected: Expectation = UNKNOWN


async def fetch_files(
    transfer: Transfer, files: Sequence[ProductFile], folder: Path, request: ProductRequest, *, parallel: int, field: str
) -> None:
    """Fetch all, or raise the first error. Raises FatalError for a path that leads out of the folder."""
    if len(files) > _MOST:
        raise FatalError(f"{request.scene.source_id} has {len(files)} files: more than {_MOST} are no product")
    targets = [folder.joinpath(*(checked_component(part) for part in file.path.split("/"))) for file in files]
    progress = _Progress(request, files)
    limit = asyncio.Semaphore(parallel)

    async def fetch_one(number: int) -> None:
        async with limit:
            file = files[number]
            await transfer.fetch(
                file.url,
                targets[number],
                expected=file.expected,
                progress=lambda done, total: progress.update(number, done, total),
                field=field,
            )
            progress.ended(number)

    await gather_all(fetch_one(number) for number in range(len(files)))


async def fetch_safe(
    transfer: Transfer, files: Sequence[ProductFile], folder: Path, request: ProductRequest, *, parallel: int, field: str
) -> None:
    """As `fetch_files`, of a folder in SAFE format: its manifest first, which tells the checksums of the others."""
    manifest = next((file for file in files if file.path.rpartition("/")[2] == MANIFEST), None)
    if manifest is None:
        await fetch_files(transfer, files, folder, request, parallel=parallel, field=field)
        return
    await fetch_files(transfer, [manifest], folder, replace(request, progress=lambda _step, _done: None), parallel=1, field=field)
    root = manifest.path.removesuffix(MANIFEST)
    content = await in_thread(lambda _: (folder / manifest.path).read_bytes())
    try:
        members = {root + member.path: member for member in read_manifest(content)}
    except ValueError as error:
        raise ThresherError(f"{shown_url(manifest.url)}: the manifest cannot be read: {error}") from None
    missing = sorted({path for path, member in members.items() if member.is_needed} - {file.path for file in files})
    if missing and not request.members:
        raise ThresherError(f"{request.scene.source_id}: the server lacks {missing[0]} and {len(missing) - 1} more that the manifest lists")
    sums = {path: member.checksum for path, member in members.items() if member.checksum and member.is_needed}
    others = [
        replace(file, expected=replace(file.expected, checksums=(*file.expected.checksums, sums[file.path]))) if file.path in sums else file
        for file in files
        if file is not manifest
    ]
    await fetch_files(transfer, others, folder, request, parallel=parallel, field=field)


class _Progress:
    """The progress of several files as one: by bytes where the sizes are known, else by files."""

    def __init__(self, request: ProductRequest, files: Sequence[ProductFile]) -> None:
        self._request = request
        known = [file.expected.size for file in files if file.expected.size]
        mean = sum(known) / len(known) if known else 1.0
        self._weights = [float(file.expected.size or mean) for file in files]
        self._whole = sum(known) if len(known) == len(files) else None
        self._parts = [0.0] * len(files)
        self._bytes = [0] * len(files)

    def update(self, number: int, done: int, total: int | None) -> None:
        self._parts[number] = min(1.0, done / total) if total else 0.5
        self._bytes[number] = done
        self._tell()

    def ended(self, number: int) -> None:
        self._parts[number] = 1.0
        self._tell()

    def _tell(self) -> None:
        if not self._weights:
            return
        done = sum(part * weight for part, weight in zip(self._parts, self._weights, strict=True)) / sum(self._weights)
        self._request.progress(STEP, done)
        self._request.received(sum(self._bytes), self._whole)
