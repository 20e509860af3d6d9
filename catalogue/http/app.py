"""The aiohttp application: routes, errors, who may come in."""

from __future__ import annotations

import json

from aiohttp import web

from catalogue.auth.demo import PATHS
from catalogue.auth.gate import Gate, guard
from catalogue.http import files, stac
from catalogue.http.endpoints import ENDPOINTS
from catalogue.http.openapi import describe
from catalogue.http.problems import problems
from catalogue.http.services import SERVICES, Services
from catalogue.http.system import DESCRIPTION


def create_app(around: Services) -> web.Application:
    """The application; it owns nothing of `around`. Raises ConfigurationError."""
    gate = Gate(around.settings)
    open_paths = {endpoint.path for endpoint in ENDPOINTS if endpoint.open}
    app = web.Application(middlewares=[problems, guard(gate, open_paths | set(PATHS))], client_max_size=around.settings.limits.body_bytes)
    app[SERVICES] = around
    app.on_shutdown.append(_end_events)
    for endpoint in ENDPOINTS:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.handler)
    if gate.demo is not None:
        for path in PATHS:
            app.router.add_post(path, gate.demo.answer)
    stac.prepare(app)
    files.prepare(app)
    app[DESCRIPTION] = json.dumps(describe(), allow_nan=False)
    return app


async def _end_events(app: web.Application) -> None:
    """Streams of events would keep the service waiting."""
    app[SERVICES].events.close()
