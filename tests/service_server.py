"""A server on loopback that stands in for the services of providers: token endpoint, login with redirects, OData, buckets, signing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from aiohttp import web
from aiohttp.test_utils import TestServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

USER, PASSWORD = "somebody", "her-long-password"
CLIENT_SECRET = "secret-of-the-client"


@dataclass
class ServiceServer:
    """Routes are added before `start`. Everything asked is in `seen`, with what was sent as authorization."""

    host: str = "127.0.0.1"
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path with query, Authorization."""
    sent: int = 0
    """Bytes of files."""
    grants: Counter[str] = field(default_factory=Counter)
    valid: set[str] = field(default_factory=set)
    """Tokens that are accepted."""
    life_s: float = 600.0
    refresh: bool = True
    token_status: int = 200
    app: web.Application = field(default_factory=lambda: web.Application(middlewares=[]))
    server: TestServer | None = None

    async def start(self) -> str:
        self.app.middlewares.append(self._note)
        self.server = TestServer(self.app, host=self.host)
        await self.server.start_server()
        return str(self.server.make_url("/")).rstrip("/")

    async def close(self) -> None:
        assert self.server is not None
        await self.server.close()

    def paths(self, part: str = "") -> list[str]:
        return [path for _, path, _ in self.seen if part in path]

    @web.middleware
    async def _note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.seen.append((request.method, unquote(request.path_qs), request.headers.get("Authorization", "")))
        return await handler(request)

    def add_tokens(self) -> None:
        """`/token`, as RFC 6749 says."""

        async def token(request: web.Request) -> web.Response:
            form = await request.post()
            grant = str(form["grant_type"])
            self.grants[grant] += 1
            await asyncio.sleep(0.05)  # time for others to ask too
            if self.token_status != 200:
                return web.json_response(
                    {"error": "invalid_grant", "error_description": f"no {form.get('password')}"}, status=self.token_status
                )
            good = {
                "password": (form.get("username"), form.get("password"), form.get("client_id")) == (USER, PASSWORD, "public"),
                "client_credentials": form.get("client_secret") == CLIENT_SECRET,
                "refresh_token": str(form.get("refresh_token", "")).startswith("refresh-"),
            }[grant]
            if not good:
                return web.json_response({"error": "invalid_grant"}, status=401)
            access = f"access-{uuid.uuid4().hex}"
            self.valid.add(access)
            answer = {"access_token": access, "expires_in": self.life_s, "token_type": "Bearer"}
            if self.refresh:
                answer |= {"refresh_token": f"refresh-{uuid.uuid4().hex}", "refresh_expires_in": 3600}
            return web.json_response(answer)

        self.app.router.add_post("/token", token)

    def is_known(self, request: web.Request) -> bool:
        return request.headers.get("Authorization", "").removeprefix("Bearer ") in self.valid

    def file(self, content: bytes, request: web.Request, **headers: str) -> web.Response:
        """With a range, as it is asked for."""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
        if match is None or int(match[1]) >= len(content):
            self.sent += len(content)
            return web.Response(body=content, headers=headers)
        start, stop = int(match[1]), min(int(match[2]) + 1, len(content))
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self.sent += stop - start
        return web.Response(status=206, body=content[start:stop], headers=headers)

    def add_odata(self, products: dict[str, tuple[dict[str, object], bytes, dict[str, bytes]]], *, orders: int = 200) -> None:
        """`/odata/v1` of products by name: their document, their archive, their nodes."""
        by_id = {str(document["Id"]): (document, archive, nodes) for document, archive, nodes in products.values()}

        async def search(request: web.Request) -> web.Response:
            names = re.findall(r"Name eq '([^']*)'", request.query["$filter"])
            return web.json_response({"value": [document for document, *_ in by_id.values() if document["Name"] in names]})

        async def product(request: web.Request) -> web.Response:
            match = re.fullmatch(r"/odata/v1/Products\(([0-9a-f-]+)\)/(.*)", unquote(request.path))
            if match is None or match[1] not in by_id:
                return web.Response(status=404)
            document, archive, nodes = by_id[match[1]]
            if request.method == "POST":
                return web.json_response({"Status": "queued"}, status=orders)
            if not self.is_known(request):
                return web.Response(status=401)
            if match[2] == "$value":
                return self.file(archive, request)
            parts = re.findall(r"Nodes\(([^)]*)\)", match[2])
            if not parts or parts[0] != document["Name"]:
                return web.Response(status=404)
            path = "/".join(parts[1:])
            return self.file(nodes[path], request) if match[2].endswith("/$value") else web.json_response({"result": _nodes(nodes, path)})

        self.app.router.add_get("/odata/v1/Products", search)
        self.app.router.add_route("*", "/odata/v1/{tail:.*}", product)

    def add_google(self, objects: dict[str, bytes], page: int = 2) -> None:
        """`bucket` as the JSON API lists it, `page` objects at a time."""

        async def listing(request: web.Request) -> web.Response:
            names = [name for name in sorted(objects) if name.startswith(request.query["prefix"])]
            start = int(request.query.get("pageToken", "0"))
            items = [
                {"name": name, "size": str(len(objects[name])), "md5Hash": base64.b64encode(hashlib.md5(objects[name]).digest()).decode()}
                for name in names[start : start + page]
            ]
            more = {"nextPageToken": str(start + page)} if start + page < len(names) else {}
            return web.json_response({"items": items, **more} if items else more)

        async def get(request: web.Request) -> web.Response:
            name = request.match_info["name"]
            return self.file(objects[name], request) if name in objects else web.Response(status=404)

        self.app.router.add_get("/storage/v1/b/bucket/o", listing)
        self.app.router.add_get("/bucket/{name:.*}", get)

    def add_signing(self, blobs: dict[str, bytes], *, life: timedelta = timedelta(hours=1)) -> None:
        """`/sas/token/{account}/{container}` and `/container/{blob}?sig=…`."""

        async def token(request: web.Request) -> web.Response:
            self.grants["sas"] += 1
            signature = f"sig={uuid.uuid4().hex}"
            self.valid.add(signature)
            return web.json_response({"token": signature, "msft:expiry": (datetime.now(UTC) + life).isoformat()})

        async def get(request: web.Request) -> web.Response:
            if request.query_string not in self.valid:
                return web.Response(status=403)
            return self.file(blobs[request.match_info["name"]], request)

        self.app.router.add_get("/sas/token/{account}/{container}", token)
        self.app.router.add_get("/container/{name:.*}", get)


def odata_document(name: str, archive: bytes, **more: object) -> dict[str, object]:
    """As Copernicus Data Space tells of a product."""
    return {
        "Id": str(uuid.uuid4()),
        "Name": name,
        "ContentLength": len(archive),
        "Online": True,
        "S3Path": f"/eodata/Sentinel/{name}",
        "Checksum": [{"Value": hashlib.md5(archive).hexdigest(), "Algorithm": "MD5"}, {"Value": "", "Algorithm": "BLAKE3"}],
        **more,
    }


def _nodes(nodes: dict[str, bytes], path: str) -> list[dict[str, object]]:
    prefix = f"{path}/" if path else ""
    below: dict[str, list[str]] = {}
    for name in nodes:
        if name.startswith(prefix):
            below.setdefault(name.removeprefix(prefix).partition("/")[0], []).append(name)
    return [
        {"Id": name, "Name": name, "ContentLength": len(nodes[prefix + name]), "ChildrenNumber": 0}
        if prefix + name in nodes
        else {"Id": name, "Name": name, "ContentLength": 0, "ChildrenNumber": len(files)}
        for name, files in below.items()
    ]


def as_json(document: object) -> bytes:
    return json.dumps(document).encode()
