"""Orders and their items as values, and the protocols between those who move an item on: secrets, source, delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from catalogue.hook.workflows import Workflow
from catalogue.workflow.views import ORDER_PREFIX
from common.errors import ThresherError
from common.features import SceneFeature
from common.order_access import OrderAccess


class OrderStatus(StrEnum):
    """As clients read it, of an order and of an item."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (OrderStatus.COMPLETED, OrderStatus.FAILED, OrderStatus.CANCELLED)


class Phase(StrEnum):
    """What has to be done next for an item."""

    RESOLVE = "resolve"
    WORK = "work"
    DELIVER = "deliver"
    ENDED = "ended"


@dataclass(frozen=True)
class Order:
    """What was ordered."""

    id: int
    uuid: UUID
    owner: str
    """Who ordered, as the authentication names them; empty where there is none."""
    name: str
    workflow: str
    priority: int
    options: Mapping[str, str]
    """Under the present names of the workflow's options, defaults filled in, without the secret ones."""
    sealed: bytes | None
    """The secret options, sealed by `Secrets`; None where there are none or the order has ended."""
    submitted_at: datetime
    notification_endpoint: str = ""
    notification_username: str = ""


@dataclass(frozen=True)
class OrderItem:
    """One product of an order."""

    id: int
    order: Order
    identifier: str
    """As it was given, without blanks around it; empty for an order without a product."""
    attempts: int = 0
    """How often the present phase was begun before."""
    failure: str = ""
    """Why its work failed."""

    @property
    def aoi(self) -> str:
        """Name of the AOI that holds its scenes and, as the first part of their key, its files in our storage."""
        return f"{ORDER_PREFIX}{self.order.id}:{self.id}"

    @property
    def product(self) -> str:
        """The identifier as a product name: without `.SAFE` or the suffix of an archive."""
        name = self.identifier
        for suffix in (".zip", ".SAFE", ".SEN3", ".tar"):
            name = name.removesuffix(suffix)
        return name


class ItemError(ThresherError):
    """The item fails for good; the text becomes its `StatusMessage`: a sentence for the customer, without secrets."""


class Secrets(Protocol):
    """Seals what may not be read at rest (`catalogue.hook.secrets`)."""

    def seal(self, values: Mapping[str, str]) -> bytes:
        """Raises ConfigurationError where there is no key."""
        ...

    def open(self, sealed: bytes | None) -> dict[str, str]:
        """What was sealed; empty for None. Raises ItemError where the key is another one."""
        ...


@dataclass(frozen=True)
class Resolution:
    """The scenes of an item, as they are ingested. `config` is added to the graph configuration of the workflow."""

    scenes: Sequence[SceneFeature]
    config: Mapping[str, str] = field(default_factory=dict)
    access: OrderAccess | None = field(default=None, repr=False)
    """The order's own source, where they are of that."""


class Source(Protocol):
    """Finds the scenes of an item (`catalogue.hook.sources`), for `workflow.source` of `product`, `pair`, `series`, `files` and `none`."""

    async def resolve(self, item: OrderItem, workflow: Workflow) -> Resolution:
        """Each scene with date, footprint, links and whatever the downloader needs to fetch it (in `data.metadata`); no tiles yet.

        Raises ItemError (not found, refused credentials), or a temporary ThresherError: then it is called again later.
        """
        ...


@dataclass(frozen=True)
class OutputFile:
    """A file the graphs of an item made, in our storage."""

    uri: str
    name: str
    """Of the file for the customer, without folders; with `packed` what to call the zip where it is given as one."""
    packed: bool = False
    """`uri` is a zip, of which the customer gets the entries."""
    within: str = ""
    """Of a zip: only the entries below this folder count, and without it."""
    folder: str = ""
    """Of a zip: put the entries below a folder of this name, unless they all lie below such a folder already."""


@dataclass(frozen=True)
class Delivered:
    """What the customer has got."""

    name: str
    """`ProcessedName`."""
    size: int
    """Bytes (`ProcessedSize`)."""
    uri: str = ""
    """Of a TEMPORARY result: where in our storage it lies."""
    expires_at: datetime | None = None
    """Of a TEMPORARY result: when it is removed."""


class Delivery(Protocol):
    """Hands files over (`catalogue.hook.outputs`)."""

    async def deliver(self, item: OrderItem, workflow: Workflow, files: Sequence[OutputFile]) -> Delivered:
        """To the customer's bucket or into our temporary storage; repeating it changes nothing. May take long.

        Raises ItemError (no such bucket, wrong keys), or a temporary ThresherError: then it is called again later.
        """
        ...

    def link(self, item: int, uri: str, expires_at: datetime, base: str) -> str:
        """`DownloadLink` of a TEMPORARY result: signed, below `base` (`https://host/odata/v1`), good until `expires_at`."""
        ...

    async def short_link(self, uri: str, name: str) -> str | None:
        """A presigned link of minutes to redirect to; None where the storage has none: then the service sends the file itself."""
        ...
