"""A customer's catalogue on loopback, as STAC API and as OData service, behind a token endpoint: everything it is asked is kept."""

from __future__ import annotations

import hashlib
import io
import re
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import shapely
from aiohttp import web
from aiohttp.test_utils import TestServer

from common.product_names import parse_product_name

USER, PASSWORD = "customer", "password-of-the-customer-9f31"
CLIENT = "hda-public"
COLLECTION = "EO.ESA.DAT.TEST"


def safe_files(name: str) -> dict[str, bytes]:
    """A small simulated product in SAFE format, by paths below its folder."""
    content = {f"measurement/band-{number}.bin": hashlib.sha256(f"{name}{number}".encode()).digest() * 4000 for number in (1, 2)}
    content["annotation/about.xml"] = f"<about>{name}</about>".encode() * 20
    return {"manifest.safe": manifest_of(content), **content}


def manifest_of(content: Mapping[str, bytes]) -> bytes:
    """The `manifest.safe` of files by paths below the folder of their product."""
    entries = "".join(
        f'<dataObject ID="d{number}"><byteStream size="{len(data)}"><fileLocation locatorType="URL" href="./{path}"/>'
        f'<checksum checksumName="MD5">{hashlib.md5(data).hexdigest()}</checksum></byteStream></dataObject>'
        for number, (path, data) in enumerate(content.items())
    )
    return f'<x:XFDU xmlns:x="urn:ccsds:schema:xfdu:1"><dataObjectSection>{entries}</dataObjectSection></x:XFDU>'.encode()


