"""Annotations through the `Nodes` of a Copernicus OData service: the files of a product, listed and fetched one by one."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from pydantic import BaseModel, Field, ValidationError

from catalogue.sentinel1.annotations.files import MEMBERS, AnnotationError, AnnotationFile, Collection, SceneName
from catalogue.sentinel1.annotations.http import HttpReader
from common.urls import shown_url

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LISTING_BYTES = 4 * 2**20


class _Node(BaseModel):
    name: str = Field(alias="Name")


class _Listing(BaseModel):
    result: list[_Node] = Field(max_length=4 * MEMBERS)


async def read_nodes(root: str, scene: SceneName, uuid: str, reader: HttpReader) -> list[AnnotationFile]:
    """The annotations of `scene`, which the service at `root` knows by `uuid`.

    Raises AnnotationError, and TemporaryError where trying later may help.
    """
    if not _UUID.fullmatch(uuid):
        raise AnnotationError(f"{shown_url(root)} knows products by their uuid, and {scene.text} comes without one (metadata.uuid)")
    folder = f"{root.rstrip('/')}/Products({uuid})/Nodes({scene.text}.SAFE)/Nodes(annotation)/Nodes"
    collection = Collection(scene, shown_url(root))
    for node in await _listing(folder, reader):
        if scene.holds(node.name):
            content = await reader.get(f"{folder}({quote(node.name)})/$value")
            collection.reserve(node.name, len(content))
            collection.put(node.name, content)
    return collection.files()


async def _listing(folder: str, reader: HttpReader) -> list[_Node]:
    content = await reader.get(folder, limit=_LISTING_BYTES)
    try:
        return _Listing.model_validate(json.loads(content)).result
    except (ValidationError, ValueError) as error:
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise AnnotationError(f"{shown_url(folder)}: the answer is not a list of nodes: {problem}") from None
