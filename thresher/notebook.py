"""The client without `await`, for notebooks and scripts: `with Session() as thresher: thresher.scenes(payload)`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from common.features import SceneCollection
from thresher.answers import (
    AppliedVariable,
    AreaLine,
    AreaStatus,
    Dataset,
    DeadLetter,
    Item,
    Record,
    RetryCounts,
    Status,
    Submission,
    Variable,
)
from thresher.client import Client, Document, Scenes

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

Value = TypeVar("Value")


class Session:
    """`thresher.client.Client` run on a loop in a thread of its own, so that it also works where a loop runs already.

    Methods, arguments and errors are those of the client; `…_frame` answers the same as a GeoDataFrame (`thresher.frames`). Close it, or
    use it as a context.
    """

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="thresher-session", daemon=True)
        self._thread.start()
        self._client = Client(url, token)
        self._run(self._client.__aenter__())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._run(self._client.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def scenes(self, payload: Document, *, page: int | None = None, limit: int | None = None) -> SceneCollection:
        return self._run(self._client.scenes(payload, page=page, limit=limit))

    def tiles(
        self, payload: Document, scenes: Scenes | None = None, *, page: int | None = None, limit: int | None = None
    ) -> SceneCollection:
        return self._run(self._client.tiles(payload, scenes, page=page, limit=limit))

    def submit(self, payload: Document, *, scenes: Scenes | None = None, tiles: Scenes | None = None) -> Submission:
        return self._run(self._client.submit(payload, scenes=scenes, tiles=tiles))

    def submit_all(self, payloads: Sequence[Document]) -> list[Submission]:
        return self._run(self._client.submit_all(payloads))

    def areas(self) -> list[AreaLine]:
        return self._run(self._client.areas())

    def area(self, name: str) -> AreaStatus:
        return self._run(self._client.area(name))

    def area_scenes(self, name: str, status: Status | None = None) -> list[Item]:
        return self._run(self._client.area_scenes(name, status))

    def area_tiles(self, name: str, status: Status) -> list[Item]:
        return self._run(self._client.area_tiles(name, status))

    def retry(self, name: str, *, force: bool = False) -> RetryCounts:
        return self._run(self._client.retry(name, force=force))

    def pause(self, name: str) -> None:
        self._run(self._client.pause(name))

    def resume(self, name: str) -> None:
        self._run(self._client.resume(name))

    def dead(self) -> list[DeadLetter]:
        return self._run(self._client.dead())

    def retry_dead(self, seq: int) -> str:
        return self._run(self._client.retry_dead(seq))

    def variables(self) -> list[Variable]:
        return self._run(self._client.variables())

    def apply_variable(self, variable: Variable) -> AppliedVariable:
        return self._run(self._client.apply_variable(variable))

    def records(self, name: str = "") -> list[Record]:
        return self._run(_listed(self._client.records(name)))

    def datasets(self, *, aoi: str = "", variable: str = "", instance: str = "") -> list[Dataset]:
        return self._run(_listed(self._client.datasets(aoi=aoi, variable=variable, instance=instance)))

    def scenes_frame(self, payload: Document, *, page: int | None = None, limit: int | None = None) -> GeoDataFrame:
        from thresher.frames import scenes_frame

        return scenes_frame(self.scenes(payload, page=page, limit=limit))

    def tiles_frame(
        self, payload: Document, scenes: Scenes | None = None, *, page: int | None = None, limit: int | None = None
    ) -> GeoDataFrame:
        from thresher.frames import tiles_frame

        return tiles_frame(self.tiles(payload, scenes, page=page, limit=limit))

    def datasets_frame(self, *, aoi: str = "", variable: str = "", instance: str = "") -> GeoDataFrame:
        from thresher.frames import datasets_frame

        return datasets_frame(self.datasets(aoi=aoi, variable=variable, instance=instance))

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise


async def _listed(values: AsyncIterator[Value]) -> list[Value]:
    return [value async for value in values]