def packed(name: str) -> bytes:
    """That product as its catalogue gives it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in safe_files(name).items():
            archive.writestr(f"{name}.SAFE/{path}", content)
    return target.getvalue()


def packing(folder: Path) -> Callable[[str], bytes]:
    """Of products in SAFE format in `folder`, the archives that their catalogue gives."""

    def packed(name: str) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            for path in sorted((folder / f"{name}.SAFE").rglob("*")):
                archive.write(path, path.relative_to(folder).as_posix())
        return target.getvalue()

    return packed


@dataclass
class Listed:
    """A product of the catalogue."""

    name: str
    footprint: shapely.Polygon = field(default_factory=lambda: shapely.box(10, 50, 11, 51))
    relative_orbit: int = 1
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def date(self) -> str:
        return parse_product_name(self.name).sensing_start.isoformat().replace("+00:00", "Z")


@dataclass
class OrderSource:
    """`products` by name. `suffix`: what its STAC items' ids end with."""

    products: dict[str, Listed]
    suffix: str = ""
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path with query, Authorization."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """Parts of archives that were sent."""
    tokens: set[str] = field(default_factory=set)
    forms: list[dict[str, str]] = field(default_factory=list)
    redirect: str = ""
    """Where items lead to instead."""
    in_files: bool = False
    """Whether its STAC items have the files of a product instead of an archive."""
    in_nodes: bool = False
    """Whether its OData service lists the nodes of a product."""
    in_ranges: bool = False
    """Whether it sends parts of an archive."""
    pack: Callable[[str], bytes] = packed
    """The archive of a product."""
    url: str = ""

    async def __aenter__(self) -> OrderSource:
        app = web.Application(middlewares=[self._note])
        app.router.add_post("/auth/realms/{realm}/protocol/openid-connect/token", self._token)
        app.router.add_get("/stac/collections/{collection}/items/{item}", self._item)
        app.router.add_get("/stac/search", self._search)
        app.router.add_post("/stac/search", self._search)
        app.router.add_get("/odata/v1/Products", self._products)
        app.router.add_get("/odata/v1/{product:Products\\([0-9a-f-]+\\)}/$value", self._value)
        app.router.add_get("/odata/v1/{product:Products\\([0-9a-f-]+\\)}/{nodes:Nodes.*}", self._nodes)
        app.router.add_get("/files/{name}/{path:.*}", self._file)
        self.server = TestServer(app)
        await self.server.start_server()
        self.url = str(self.server.make_url("")).rstrip("/")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()

    @property
    def token_url(self) -> str:
        return f"{self.url}/auth/realms/dedl/protocol/openid-connect/token"

    @property
    def options(self) -> dict[str, str]:
        """Of an order whose products are here, with a login, through the STAC API."""
        return {
            "source_type": "EXTERNAL",
            "source_catalogue_api_url": f"{self.url}/stac",
            "source_catalogue_api_type": "STAC",
            "source_token_url": self.token_url,
            "source_username": USER,
            "source_password": PASSWORD,
            "source_client_id": CLIENT,
        }

    def paths(self, part: str = "") -> list[str]:
        return [path for _, path, _ in self.seen if part in path]

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen.append((request.method, unquote(request.path_qs), request.headers.get("Authorization", "")))
        public = request.path.startswith(("/auth", "/odata/v1/Products")) and not request.path.endswith("$value")
        if not public and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return web.json_response({"detail": "who are you?"}, status=401)
        return await handler(request)

    async def _token(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.forms.append(form)
        if (form.get("username"), form.get("password"), form.get("client_id")) != (USER, PASSWORD, CLIENT):
            return web.json_response({"error": "invalid_grant", "error_description": f"no {form.get('password')}"}, status=401)
        token = f"token-of-the-customer-{uuid.uuid4().hex}"
        self.tokens.add(token)
        return web.json_response({"access_token": token, "expires_in": 300})

    async def _item(self, request: web.Request) -> web.Response:
        if self.redirect:
            raise web.HTTPFound(self.redirect)
        listed = self.products.get(request.match_info["item"].removesuffix(self.suffix))
        if listed is None or not request.match_info["item"].endswith(self.suffix):
            return web.json_response({"code": "NotFound"}, status=404)
        return web.json_response(self.item(listed))

    def item(self, listed: Listed) -> dict[str, Any]:
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": listed.name + self.suffix,
            "collection": COLLECTION,
            "geometry": shapely.geometry.mapping(listed.footprint),
            "properties": {"datetime": listed.date, "sat:relative_orbit": listed.relative_orbit, "sar:polarizations": ["VV", "VH"]},
            "links": [],
            "assets": self._files(listed) if self.in_files else self._archive(listed),
        }

    def _archive(self, listed: Listed) -> dict[str, dict[str, str]]:
        return {"downloadLink": {"href": f"{self.url}/odata/v1/Products({listed.id})/$value", "type": "application/zip"}}

    def _files(self, listed: Listed) -> dict[str, dict[str, str]]:
        return {
            re.sub(r"\W", "-", path): {"href": f"{self.url}/files/{listed.name}/{path}", "type": "application/octet-stream"}
            for path in self.files(listed)
        }

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files(self.products[request.match_info["name"]])[request.match_info["path"]])

    def files(self, listed: Listed) -> dict[str, bytes]:
        """The files of a product, by paths below its folder."""
        with zipfile.ZipFile(io.BytesIO(self.pack(listed.name))) as archive:
            return {name.partition("/")[2]: archive.read(name) for name in archive.namelist() if not name.endswith("/")}

    async def _search(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            names = [name.removesuffix(".SAFE") for name in request.query.get("ids", "").split(",")]
            found = [self.products[name] for name in dict.fromkeys(names) if name in self.products]
        else:
            query = await request.json()
            start, end = query["datetime"].split("/")
            area = shapely.geometry.shape(query["intersects"])
            found = [each for each in self.products.values() if start <= each.date <= end and each.footprint.intersects(area)]
        return web.json_response({"type": "FeatureCollection", "features": [self.item(each) for each in found]})

    async def _products(self, request: web.Request) -> web.Response:
        text = request.query["$filter"]
        names = [name.removesuffix(".SAFE") for name in re.findall(r"(?<!/)Name eq '([^']*)'", text)]
        dates = re.findall(r"ContentDate/Start [gl]e (\S+)", text)
        if names:
            found = [self.products[name] for name in dict.fromkeys(names) if name in self.products]
        else:
            found = [each for each in self.products.values() if dates[0] <= each.date <= dates[1]]
        return web.json_response({"value": [self.document(each) for each in found]})

    def document(self, listed: Listed) -> dict[str, Any]:
        attributes = [
            {"Name": "relativeOrbitNumber", "Value": listed.relative_orbit},
            {"Name": "polarisationChannels", "Value": "VV&VH"},
        ]
        content = self.pack(listed.name)
        return {
            "Id": listed.id,
            "Name": f"{listed.name}.SAFE",
            "ContentDate": {"Start": listed.date, "End": listed.date},
            "GeoFootprint": shapely.geometry.mapping(listed.footprint),
            "ContentLength": len(content),
            "Online": True,
            "S3Path": f"/eodata/Sentinel/{listed.name}.SAFE",
            "Checksum": [{"Value": hashlib.md5(content).hexdigest(), "Algorithm": "MD5"}],
            "Attributes": attributes,
        }

    async def _value(self, request: web.Request) -> web.Response:
        listed = self._of(request)
        content, headers = self.pack(listed.name), {"ETag": f'"{listed.id}"'}
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", "")) if self.in_ranges else None
        if match is None:
            return web.Response(body=content, headers=headers)
        start = int(match[1]) if match[1] else max(0, len(content) - int(match[2]))
        stop = min(len(content), int(match[2]) + 1) if match[1] and match[2] else len(content)
        self.ranges.append((start, stop))
        return web.Response(
            status=206, body=content[start:stop], headers={**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        )

    async def _nodes(self, request: web.Request) -> web.Response:
        if not self.in_nodes:
            raise web.HTTPNotFound
        files = self.files(self._of(request))
        path = request.match_info["nodes"].removesuffix("/$value").removesuffix("/Nodes")
        within = "/".join(re.findall(r"Nodes\(([^)]*)\)", path)[1:])
        if within in files:
            return web.Response(body=files[within])
        below = {file.removeprefix(f"{within}/").partition("/")[0] for file in files if file.startswith(f"{within}/")}
        return web.json_response({"result": [{"Name": name} for name in sorted(below)]})

    def _of(self, request: web.Request) -> Listed:
        identity = re.sub(r"Products\((.*)\)", r"\1", request.match_info["product"])
        return next(each for each in self.products.values() if each.id == identity)
