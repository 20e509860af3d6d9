"""Products of an OData catalogue of the Copernicus ground segment: where they are, whether they are online, the nodes they are made of.

Source: Copernicus Data Space, "OData"; Copernicus Space Component, OData specification of the ground segment (Products, Order, Nodes).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from common.errors import ThresherError
from common.storage.base import checked_component
from common.urls import shown_url
from downloader.checksums import Checksum, named_checksum
from downloader.providers.api import Api
from downloader.providers.base import NotOfferedError
from downloader.transfer import Expectation

_DEPTH = 8
_NODES = 20_000


class _Entry(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="ignore")


class _Sum(_Entry):
    value: str = Field("", alias="Value")
    algorithm: str = Field("", alias="Algorithm")


class ODataProduct(_Entry):
    """A product as the catalogue tells of it."""

    id: str = Field(alias="Id", pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
    name: str = Field(alias="Name")
    size: int = Field(0, alias="ContentLength")
    online: bool = Field(True, alias="Online")
    place: str = Field("", alias="S3Path")
    """Below the bucket, beginning with its name."""
    sums: list[_Sum] = Field(default_factory=list, alias="Checksum")

    def expectation(self, *, with_checksums: bool) -> Expectation:
        """Of the product as one file. Without its checksums nothing is known of it: the server packs it anew."""
        if not with_checksums:
            return Expectation()
        sums = [named_checksum(each.algorithm, each.value) for each in self.sums]
        known: tuple[Checksum, ...] = tuple(each for each in sums if each)
        return Expectation(size=self.size or None, checksums=known)


class _Products(_Entry):
    value: list[ODataProduct]


class Node(_Entry):
    """A file or a folder of a product."""

    name: str = Field(alias="Name")
    size: int = Field(0, alias="ContentLength")
    children: int = Field(0, alias="ChildrenNumber")


class _Nodes(_Entry):
    result: list[Node] = Field(max_length=_NODES)


async def find_product(api: Api, root: str, source_id: str) -> ODataProduct:
    """The product of that name, the online one of several. Raises NotOfferedError."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", source_id):
        raise NotOfferedError(f"'{source_id[:100]}' is no name of a product")
    name = source_id.removesuffix(".SAFE")
    condition = f"Name eq '{name}.SAFE' or Name eq '{name}'"
    url = f"{root.rstrip('/')}/Products?$filter={quote(condition)}&$top=10"
    products = _read(_Products, await api.get(url), url).value
    if not products:
        raise NotOfferedError(f"{shown_url(root)} does not know {source_id}")
    return max(products, key=lambda product: product.online)


async def walk_nodes(api: Api, root: str, product: ODataProduct) -> AsyncIterator[tuple[str, str, int]]:
    """Every file of a product: its path below the product's folder, its link, its size."""
    folder = f"{root.rstrip('/')}/Products({product.id})/Nodes({quote(product.name)})"
    waiting: list[tuple[str, str, int]] = [("", folder, 0)]
    seen = 0
    while waiting:
        path, link, depth = waiting.pop()
        for node in _read(_Nodes, await api.get(f"{link}/Nodes"), link).result:
            seen += 1
            if depth >= _DEPTH or seen > _NODES:
                raise ThresherError(f"{shown_url(folder)} is nested too deeply, or has more than {_NODES} nodes: that is no product")
            below, there = path + checked_component(node.name), f"{link}/Nodes({quote(node.name)})"
            if node.children:
                waiting.append((below + "/", there, depth + 1))
            else:
                yield below, f"{there}/$value", node.size


_Model = TypeVar("_Model", bound=_Entry)


def _read(model: type[_Model], document: JsonValue, url: str) -> _Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ThresherError(f"{shown_url(url)}: the answer cannot be read: {where}: {first['msg']}") from None
