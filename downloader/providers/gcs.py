"""Provider `gcs`: products in open buckets of Google, found by a pattern `gs://bucket/…{SCENE}.SAFE`, or `….zip`.

Source: Cloud Storage JSON API, objects: list; objects are read from `https://storage.googleapis.com/{bucket}/{object}`.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, Field, ValidationError

from common.errors import ConfigurationError, ThresherError
from downloader.providers.api import Api
from downloader.providers.base import NotOfferedError, Place, ProductRequest
from downloader.providers.separate import ProductFile, fetch_safe
from downloader.providers.url import filled
from downloader.providers.whole import fetch_whole
from downloader.transfer import Expectation

_SERVER = "https://storage.googleapis.com"
_PLACEHOLDER = "_$folder$"
"""Ends the names of objects that stand for folders."""
_OBJECTS = 20_000
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


class _Object(BaseModel):
    name: str
    size: int = 0
    md5: str = Field("", alias="md5Hash")


class _Page(BaseModel):
    items: list[_Object] = Field(default_factory=list)
    next_page: str = Field("", alias="nextPageToken")


@dataclass(frozen=True)
class _Bucket:
    name: str
    server: str

    def link(self, key: str) -> str:
        return f"{self.server}/{self.name}/{quote(key)}"


class GcsProvider:
    """`url` is the pattern; `*` and `?` in it fit any name, and the last that fits is taken. `endpoint_url` names another server."""

    def __init__(self, place: Place) -> None:
        if not place.provider.url.startswith("gs://"):
            raise ConfigurationError(f"'providers.{place.name}.url' must be a pattern gs://bucket/…, with {{SCENE}} and other parts")
        self.name = place.name
        self._place = place
        self._server = (place.provider.endpoint_url or _SERVER).rstrip("/")

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        source_id = request.scene.source_id
        name, _, pattern = filled(self._place.provider.url, source_id, request.scene.aoi).removeprefix("gs://").partition("/")
        bucket = _Bucket(name, self._server)
        found = await self._list(bucket, re.split(r"[*?]", pattern)[0].rstrip("/"))
        first = next(iter(_matches(pattern.rstrip("/"), found)), "")
        if not first:
            raise NotOfferedError(f"gs://{name}/{pattern} does not exist")
        async with self._place.transfer(request, f"{self._server}/") as transfer:
            if first.lower().endswith(_ARCHIVES) and first in found:
                expected = _expected(found[first])
                await fetch_whole(transfer, bucket.link(first), request, folder, expected=expected, field=f"providers.{self.name}.url")
                return
            below = {key.removeprefix(f"{first}/"): each for key, each in found.items() if key.startswith(f"{first}/")}
            files = [
                ProductFile(bucket.link(below[path].name), f"{source_id}.SAFE/{path}", _expected(below[path]))
                for path in request.members.of(sorted(below), f"gs://{name}/{first}")
            ]
            parallel = self._place.provider.parallel
            await fetch_safe(transfer, files, folder, request, parallel=parallel, field=f"providers.{self.name}.url")

    async def _list(self, bucket: _Bucket, prefix: str) -> dict[str, _Object]:
        found: dict[str, _Object] = {}
        fields = "items(name,size,md5Hash),nextPageToken"
        url = f"{self._server}/storage/v1/b/{quote(bucket.name)}/o?prefix={quote(prefix, safe='')}&fields={fields}"
        token = ""
        async with Api(self._place, self._server) as api:
            while True:
                document = await api.get(url + (f"&pageToken={quote(token, safe='')}" if token else ""))
                try:
                    page = _Page.model_validate(document)
                except ValidationError:
                    raise ThresherError(f"{self._server}: the answer is not a list of objects") from None
                found.update({each.name: each for each in page.items if not each.name.endswith(("/", _PLACEHOLDER))})
                token = page.next_page
                if not token:
                    return found
                if len(found) > _OBJECTS:
                    raise ThresherError(f"gs://{bucket.name}/{prefix} holds more than {_OBJECTS} objects: that is no product")


def _matches(pattern: str, found: dict[str, _Object]) -> list[str]:
    """What the pattern names among the objects, the last in order first: an object, or a folder of them."""
    parts = "".join(".*?" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    expression = re.compile(rf"({parts})(/.*)?", re.DOTALL)
    return sorted({match[1] for key in found if (match := expression.fullmatch(key))}, reverse=True)


def _expected(each: _Object) -> Expectation:
    return Expectation(size=each.size, checksum=base64.b64decode(each.md5).hex() or None)
