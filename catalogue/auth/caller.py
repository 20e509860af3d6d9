"""Who asks: what a handler may know of the person behind a request."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True)
class Caller:
    """A person or a program that was let in."""

    owner: str
    """Of what they make: the same for ever, and nobody else's. Empty: everybody, where nobody is asked who they are."""
    name: str = ""
    """For people to read."""
    subject: str = ""
    """What their issuer calls them (`sub`)."""
    operator: bool = True
    """Whether they may do everything, and see what others ordered."""


ANYBODY = Caller("", operator=True)
"""Where authentication is off."""

_CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


def caller_of(request: web.Request) -> Caller:
    """Who sent the request."""
    caller: Caller = request.get(_CALLER, ANYBODY)
    return caller


def set_caller(request: web.Request, caller: Caller) -> None:
    request[_CALLER] = caller
