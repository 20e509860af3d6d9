"""The gate before every endpoint but those that are open: takes the bearer token of a request and says who sent it."""

from __future__ import annotations

import logging
from collections.abc import Collection

import jwt
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from catalogue.auth.caller import ANYBODY, Caller, set_caller
from catalogue.auth.demo import DemoIssuer, opened_demo
from catalogue.auth.issuer import LONGEST, configured_issuers
from catalogue.auth.refusal import RefusedError
from catalogue.auth.static import holder, static_tokens
from common.config import Settings
from common.errors import ConfigurationError
from common.urls import is_loopback

log = logging.getLogger(__name__)

FOR_USERS = ("/odata/",)
"""Paths below which everybody who is let in may ask; all others are for operators."""


class Gate:
    """All ways in. Raises ConfigurationError where one is not as it must be."""

    def __init__(self, settings: Settings) -> None:
        self._static = static_tokens(settings)
        self._issuers = configured_issuers(settings.auth)
        self.demo: DemoIssuer | None = opened_demo(settings)
        if not self.guarded and not is_loopback(settings.server.host):
            raise ConfigurationError(
                f"server.token: without a token the service listens on loopback only, not on {settings.server.host}: "
                "set THRESHER_SERVER_TOKEN, or name an issuer in auth.issuers"
            )

    @property
    def guarded(self) -> bool:
        """Whether anybody is asked."""
        return bool(self._static or self._issuers or self.demo)

    async def caller(self, authorization: str) -> Caller:
        """Who sends this header. Raises RefusedError; TemporaryError where an issuer does not answer."""
        if not self.guarded:
            return ANYBODY
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise RefusedError("send 'Authorization: Bearer TOKEN'")
        if (known := holder(self._static, token)) is not None:
            return known
        if not (self._issuers or self.demo) or token.count(".") != 2 or len(token) > LONGEST or not token.isascii():
            raise RefusedError("the token is not known here")
        try:
            header = jwt.get_unverified_header(token)
            # Which issuer's it claims to be: what decides is its signature.
            claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise RefusedError("the token cannot be read") from None
        issuer = self._issuers.get(claimed) if isinstance(claimed, str) else None
        if self.demo is not None and claimed == self.demo.issuer:
            return self.demo.caller(token)
        if issuer is None:
            raise RefusedError("the token is of an issuer that is not known here")
        try:
            return await issuer.caller(token, header)
        except RefusedError as error:
            raise RefusedError(f"the token is not accepted: {error}") from None


def guard(gate: Gate, open_paths: Collection[str]) -> Middleware:
    """The middleware; `open_paths` are those of routes, with their `{parts}`."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is None or resource.canonical not in open_paths:
            try:
                caller = await gate.caller(request.headers.get("Authorization", ""))
            except RefusedError as error:
                log.info("refused %s %s: %s", request.method, request.path[:200], error)
                raise web.HTTPUnauthorized(text=str(error), headers={"WWW-Authenticate": "Bearer"}) from None
            if not caller.operator and not request.path.startswith(FOR_USERS):
                raise web.HTTPForbidden(text="this is for operators; your token lets you order only, below /odata/v1/")
            set_caller(request, caller)
        return await handler(request)

    return guarded
