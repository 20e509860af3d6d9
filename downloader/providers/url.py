"""Provider `url`: one link for the whole product, from a pattern or from the scene itself."""

from __future__ import annotations

import uuid
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from common.config import ProviderSettings, Settings
from common.errors import UserError
from common.product_names import parse_product_name
from common.storage import PART_PREFIX
from common.storage.base import checked_component
from common.storage.directory import disk_errors
from common.threads import Stop, in_thread
from downloader.products import place_file
from downloader.providers.base import STEP, NotOfferedError, ProductRequest, transfer_for

_FETCHED = 0.95
"""Part of the work that is done when the file is there but not unpacked."""


class UrlProvider:
    """Fetches `url`, whose `{SCENE}`, `{YEAR}`, … are taken from the product's name; without it the scene's `download_link`."""

    def __init__(self, name: str, provider: ProviderSettings, settings: Settings) -> None:
        self.name = name
        self._provider = provider
        self._settings = settings

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        source_id = checked_component(request.scene.source_id)
        pattern = self._provider.url
        url = _filled(pattern, source_id) if pattern else request.scene.metadata.download_link
        if not url:
            raise NotOfferedError(f"{source_id} carries no download link")
        # The operator wrote the pattern: what stands in it is allowed.
        trusted = [pattern.split("{")[0].rpartition("/")[0]] if pattern else []
        part = folder / f"{PART_PREFIX}{uuid.uuid4().hex}"

        def progress(done: int, total: int | None) -> None:
            request.progress(STEP, _FETCHED * min(1.0, done / total) if total else 0.5)

        async with transfer_for(self.name, self._provider, self._settings, also_allowed=trusted) as transfer:
            await transfer.fetch(url, part, progress=progress, field="metadata.download_link")

        def place(stop: Stop) -> None:
            with disk_errors(f"{source_id} cannot be put in place"):
                place_file(part, _file_name(url, source_id), source_id, folder, stop)

        await in_thread(place)
        request.progress(STEP, 1.0)


def _filled(pattern: str, source_id: str) -> str:
    if "{" not in pattern.replace("{SCENE}", ""):
        return pattern.replace("{SCENE}", source_id)
    try:
        return parse_product_name(source_id).fill(pattern)
    except ValueError as error:
        raise NotOfferedError(f"the link '{pattern}' cannot be made: {error}") from None


def _file_name(url: str, source_id: str) -> str:
    """`{source_id}` with the suffix of the link, for a product that is a single file."""
    suffix = PurePosixPath(unquote(urlsplit(url).path)).suffix
    try:
        return checked_component(source_id + suffix)
    except UserError:
        return source_id
