"""Reading requests: form fields, JSON bodies, page and limit, what the client accepts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel

from catalogue.workflow.views import Page
from common.errors import UserError
from common.payload import decode
from common.validation import shown_key, text_trouble, validated

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
            raise UserError(f"unknown form field; known are {', '.join(FIELDS)}", field=shown_key(name) or None)
        form[name].append(value)
    for name in FIELDS:
        form[name] += [query_text(value, name).encode() for value in request.query.getall(name, [])]
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
        except (ValueError, AssertionError, LookupError, RuntimeError, HttpProcessingError) as error:
            raise UserError(f"the multipart body cannot be read: {str(error)[:200] or type(error).__name__}") from None
        return
    body = await read_body(request, "area")
    if content_type == "application/x-www-form-urlencoded":
        try:
            for key, value in parse_qsl(body.decode(), strict_parsing=True):
                yield key, value.encode()
        except ValueError as error:
            raise UserError(f"the form cannot be read: {str(error)[:200]}") from None
    elif body.strip():
        yield "area", body


async def _parts(request: web.Request, limit: int) -> AsyncIterator[tuple[str, bytes]]:
    reader = await request.multipart()
    total = count = 0
    while (part := await reader.next()) is not None:
        count += 1
        if not isinstance(part, BodyPartReader) or count > _MOST_PARTS:
            raise UserError("a form of plain parts is needed, not more than a thousand")
        name = part.name or ""
        if part.headers.get("Content-Encoding", "identity").lower() != "identity":
            # A few kilobytes may unpack to more than fits into memory.
            raise UserError("a part of the form must not be compressed", field=shown_key(name) or None)
        value = bytearray()
        while chunk := await part.read_chunk(65536):
            total += len(chunk)
            if total > limit:
                raise TooLargeError(_too_large(limit), field=shown_key(name) or None)
            value += chunk
        yield name, bytes(part.decode(bytes(value)))


async def read_body(request: web.Request, where: str) -> bytes:
    """The whole body, which is the value of `where`. Raises UserError."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLargeError(_too_large(request.client_max_size), field=where) from None
    except (web.PayloadAccessError, web.RequestPayloadError, HttpProcessingError) as error:
        raise UserError(f"the body cannot be read: {str(error)[:200] or type(error).__name__}", field=where) from None


def _too_large(limit: int) -> str:
    return f"the body is larger than the {limit / 2**20:g} MB this service accepts"


async def read_json(request: web.Request, model: type[Model]) -> Model:
    """The JSON body as a model; raises UserError."""
    body = await read_body(request, "body")
    return validated(model, await asyncio.to_thread(decode, body, where="body"))


def page_of(request: web.Request, *, default_limit: int | None = None, most: int | None = None) -> Page:
    """`page` (0-based) and `limit` of the query; a limit of 0 means all where there is no maximum."""
    number = query_number(request, "page") or 0
    limit = query_number(request, "limit") or default_limit
    if most is not None:
        limit = min(limit or most, most)
    return Page(number, limit)


def query_number(request: web.Request, key: str) -> int | None:
    values = request.query.getall(key, [])
    if not values:
        return None
    text = values[0]
    if len(values) > 1:
        raise UserError("may stand only once", field=key)
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UserError(f"'{text[:40]}' is not a number of 0 or more", field=key)
    return int(text)


def uuid_in(text: str, field: str) -> UUID:
    """The UUID of a URL; raises UserError naming `field`."""
    try:
        found = UUID(text)
    except ValueError:
        found = None
    if found is None or str(found) != text.lower():
        raise UserError(f"'{text[:60]}' is not a UUID", field=field)
    return found


def query_text(text: str, key: str) -> str:
    """A text of the URL that can be stored and compared; raises UserError naming `key`."""
    if (trouble := text_trouble(text)) is not None:
        raise UserError(trouble, field=key)
    return text


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
