"""The HTTP API of a running service, as an asynchronous client. `thresher.notebook` is its synchronous face.

Answers of the service come back as the values of `thresher.answers`; its refusals as errors of `common.errors`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError

from common.errors import (
    ConflictError,
    ForbiddenTransitionError,
    NotFoundError,
    TemporaryError,
    ThresherError,
    UpstreamError,
    UserError,
)
from common.features import SceneCollection
from thresher.answers import (
    AppliedVariable,
    AreaLine,
    AreaStatus,
    Dataset,
    DeadLetter,
    Deletions,
    DoneAnswer,
    Item,
    Problem,
    Record,
    RetryCounts,
    Status,
    Submission,
    Variable,
)

DEFAULT_URL = "http://127.0.0.1:8080"
PAGE = 1000

Document = Mapping[str, Any]
"""A decoded payload."""
Scenes = SceneCollection | str | bytes
"""Scenes or tiles to post: as answered by the service, or the text of a saved and perhaps edited file."""

Value = TypeVar("Value", bound=BaseModel)


class UnreachableError(TemporaryError):
    """The service does not answer."""


class UnauthorisedError(UserError):
    """The service asks for another token."""

    status = 401


_REFUSALS: dict[int, type[UserError]] = {
    401: UnauthorisedError,
    403: ForbiddenTransitionError,
    404: NotFoundError,
    409: ConflictError,
}


class Client:
    """A connection to the service at `url` (default `$THRESHER_URL`, else loopback), with `token` (default `$THRESHER_TOKEN`).

    Every method may raise UnreachableError, UserError (what was asked cannot be done; `field` names the part to mend) or
    UpstreamError (the service or a catalogue behind it failed).
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, timeout_s: float = 600.0) -> None:
        self.url = (url or os.environ.get("THRESHER_URL") or DEFAULT_URL).rstrip("/")
        self._token = token or os.environ.get("THRESHER_TOKEN") or ""
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=10)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._session = aiohttp.ClientSession(headers=headers, timeout=self._timeout)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def scenes(self, payload: Document, *, page: int | None = None, limit: int | None = None) -> SceneCollection:
        """The scenes a payload finds."""
        return _collection(await self._post("/catalog/scenes", _form(payload), page=page, limit=limit))

    async def tiles(
        self, payload: Document, scenes: Scenes | None = None, *, page: int | None = None, limit: int | None = None
    ) -> SceneCollection:
        """The scenes a payload finds, or those given, with their tiles."""
        return _collection(await self._post("/catalog/tiles", _form(payload, scenes=scenes), page=page, limit=limit))

    async def submit(self, payload: Document, *, scenes: Scenes | None = None, tiles: Scenes | None = None) -> Submission:
        """Start the ingestion of a payload, of `scenes` or of `tiles` only where given."""
        return _value(Submission, await self._post("/catalog/aoi", _form(payload, scenes=scenes, tiles=tiles)))

    async def submit_all(self, payloads: Sequence[Document]) -> list[Submission]:
        """Start several payloads in one request; one result or problem each, in their order."""
        if len(payloads) == 1:
            return [await self.submit(payloads[0])]
        answer = await self._post("/catalog/aoi", _form(*payloads))
        entries = answer.get("results", []) if isinstance(answer, dict) else []
        results = {entry.get("area"): _value(Submission, entry) for entry in entries if isinstance(entry, dict)}
        missing = Problem(detail="the service gave no result for this payload")
        return [results.get(index, Submission(status=500, problem=missing)) for index in range(len(payloads))]

    async def areas(self) -> list[AreaLine]:
        """The areas the service knows."""
        return _values(AreaLine, await self._get("/aoi/"))

    async def area(self, name: str) -> AreaStatus:
        """How far an area is; raises NotFoundError."""
        return _value(AreaStatus, await self._get(f"/aoi/{_part(name)}"))

    async def area_scenes(self, name: str, status: Status | None = None) -> list[Item]:
        """The scenes of an area, of one status or all."""
        return _values(Item, await self._get(f"/aoi/{_part(name)}/scenes" + (f"/{status}" if status else "")))

    async def area_tiles(self, name: str, status: Status) -> list[Item]:
        """The tiles of an area of one status."""
        return _values(Item, await self._get(f"/aoi/{_part(name)}/tiles/{status}"))

    async def retry(self, name: str, *, force: bool = False) -> RetryCounts:
        """Run again what may be retried in an area; with `force` also what failed for good or is stuck."""
        answer = await self._call("PUT", f"/aoi/{_part(name)}/retry" + ("/force" if force else ""))
        return RetryCounts() if answer is None else _value(RetryCounts, answer)

    async def pause(self, name: str) -> None:
        """Send no more jobs of an area; what runs runs on."""
        await self._call("PUT", f"/aoi/{_part(name)}/pause")

    async def resume(self, name: str) -> None:
        """Send jobs of a paused area again."""
        await self._call("PUT", f"/aoi/{_part(name)}/resume")

    async def dead(self) -> list[DeadLetter]:
        """Messages nobody could read, and jobs that seem to kill their workers."""
        return _values(DeadLetter, await self._get("/dead", limit=PAGE))

    async def retry_dead(self, seq: int) -> str:
        """Send a dead letter again; what was done."""
        return _value(DoneAnswer, await self._call("PUT", f"/dead/{seq}/retry")).done

    async def deletions(self) -> Deletions:
        """What waits to be deleted."""
        return _value(Deletions, await self._get("/deletions"))

    async def hold_deletions(self, minutes: int) -> Deletions:
        """Have nothing deleted for so long, as for a backup."""
        return _value(Deletions, await self._call("PUT", f"/deletions/hold/{minutes}"))

    async def release_deletions(self) -> Deletions:
        """End a hold."""
        return _value(Deletions, await self._call("DELETE", "/deletions/hold"))

    async def variables(self) -> list[Variable]:
        """The variables of the cube with their instances."""
        return _values(Variable, await self._get("/cube/variables"))

    async def apply_variable(self, variable: Variable) -> AppliedVariable:
        """Create a variable and its instances, or bring it to what is given."""
        document = variable.model_dump(mode="json", exclude={"id": True, "instances": {"__all__": {"id"}}})
        return _value(AppliedVariable, await self._call("PUT", f"/cube/variables/{_part(variable.name)}", json_body=document))

    async def records(self, name: str = "") -> AsyncIterator[Record]:
        """The records whose name is like `name`."""
        async for entry in self._pages("/cube/records", "records", {"name": name}):
            yield _value(Record, entry)

    async def datasets(self, *, aoi: str = "", variable: str = "", instance: str = "") -> AsyncIterator[Dataset]:
        """The indexed layers of an area, a variable, an instance; all, if nothing is given."""
        async for entry in self._pages("/cube/datasets", "datasets", {"aoi": aoi, "variable": variable, "instance": instance}):
            yield _value(Dataset, entry)

    async def stac_catalogue(self) -> dict[str, Any]:
        """The root of the STAC API."""
        return _object(await self._get("/stac"))

    async def stac_collections(self) -> list[dict[str, Any]]:
        """The STAC collections: the areas that have layers."""
        found = _object(await self._get("/stac/collections")).get("collections", [])
        return [_object(collection) for collection in found]

    async def stac_items(self, collections: Sequence[str] = (), *, page: int = PAGE) -> AsyncIterator[dict[str, Any]]:
        """The STAC items of these collections, of all where none is named, the newest first."""
        token: str | None = None
        while True:
            body = {"collections": list(collections), "limit": page, **({"token": token} if token else {})}
            answer = _object(await self._call("POST", "/stac/search", json_body=body))
            for item in answer.get("features", []):
                yield _object(item)
            following = next((link for link in answer.get("links", []) if link.get("rel") == "next"), None)
            if following is None:
                return
            token = following["body"]["token"]

    async def is_ready(self) -> bool:
        """Whether the service and everything it needs answer."""
        try:
            await self._call("GET", "/readyz", parse=False)
        except ThresherError:
            return False
        return True

    async def _pages(self, path: str, member: str, query: dict[str, str]) -> AsyncIterator[object]:
        page = 0
        while True:
            answer = await self._get(path, **query, page=page, limit=PAGE)
            entries = answer.get(member, []) if isinstance(answer, dict) else answer
            if not isinstance(entries, list):
                raise UpstreamError(f"{self.url}{path} answered something other than a list of {member}")
            for entry in entries:
                yield entry
            if not entries or not (isinstance(answer, dict) and answer.get("next")):
                return
            page += 1

    async def _get(self, path: str, **query: str | int | None) -> Any:
        return await self._call("GET", path, query=query)

    async def _post(self, path: str, form: aiohttp.FormData, **query: int | None) -> Any:
        return await self._call("POST", path, form=form, query=query)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        form: aiohttp.FormData | None = None,
        json_body: object = None,
        query: Mapping[str, str | int | None] | None = None,
        parse: bool = True,
    ) -> Any:
        """The decoded answer; None where there is no content. The one place where the network is touched."""
        if self._session is None:
            raise RuntimeError("use the client as a context: `async with Client() as client`")
        url = self.url + path
        params = {key: str(value) for key, value in (query or {}).items() if value not in (None, "")}
        headers = {"Accept": "application/json"}
        try:
            async with self._session.request(method, url, data=form, json=json_body, params=params, headers=headers) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise UnreachableError(f"{self.url} does not answer ({_reason(error)}); is `thresher up` running there?") from None
        if response.status >= 400:
            raise _refusal(response.status, content, url)
        if not content or not parse:
            return None
        return _decoded(content, url)


