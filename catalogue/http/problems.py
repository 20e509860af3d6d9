"""Errors as `application/problem+json` (RFC 9457): a sentence a person can act on, and the field it is about. No traceback leaves here."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import asyncpg
from aiohttp import web
from aiohttp.typedefs import Handler

from common.errors import TemporaryError, ThresherError, UpstreamError, UserError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def problem(status: int, detail: str, *, field: str | None = None) -> dict[str, Any]:
    """The document of a problem."""
    document: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if field:
        document["field"] = field
    return document


def problem_of(error: Exception) -> dict[str, Any]:
    """What a person is told of `error`."""
    if isinstance(error, UserError):
        return problem(error.status, error.detail, field=error.field)
    if isinstance(error, UpstreamError):
        return problem(502, str(error))
    if isinstance(error, asyncpg.DataError):
        return problem(400, "a value in the request is outside of what can be stored")
    if isinstance(error, asyncpg.PostgresConnectionError | asyncpg.InterfaceError | ConnectionError | TimeoutError):
        log.warning("answered 503: %s", error or type(error).__name__)
        return problem(503, "the database does not answer at the moment; try again")
    if isinstance(error, TemporaryError):
        log.warning("answered 503: %s", error)
        return problem(503, str(error))
    if isinstance(error, ThresherError):
        log.warning("answered 500: %s", error)
        return problem(500, str(error))
    number = uuid4()
    log.error("answered 500, incident %s", number, exc_info=error)
    return problem(500, f"something went wrong here; the log of the service says more under incident {number}")


def answer(document: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=document["status"], text=json.dumps(document), content_type=MEDIA_TYPE, headers=headers)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every error into a problem."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {key: value for key, value in error.headers.items() if key in ("Allow", "WWW-Authenticate")}
        return answer(problem(error.status, _sentence(error, request)), headers)
    except Exception as error:  # noqa: BLE001 - the last place where an error can become an answer
        return answer(problem_of(error))


def _sentence(error: web.HTTPException, request: web.Request) -> str:
    match error.status:
        case 404:
            return f"there is nothing at {request.path[:200]}; /openapi.json lists what there is"
        case 405:
            return f"{request.method} is not possible here, only {error.headers.get('Allow', 'other methods')}"
        case 413:
            return "the request is larger than this service accepts"
        case _:
            return error.text or error.reason
