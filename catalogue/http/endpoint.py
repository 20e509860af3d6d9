"""What a row of the table of endpoints holds: route, handler, and how the description tells of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel

Schema = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TEXT = "text/plain"
JSON = "application/json"


@dataclass(frozen=True)
class ListOf:
    """A JSON array of a model, or of an object with a page of them under a key."""

    model: type[BaseModel]
    key: str = ""


Content = type[BaseModel] | ListOf | Schema
"""What an answer or a body holds: a model, a list of it, or a JSON schema."""


@dataclass(frozen=True)
class Answer:
    description: str
    content: dict[str, Content] = field(default_factory=dict)
    """By media type; empty: no body."""


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, Answer]
    query: tuple[str, ...] = ()
    """Names of parameters described in `openapi.PARAMETERS`."""
    described: dict[str, str] = field(default_factory=dict)
    """Parameters that are described there under another name than their own."""
    body: dict[str, Content] = field(default_factory=dict)
    open: bool = False
    """Needs no token."""


STRING: Schema = {"type": "string"}
