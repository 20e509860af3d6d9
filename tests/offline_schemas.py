"""The published JSON schemas of STAC, from disk: validators ask for them by their address and get the same documents without a network.

As a program it runs `stac-api-validator` so: `python offline_schemas.py ARGUMENTS`.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import requests
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

_EXTENSION = re.compile(r"https://stac-extensions\.github\.io/([a-z0-9-]+)/(v[0-9.]+)/schema\.json#?")
_CORE = re.compile(r"https://schemas\.stacspec\.org/v1\.1\.0/(?:[a-z-]+/json-schema/)?([a-z-]+\.json)#?")
_GEOJSON = re.compile(r"https?://geojson\.org/schema/([A-Za-z]+\.json)#?")
_NEVER_USED = "https://proj.org/schemas/v0.7/projjson.schema.json"
"""No item of ours has a `proj:projjson`."""


def schema(url: str) -> dict[str, Any] | None:
    """The schema published at `url`; None where it is not here."""
    if url == _NEVER_USED:
        return {}
    if match := _EXTENSION.fullmatch(url):
        path = Path(__file__).parent / "stac_schemas" / f"{match[1]}-{match[2]}.json"
    elif match := _CORE.fullmatch(url):
        path = _bundled() / "stac-spec" / "v1.1.0" / match[1]
    elif match := _GEOJSON.fullmatch(url):
        path = _bundled() / "geojson" / match[1]
    else:
        return None
    return json.loads(path.read_text()) if path.is_file() else None


def problems_of(document: dict[str, Any], url: str) -> list[str]:
    """What the schema published at `url` finds wrong with a document."""
    registry: Registry = Registry(retrieve=_retrieve)
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator({"$ref": url}, registry=registry).iter_errors(document)]


def validate_item(item: dict[str, Any]) -> None:
    """By the schema of STAC items and that of every extension it names."""
    core = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"
    found = {url: problems_of(item, url) for url in (core, *item["stac_extensions"])}
    assert not any(found.values()), found


def _bundled() -> Path:
    return Path(str(resources.files("pystac"))) / "validation" / "jsonschemas"


def _retrieve(url: str) -> Resource:
    document = schema(url)
    if document is None:
        raise LookupError(f"no schema at {url} on disk")
    return Resource.from_contents(document, default_specification=DRAFT7)


def serve_from_disk() -> None:
    """Let `requests` answer addresses of schemas from disk; all else goes its way."""
    original = requests.Session.request

    def request(self: requests.Session, method: str, url: str, *arguments: Any, **more: Any) -> requests.Response:
        document = schema(url)
        if document is None:
            return original(self, method, url, *arguments, **more)
        response = requests.Response()
        response.status_code = 200
        response.headers["Content-Type"] = "application/json"
        response.url = url
        response._content = json.dumps(document).encode()
        return response

    requests.Session.request = request


if __name__ == "__main__":
    from stac_api_validator.__main__ import main

    serve_from_disk()
    sys.exit(main())