def _collection(document: object) -> SceneCollection:
    collection = _value(SceneCollection, document)
    properties = document.get("properties") if isinstance(document, dict) else None
    if not isinstance(properties, dict):
        return collection
    notes = [str(note) for note in properties.get("notes") or []]
    return collection.model_copy(update={"has_next": str(properties.get("next")).lower() == "true", "notes": notes})


def _form(*payloads: Document, scenes: Scenes | None = None, tiles: Scenes | None = None) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for index, payload in enumerate(payloads):
        _add(form, "area", json.dumps(payload), f"area{index}.json")
    for field, value in (("scenes", scenes), ("tiles", tiles)):
        if value is not None:
            text = json.dumps(value.geojson()) if isinstance(value, SceneCollection) else value
            _add(form, field, text, f"{field}.json")
    return form


def _add(form: aiohttp.FormData, field: str, text: str | bytes, filename: str) -> None:
    content = text.encode() if isinstance(text, str) else text
    form.add_field(field, content, filename=filename, content_type="application/json")


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise UpstreamError("the service gave an answer this program does not understand: not an object")
    return document


def _refusal(status: int, content: bytes, url: str) -> ThresherError:
    try:
        problem = Problem.model_validate_json(content)
    except ValidationError:
        problem = Problem(detail=content.decode(errors="replace").strip()[:300])
    if status >= 500 or status == 429:
        return UpstreamError(problem.detail or f"{url} answered with HTTP status {status}")
    message = problem.detail or problem.title or f"{url} answered with HTTP status {status}"
    if status == 401:
        message += " (set THRESHER_TOKEN)"
    error = _REFUSALS.get(status, UserError)(message, field=problem.field)
    error.status = status
    return error


def _decoded(content: bytes, url: str) -> object:
    try:
        decoded: object = json.loads(content)
    except ValueError:
        raise UpstreamError(f"{url} answered something other than JSON: is a Thresher service there?") from None
    return decoded


def _value(model: type[Value], document: object) -> Value:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _misunderstood(error) from None


def _values(model: type[Value], document: object) -> list[Value]:
    try:
        return TypeAdapter(list[model]).validate_python(document or [])  # type: ignore[valid-type]
    except ValidationError as error:
        raise _misunderstood(error) from None


def _misunderstood(error: ValidationError) -> UpstreamError:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return UpstreamError(f"the service gave an answer this program does not understand: {where}: {first['msg']}")


def _part(text: str) -> str:
    return quote(text, safe="")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return "connection refused"
    return str(error) or type(error).__name__
