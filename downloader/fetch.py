"""`python -P -m downloader.fetch`: products fetched into a folder, without a broker; what happens is told in JSON, one line an event."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import shutil
import sys
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from common.config import ProviderSettings, Settings
from common.errors import ConfigurationError, ThresherError, UserError
from common.messages import SceneRef
from common.process import run_service
from common.storage import PART_PREFIX
from common.storage.base import checked_component
from common.tasks import stop_tasks
from common.threads import in_thread
from downloader.members import Members
from downloader.providers import ProductRequest, check_providers, fetch_product, open_providers
from downloader.shared import Shared
from downloader.tasks import gather_all

_WORK = ".thresher"
"""In the folder of the products: what is not whole yet, so that it is there when the same is asked for again."""
_AT_ONCE = 4
_SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar", ".SAFE")
_out = threading.Lock()


@dataclass
class Fetching:
    """Products by name, or by link."""

    products: Sequence[str]
    folder: Path
    members: Members
    provider: str = ""
    failed: bool = field(default=False, init=False)

    async def serve(self, settings: Settings, stop: asyncio.Event) -> None:
        """Fetch all of them, several at once; an event for each says how it ended."""
        work = (self.folder / _WORK).absolute()
        await in_thread(lambda _: work.mkdir(parents=True, exist_ok=True))
        settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"scratch": work})})
        shared = Shared(settings)
        check_providers(settings, shared)
        limit = asyncio.Semaphore(_AT_ONCE)
        works = [self._fetch(product, settings, shared, limit, work) for product in dict.fromkeys(self.products)]
        fetching = asyncio.create_task(gather_all(works))
        stopping = asyncio.create_task(_stopped(stop))
        try:
            await asyncio.wait([fetching, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.failed = self.failed or not fetching.done()
            await stop_tasks([fetching, stopping])
            await in_thread(lambda _: _tidy(work))
        if not fetching.cancelled():
            fetching.result()

    async def _fetch(self, product: str, settings: Settings, shared: Shared, limit: asyncio.Semaphore, work: Path) -> None:
        async with limit:
            part = work / f"{PART_PREFIX}{uuid.uuid4().hex}"
            try:
                path = await self._fetch_one(product, settings, shared, part)
            except (ThresherError, OSError) as error:
                self.failed = True
                kind = "usage" if isinstance(error, UserError) else "failed"
                _tell(product=product, error=shared.accounts.redactor.redacted(str(error)), kind=kind)
            else:
                _tell(product=product, path=str(path))
            finally:
                await in_thread(lambda _: shutil.rmtree(part, ignore_errors=True))

    async def _fetch_one(self, product: str, settings: Settings, shared: Shared, part: Path) -> Path:
        source_id = checked_component(_name(product))
        for name in (f"{source_id}.SAFE", source_id):
            if not self.members and (self.folder / name).exists():
                return self.folder / name  # it has its name only when it is whole
        scene = SceneRef(id=0, source_id=source_id, aoi="", date=datetime.now(UTC))

        def received(done: int, total: int | None) -> None:
            _tell(product=product, bytes=done, total=total)

        request = ProductRequest(scene, lambda step, done: None, members=self.members, received=received)  # noqa: ARG005
        chosen, name = _settings_for(product, settings, self.provider)
        _tell(product=product, started=True)
        await fetch_product(open_providers(chosen, source_id, shared, name=name), request, part, shared)
        return await in_thread(lambda _: _put(part, self.folder, source_id))


async def _stopped(stop: asyncio.Event) -> None:
    await stop.wait()


def _settings_for(product: str, settings: Settings, provider: str) -> tuple[Settings, str]:
    """The settings and the one provider to ask, if it is one. A link is as good as a provider of its own: whoever types it allows it."""
    if not _is_link(product):
        if not settings.providers:
            raise ConfigurationError("no provider is configured: add a [providers.NAME] table to thresher.toml, or give links")
        return settings, provider
    if provider and provider not in settings.providers:
        raise ConfigurationError(f"provider '{provider}' is not configured; there are: {', '.join(settings.providers) or 'none'}")
    known = settings.providers.get(provider, ProviderSettings(type="url"))
    link = known.model_copy(update={"type": "url", "url": product, "constellations": []})
    if product.startswith("/"):
        limits = settings.limits.model_copy(update={"allowed_urls": [*settings.limits.allowed_urls, product]})
        settings = settings.model_copy(update={"limits": limits})
    return settings.model_copy(update={"providers": {provider or "link": link}}), provider or "link"


def _is_link(product: str) -> bool:
    return "://" in product or product.startswith("/")


def _name(product: str) -> str:
    """The name of a product, or that of the file at a link, without its suffix."""
    name = PurePosixPath(unquote(urlsplit(product).path)).name if _is_link(product) else product
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name if not _is_link(product) or "." not in name else name.rpartition(".")[0]


def _put(part: Path, folder: Path, source_id: str) -> Path:
    """What was fetched, under its own name: a SAFE folder or a single file as it is, else a folder named as the product."""
    entries = list(part.iterdir())
    single = entries[0] if len(entries) == 1 else part
    target = folder / (single.name if single is not part else source_id)
    if target.is_dir():
        shutil.rmtree(target)
    single.replace(target)
    return target


def _tidy(work: Path) -> None:
    for folder in (*sorted(work.glob("*")), work):
        with contextlib.suppress(OSError):
            folder.rmdir()  # what is not empty is for the next time


def _tell(**event: object) -> None:
    with _out:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -P -m downloader.fetch", description="Fetch products into a folder.")
    parser.add_argument("products", nargs="+", metavar="PRODUCT")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--members", action="append", default=[])
    parser.add_argument("--provider", default="")
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    fetching = Fetching(arguments.products, arguments.out, Members(tuple(arguments.members)), arguments.provider)
    logging.captureWarnings(True)
    code = run_service("downloader", "Fetches products.", fetching.serve, ["--config", str(arguments.config)] if arguments.config else [])
    return code or int(fetching.failed)


if __name__ == "__main__":
    sys.exit(main())
