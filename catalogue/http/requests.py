"""Reading requests: form fields, JSON bodies, page and limit, what the client accepts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, web
from pydantic import BaseModel

from catalogue.workflow.views import Page
from common.errors import UserError
from common.payload import decode
from common.validation import validated

Model = TypeVar("Model", bound=BaseModel)

FIELDS = ("area", "scenes", "tiles")
_MOST_PARTS = 1000


class TooLargeError(UserError):
    """The body is larger than the service accepts."""

    status = 413


async def read_form(request: web.Request) -> dict[str, list[bytes]]:
    """The values of `area`, `scenes` and `tiles`: parts of a multipart form (text or file), of a urlencoded form, or of the query; a JSON
    body is taken as the area. Raises UserError.
    """
    form: dict[str, list[bytes]] = {field: [] for field in FIELDS}
    async for name, value in _fields(request):
        if name not in form:
            raise UserError(f"unknown form field; known are {', '.join(FIELDS)}", field=name[:80])
        form[name].append(value)
    for name in FIELDS:
        form[name] += [value.encode() for value in request.query.getall(name, [])]
    for name in ("scenes", "tiles"):
        if len(form[name]) > 1:
            raise UserError("may stand only once", field=name)
    return form


async def _fields(request: web.Request) -> AsyncIterator[tuple[str, bytes]]:
    limit = request.client_max_size
    if not request.body_exists or request.content_length == 0:
        return
    content_type = request.content_type
    if content_type == "multipart/form-data":
        try:
            async for field in _parts(request, limit):
                yield field
        except (ValueError, AssertionError, LookupError, RuntimeError) as error:
            raise UserError(f"the multipart body cannot be read: {error}") from None
        return
    body = await read_body(request)
    if content_type == "application/x-www-form-urlencoded":
        try:
            for key, value in parse_qsl(body.decode(), strict_parsing=True):
                yield key, value.encode()
        except ValueError as error:
            raise UserError(f"the form cannot be read: {error}") from None
    elif body.strip():
        yield "area", body


async def _parts(request: web.Request, limit: int) -> AsyncIterator[tuple[str, bytes]]:
    reader = await request.multipart()
    total = count = 0
    while (part := await reader.next()) is not None:
        count += 1
        if not isinstance(part, BodyPartReader) or count > _MOST_PARTS:
            raise UserError("a form of plain parts is needed, not more than a thousand")
        value = bytearray()
        while chunk := await part.read_chunk(65536):
            total += len(chunk)
            if total > limit:
                raise TooLargeError(f"the body is larger than the {limit // 2**20} MB this service accepts")
            value += chunk
        yield part.name or "", bytes(part.decode(bytes(value)))


async def read_body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLargeError(f"the body is larger than the {request.client_max_size // 2**20} MB this service accepts") from None


async def read_json(request: web.Request, model: type[Model]) -> Model:
    """The JSON body as a model; raises UserError."""
    return validated(model, read_object(await read_body(request), "body"))


def read_object(text: bytes, where: str) -> dict[str, Any]:
    """A JSON object without NUL characters (the database cannot hold them); raises UserError naming `where`."""
    try:
        document = decode(text)
    except UserError as error:
        raise UserError(error.detail, field=where) from None
    if b"\\u0000" in text and "\\u0000" in json.dumps(document, ensure_ascii=True).replace("\\\\", ""):
        raise UserError("holds a NUL character", field=where)
    return document


def page_of(request: web.Request, *, default_limit: int | None = None, most: int | None = None) -> Page:
    """`page` (0-based) and `limit` of the query; a limit of 0 means all where there is no maximum."""
    number = query_number(request, "page") or 0
    limit = query_number(request, "limit") or default_limit
    if most is not None:
        limit = min(limit or most, most)
    return Page(number, limit)


def query_number(request: web.Request, key: str) -> int | None:
    text = request.query.get(key, "")
    if text == "":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UserError(f"'{text[:40]}' is not a number of 0 or more", field=key)
    return int(text)


def wants_json(request: web.Request) -> bool:
    """Whether the client asks for JSON by name; text is for people (`*/*`, `text/plain`)."""
    return "application/json" in request.headers.get("Accept", "")


def json_answer(value: object, *, status: int = 200) -> web.Response:
    """A model, or anything JSON can hold, models within."""
    return web.Response(status=status, text=json.dumps(_plain(value), allow_nan=False), content_type="application/json")


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
