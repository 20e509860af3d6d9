"""Orders of the on-demand service, as a client of its OData API: what can be ordered, placing, following and fetching."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import NotFoundError, UpstreamError, UserError
from thresher.client import DEFAULT_URL, UnauthorisedError, UnreachableError

_POLL_S = 0.5
_BLOCK = 2**20
_FINAL = ("completed", "failed", "cancelled")


Answer = TypeVar("Answer", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class WorkflowOption(_Answer):
    name: str = Field(alias="Name")
    description: str = Field("", alias="Description")
    type: str = Field("str", alias="Type")
    default: str | None = Field(None, alias="Default")
    choices: list[str] | None = Field(None, alias="Value")
    required: bool = Field(False, alias="Required")


class Workflow(_Answer):
    name: str = Field(alias="Name")
    title: str = Field("", alias="DisplayName")
    description: str = Field("", alias="Description")
    options: list[WorkflowOption] = Field(default_factory=list, alias="WorkflowOptions")


class Order(_Answer):
    id: int = Field(alias="Id")
    name: str = Field(alias="Name")
    workflow: str = Field(alias="WorkflowName")
    status: str = Field(alias="Status")
    priority: int = Field(1, alias="Priority")
    submitted: str = Field("", alias="SubmissionDate")


class Product(_Answer):
    """An item of an order."""

    id: int = Field(alias="Id")
    order: int = Field(alias="BatchOrderId")
    reference: str = Field("", alias="InputProductReference")
    status: str = Field(alias="Status")
    message: str = Field("", alias="StatusMessage")
    result: str | None = Field(None, alias="ProcessedName")
    size: int | None = Field(None, alias="ProcessedSize")
    link: str | None = Field(None, alias="DownloadLink")

    @property
    def has_ended(self) -> bool:
        return self.status in _FINAL


class Orders:
    """A connection to the service at `url` (default `$THRESHER_URL`, else loopback), with `token` (default `$THRESHER_TOKEN`).

    Every method may raise UnreachableError, UserError or UpstreamError.
    """

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = (url or os.environ.get("THRESHER_URL") or DEFAULT_URL).rstrip("/")
        self._token = token or os.environ.get("THRESHER_TOKEN") or ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None, connect=10, sock_read=120))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def workflows(self, name: str = "") -> list[Workflow]:
        """All that can be ordered, or the one of a name, with options."""
        query = {"$expand": "WorkflowOptions", "$orderby": "Id asc"}
        if name:
            query["$filter"] = f"Name eq {_quoted(name)}"
        return _values(Workflow, await self._ask("GET", "Workflows", query))

    async def place(
        self, workflow: str, identifiers: Sequence[str], options: Mapping[str, str], *, name: str, priority: int = 1, key: str = ""
    ) -> Order:
        """A new order; with `key` the same one however often it is placed."""
        body = {
            "Name": name,
            "WorkflowName": workflow,
            "IdentifierList": list(identifiers),
            "WorkflowOptions": [{"Name": option, "Value": value} for option, value in options.items()],
            "Priority": priority,
        }
        headers = {"Idempotency-Key": key} if key else {}
        return _value(Order, await self._ask("POST", "BatchOrder/OData.CSC.Order", body=body, headers=headers))

    async def orders(self, most: int = 100) -> list[Order]:
        """The newest orders first."""
        return _values(Order, await self._ask("GET", "BatchOrder", {"$top": str(most)}))

    async def order(self, number: int) -> Order:
        """Raises NotFoundError."""
        return _value(Order, await self._ask("GET", f"BatchOrder({number})"))

    async def products(self, number: int) -> list[Product]:
        """The items of an order; raises NotFoundError."""
        found: list[Product] = []
        while True:
            page = _values(Product, await self._ask("GET", f"BatchOrder({number})/Products", {"$top": "1000", "$skip": str(len(found))}))
            found += page
            if len(page) < 1000:
                return found

    async def ended(self, number: int, tell: Callable[[Sequence[Product]], None] = lambda _: None) -> list[Product]:
        """The items once all have ended; `tell` hears of them meanwhile."""
        while True:
            products = await self.products(number)
            tell(products)
            if all(product.has_ended for product in products):
                return products
            await asyncio.sleep(_POLL_S)

    async def cancel(self, number: int) -> Order:
        return _value(Order, await self._ask("POST", f"BatchOrder({number})/OData.CSC.Cancel"))

    async def fetch(self, product: Product, folder: Path, received: Callable[[int], None] = lambda _: None) -> Path:
        """The result of an item in `folder`, there only when it is whole; `received` hears of bytes."""
        target = folder / _plain(product.result or f"{product.id}.zip")
        part = target.with_name(f".{target.name}.part")
        url = f"{self.url}/odata/v1/BatchOrder({product.order})/Product({product.id})/$value"
        try:
            async with self._opened().get(url) as response:
                if response.status >= 400:
                    raise _refusal(response.status, await response.read())
                with part.open("wb") as file:
                    async for block in response.content.iter_chunked(_BLOCK):
                        file.write(block)
                        received(len(block))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreachableError(f"the result cannot be fetched ({type(error).__name__})") from None
        if product.size is not None and part.stat().st_size != product.size:
            raise UpstreamError(f"{target.name} has {part.stat().st_size} bytes, not {product.size}: fetch it again")
        return part.replace(target)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> object:
        """The `value` of the reply."""
        try:
            async with self._opened().request(method, f"{self.url}/odata/v1/{path}", params=query, json=body, headers=headers) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreachableError(f"{self.url} does not answer ({type(error).__name__}); is `thresher up` running there?") from None
        if response.status >= 400:
            raise _refusal(response.status, content)
        try:
            return json.loads(content)["value"]
        except (ValueError, KeyError, TypeError):
            raise UpstreamError(f"{self.url} answered something other than an order: is a Thresher service there?") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use it as a context: `async with Orders() as orders`")
        return self._session


def _refusal(status: int, content: bytes) -> Exception:
    try:
        detail = json.loads(content)["detail"]
        sentence = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in detail) if status == 422 else str(detail)
    except (ValueError, KeyError, TypeError):
        sentence = content.decode(errors="replace").strip()[:300] or f"HTTP status {status}"
    if status == 401:
        return UnauthorisedError(f"{sentence} (set THRESHER_TOKEN)")
    if status >= 500:
        return UpstreamError(sentence)
    return NotFoundError(sentence) if status == 404 else UserError(sentence)


def _value(model: type[Answer], value: object) -> Answer:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise UpstreamError(f"the service gave an answer this program does not understand: {error.error_count()} errors") from None


def _values(model: type[Answer], value: object) -> list[Answer]:
    if not isinstance(value, list):
        raise UpstreamError("the service gave an answer this program does not understand: not a list")
    return [_value(model, each) for each in value]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _plain(name: str) -> str:
    return Path(name).name or "result.zip"
