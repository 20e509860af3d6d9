"""A file server on loopback for tests that answers range requests in every way servers do, and counts what it sends."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

_BLOCK = 2**16


@dataclass
class RangeServer:
    """Serves `/{behaviour}/{name}` from `folder`; `count` and `sent` are of all requests since the start."""

    folder: Path
    sent: int = 0
    """Bytes of bodies."""
    count: int = 0
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of every request."""
    tokens: list[str | None] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    _per_path: Counter[str] = field(default_factory=Counter)

    async def start(self) -> TestServer:
        app = web.Application()
        app.router.add_route("*", "/{behaviour}/{name:.*}", self._handle)
        server = TestServer(app)
        await server.start_server()
        return server

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.count += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.seen.append((request.method, request.path, request.headers.get("Range", "")))
        self.tokens.append(request.headers.get("Authorization"))
        self._per_path[request.path] += 1
        try:
            return await self._answer(request, request.match_info["behaviour"], self._per_path[request.path])
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request, behaviour: str, number: int) -> web.StreamResponse:
        name = request.match_info["name"]
        match behaviour:
            case "busy-twice" if number <= 2:
                return web.Response(status=429, headers={"Retry-After": "0"})
            case "always-busy":
                return web.Response(status=503, headers={"Retry-After": "0"})
            case "forbidden":
                return web.Response(status=403)
            case "redirect":
                raise web.HTTPFound(f"/ranges/{name}")
            case "redirect-private":
                raise web.HTTPFound("http://169.254.169.254/latest/meta-data")
            case "redirect-elsewhere":
                raise web.HTTPFound(request.query["to"])
            case "unsatisfiable":
                return web.Response(status=416, headers={"Content-Range": "bytes */0"})
            case "slow":
                await asyncio.sleep(0.05)
        path = self.folder / name
        if not path.is_file():
            return web.Response(status=404)
        return await self._send(request, path, behaviour, number)

    async def _send(self, request: web.Request, path: Path, behaviour: str, number: int) -> web.StreamResponse:
        size = path.stat().st_size
        wanted = _range(request.headers.get("Range", ""), size)
        if behaviour == "no-suffix" and request.headers.get("Range", "").startswith("bytes=-"):
            wanted = None
        if behaviour in ("ignores", "ignores-chunked"):
            wanted = None
        etag = f'"{number}"' if behaviour == "changes" else '"same"'
        if request.headers.get("If-Range", etag) != etag:
            wanted = None
        start, stop = wanted or (0, size)
        response = web.StreamResponse(status=206 if wanted else 200, headers={"ETag": etag})
        if wanted:
            said = start + 1 if behaviour == "lies" and number > 1 else start
            if behaviour != "silent-range":
                response.headers["Content-Range"] = f"bytes {said}-{said + stop - start - 1}/{'*' if behaviour == 'no-size' else size}"
        if behaviour == "ignores-chunked":
            response.enable_chunked_encoding()
        else:
            response.content_length = stop - start
        await response.prepare(request)
        cut = start + (stop - start) // 2 if behaviour == "always-cut" or (behaviour == "cuts-once" and number in (1, 3)) else stop
        await self._body(response, path, start, cut)
        if cut != stop and request.transport is not None:
            request.transport.abort()
        return response

    async def _body(self, response: web.StreamResponse, path: Path, start: int, stop: int) -> None:
        with path.open("rb") as file:
            file.seek(start)
            while start < stop:
                block = file.read(min(_BLOCK, stop - start))
                await response.write(block)
                start += len(block)
                self.sent += len(block)


def _range(header: str, size: int) -> tuple[int, int] | None:
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None:
        return None
    start = int(match[1]) if match[1] else max(0, size - int(match[2]))
    stop = size if not match[1] else min(size, int(match[2]) + 1) if match[2] else size
    return (start, stop) if start < stop else None
