"""The way in: the annotations of scenes from the first source that has them, several scenes at once, kept in the storage."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from catalogue.sentinel1.annotations.cache import AnnotationCache
from catalogue.sentinel1.annotations.files import AnnotationError, AnnotationFile, parse_scene
from catalogue.sentinel1.annotations.http import HttpLimits
from catalogue.sentinel1.annotations.sources import Access, AnnotationSource, NodesSource, PatternSource, Wanted
from common.config import S3Settings, Settings
from common.errors import ConfigurationError, ErrorKind, ThresherError, UpstreamError, UserError, kind_of
from common.features import SceneFeature
from common.storage import Storage, open_storage

_SAMPLE = "S1A_IW_SLC__1SDV_20250406T022008_20250406T022035_058630_07421F_93A7"
_log = logging.getLogger(__name__)


class AnnotationReader:
    """Tries the sources in order, several scenes at once, each scene's annotations cached in storage."""

    def __init__(
        self,
        sources: Sequence[AnnotationSource],
        cache: Storage | None,
        concurrency: int,
        *,
        source_of: Callable[[str], AnnotationSource] = PatternSource,
    ) -> None:
        """`source_of` makes a source of a pattern in a payload."""
        self._sources = list(sources)
        self._cache = AnnotationCache(cache) if cache is not None else None
        self._concurrency = concurrency
        self._source_of = source_of

    def led_by(self, source: AnnotationSource) -> AnnotationReader:
        """This reader, with `source` before its own."""
        led = copy.copy(self)
        led._sources = [source, *self._sources]
        return led

    def has_sources(self, more: Sequence[str] = ()) -> bool:
        """Whether there is any place to read at, with the patterns `more` of a payload."""
        return bool(more or self._sources)

    async def read(self, scene: SceneFeature, *, aoi: str, more: Sequence[str] = ()) -> list[AnnotationFile]:
        """The annotations of `scene`, by file name. The patterns `more` of a payload are tried first.

        Raises UserError for a pattern that is not understood or not allowed; UpstreamError (trying later may help) or AnnotationError
        naming the scene and every source with its error where none of them has the annotations.
        """
        wanted = Wanted(parse_scene(scene.source_id), scene.data.metadata.uuid, aoi)
        sources = [*(self._source_of(pattern) for pattern in more), *self._sources]
        if not sources:
            raise UserError(
                "nothing says where the annotations of Sentinel-1 scenes are: give patterns, or configure annotations.urls, "
                "annotations.nodes_url or annotations.bursts_url",
                field="annotations_urls",
            )
        for source in sources:
            source.check(wanted)
        cached = await self._cached(wanted, sources)
        return cached if cached is not None else await self._first(wanted, sources)

    async def read_many(
        self, scenes: Sequence[SceneFeature], *, aoi: str, more: Sequence[str] = ()
    ) -> AsyncIterator[tuple[SceneFeature, list[AnnotationFile] | ThresherError]]:
        """Every scene with its annotations or with why they cannot be read, as they come.

        No more scenes are held at once than are read at once. Raises UserError as `read` does: it would hold for every scene.
        """
        waiting: Iterator[SceneFeature] = iter(scenes)
        running: dict[asyncio.Task[list[AnnotationFile]], SceneFeature] = {}

        def start_next() -> None:
            scene = next(waiting, None)
            if scene is not None:
                running[asyncio.create_task(self.read(scene, aoi=aoi, more=more))] = scene

        try:
            for _ in range(self._concurrency):
                start_next()
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    scene = running.pop(task)
                    yield scene, _outcome(task)
                    start_next()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _cached(self, wanted: Wanted, sources: Sequence[AnnotationSource]) -> list[AnnotationFile] | None:
        if self._cache is None:
            return None
        for suffix in dict.fromkeys(source.cache_suffix for source in sources):
            if suffix is not None and (files := await self._cache.read(wanted.scene, suffix)):
                return files
        return None

    async def _first(self, wanted: Wanted, sources: Sequence[AnnotationSource]) -> list[AnnotationFile]:
        errors: list[ThresherError | OSError] = []
        for source in sources:
            try:
                files = await source.read(wanted)
            except (ThresherError, OSError) as error:
                _log.info("annotations of %s: %s", wanted.scene.text, error)
                errors.append(error)
                continue
            if self._cache is not None and source.cache_suffix is not None:
                await self._cache.write(wanted.scene, source.cache_suffix, files)
            return files
        passing = any(kind_of(error) is ErrorKind.TEMPORARY for error in errors)
        kind = UpstreamError if passing else AnnotationError
        raise kind(f"the annotations of {wanted.scene.text} cannot be read: {'; '.join(str(error) for error in errors)}")


def configured_reader(settings: Settings) -> AnnotationReader:
    """The reader of a deployment. Touches neither disk nor network; raises ConfigurationError naming the key."""
    chosen = settings.annotations
    s3 = S3Settings(endpoint_url=chosen.endpoint_url or settings.s3.endpoint_url, region=chosen.region or settings.s3.region)
    http = HttpLimits(chosen.timeout_s, chosen.retries)
    allowed = tuple(settings.limits.allowed_urls)
    own = Access(allowed, "annotations.urls", s3, chosen.anonymous, http)
    of_payload = Access(allowed, "annotations_urls", s3, chosen.anonymous, http)
    sources: list[AnnotationSource] = [PatternSource(pattern, own, trusted=True) for pattern in chosen.urls]
    with _configuration_errors():
        for source in sources:
            source.check(Wanted(parse_scene(_SAMPLE), "", "AREA"))
        if chosen.nodes_url:
            sources.append(NodesSource(chosen.nodes_url, own, token=chosen.nodes_token, token_file=chosen.nodes_token_file))
    storage = open_storage(settings.storage, settings) if settings.storage and chosen.cache else None
    return AnnotationReader(sources, storage, chosen.concurrency, source_of=lambda pattern: PatternSource(pattern, of_payload))


@contextlib.contextmanager
def _configuration_errors() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise ConfigurationError(str(error)) from None


def _outcome(task: asyncio.Task[list[AnnotationFile]]) -> list[AnnotationFile] | ThresherError:
    try:
        return task.result()
    except UserError:
        raise
    except ThresherError as error:
        return error
