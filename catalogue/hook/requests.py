"""The bodies of orders, and the 422 that says what is wrong with one: `{"detail": [{"loc", "msg", "type"}]}`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from common.errors import UserError
from common.payload import decode
from common.times import UtcDatetime

MOST_BYTES = 4 * 2**20
MOST_IDENTIFIERS = 10_000
NO_IDENTIFIER = "noidentifier"
"""What clients write where a workflow takes no product."""

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong with a request, and where."""

    place: Place
    message: str
    type: str

    def document(self) -> dict[str, Any]:
        return {"loc": list(self.place), "msg": self.message, "type": self.type}


class InvalidOrderError(UserError):
    """The order cannot be accepted as it is written."""

    status = 422

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        self.complaints = tuple(complaints)
        first = self.complaints[0]
        super().__init__(first.message, field=".".join(map(str, first.place)))


def _none_is_empty(value: object) -> object:
    return [] if value is None else value


def _none_is_text(value: object) -> object:
    return "" if value is None else value


Text = Annotated[StrictStr, BeforeValidator(_none_is_text), Field(max_length=1024)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OptionValue(_Body):
    """`Value` may be a number, too."""

    Name: Annotated[StrictStr, Field(min_length=1, max_length=128)]
    Value: StrictStr | StrictInt | float | bool | None = Field(None, union_mode="left_to_right")


class _OrderBody(_Body):
    """What both kinds of order have."""

    Name: Annotated[StrictStr, Field(max_length=512)]
    WorkflowName: Annotated[StrictStr, Field(min_length=1, max_length=128)]
    WorkflowOptions: Annotated[list[OptionValue], BeforeValidator(_none_is_empty), Field(max_length=200)] = Field(default_factory=list)
    Priority: Annotated[StrictInt, Field(ge=-1000, le=1000)] | None = None
    NotificationEndpoint: Text = ""
    NotificationEpUsername: Text = ""
    NotificationEpPassword: Text = Field("", repr=False)
    NotificationStatus: Text = ""

    def reference(self) -> list[str]:
        """The products that are ordered, one for each item; one blank where there is none."""
        raise NotImplementedError


class BatchOrderBody(_OrderBody):
    """`POST BatchOrder/OData.CSC.Order`."""

    IdentifierList: Annotated[
        list[Annotated[StrictStr, Field(max_length=1024)]], BeforeValidator(_none_is_empty), Field(max_length=MOST_IDENTIFIERS)
    ] = Field(default_factory=list)
    BatchSize: Annotated[StrictInt, Field(ge=0, le=1_000_000)] | None = None

    def reference(self) -> list[str]:
        named = [text for text in (identifier.strip() for identifier in self.IdentifierList) if text and text != NO_IDENTIFIER]
        return named or [""]


class Period(_Body):
    Start: UtcDatetime | None = None
    End: UtcDatetime | None = None


class ProductReference(_Body):
    Reference: Text = ""
    ContentDate: Period | None = None


class ProductionOrderBody(_OrderBody):
    """`POST ProductionOrder/OData.CSC.Order`."""

    Name: Annotated[StrictStr, Field(max_length=512)] = ""
    InputProductReference: ProductReference | None = None

    def reference(self) -> list[str]:
        text = self.InputProductReference.Reference.strip() if self.InputProductReference else ""
        return ["" if text == NO_IDENTIFIER else text]


@dataclass(frozen=True)
class Asked:
    """An order as it was asked for: what both kinds of body come down to."""

    body: BatchOrderBody | ProductionOrderBody
    identifiers: list[str] = field(default_factory=list)

    @property
    def content_date(self) -> dict[str, Any] | None:
        reference = self.body.InputProductReference if isinstance(self.body, ProductionOrderBody) else None
        return reference.ContentDate.model_dump(mode="json") if reference and reference.ContentDate else None

    def digest(self, secret: frozenset[str]) -> bytes:
        """Of all that was asked but for the password and the values of the `secret` options: whether two requests are the same."""
        document = self.body.model_dump(mode="json", exclude={"NotificationEpPassword"})
        for option in document["WorkflowOptions"]:
            if option["Name"] in secret:
                option["Value"] = None
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()


def read_order(body: bytes, model: type[BatchOrderBody] | type[ProductionOrderBody]) -> Asked:
    """The order of a JSON text, whatever its content type said. Raises InvalidOrderError."""
    try:
        document = decode(body, where="body", max_bytes=MOST_BYTES)
    except UserError as error:
        place = [part for part in (error.field or "").split(".") if part and part != "body"]
        raise InvalidOrderError([Complaint(("body", *place), error.detail, "json_invalid")]) from None
    try:
        read = model.model_validate(document)
    except ValidationError as error:
        raise InvalidOrderError(_complaints(error)) from None
    return Asked(read, read.reference())


def _complaints(error: ValidationError) -> list[Complaint]:
    """What pydantic complains of, without what was given: it may be a secret."""
    entries = error.errors(include_url=False, include_context=False, include_input=False)
    found: dict[Place, Complaint] = {}
    for entry in entries[:50]:
        # The alternatives of a value that may be of several types are one complaint.
        place: Place = ("body", *(part for part in entry["loc"] if part not in _ALTERNATIVES))
        found.setdefault(place, Complaint(place, entry["msg"], entry["type"]))
    return list(found.values())


_ALTERNATIVES = frozenset({"str", "int", "float", "bool"})
