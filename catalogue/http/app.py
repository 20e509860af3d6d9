"""The aiohttp application: routes, errors, who may come in."""

from __future__ import annotations

import hmac
import json

from aiohttp import web
from aiohttp.typedefs import Handler

from catalogue.http.endpoints import ENDPOINTS
from catalogue.http.openapi import describe
from catalogue.http.problems import problems
from catalogue.http.services import SERVICES, Services
from catalogue.http.system import DESCRIPTION


def create_app(around: Services) -> web.Application:
    """The application; it owns nothing of `around`."""
    app = web.Application(middlewares=[problems, _guard], client_max_size=around.settings.limits.body_bytes)
    app[SERVICES] = around
    app.on_shutdown.append(_end_events)
    for endpoint in ENDPOINTS:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.handler)
    app[DESCRIPTION] = json.dumps(describe(), allow_nan=False)
    return app


async def _end_events(app: web.Application) -> None:
    """Streams of events would keep the service waiting."""
    app[SERVICES].events.close()


_OPEN = {endpoint.path for endpoint in ENDPOINTS if endpoint.open}


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Everything but health asks for the token, where one is configured."""
    token = request.app[SERVICES].settings.server.token
    if token is not None and request.path not in _OPEN:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        expected = token.get_secret_value().encode()
        # A header may hold any bytes; those that are no text arrive as half surrogates.
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(errors="surrogateescape"), expected):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
    return await handler(request)
