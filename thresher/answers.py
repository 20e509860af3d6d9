"""What the HTTP API answers, as values: areas, jobs, variables, records, datasets."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, SerializerFunctionWrapHandler, WrapSerializer

from common.times import UtcDatetime


def _null_is_nan(value: object) -> object:
    """JSON has no NaN: it travels as a text, or as null."""
    return float("nan") if value is None else value


def _finite_or_text(value: float, handler: SerializerFunctionWrapHandler) -> object:
    return str(handler(value)) if value != value or value in (float("inf"), float("-inf")) else handler(value)


Number = Annotated[float, BeforeValidator(_null_is_nan), WrapSerializer(_finite_or_text, when_used="json")]
"""A number that may be NaN or infinite, written to JSON as `"nan"`, `"inf"` then."""


def _null_is_text(value: object) -> object:
    return "" if value is None else value


Text = Annotated[str, BeforeValidator(_null_is_text)]


class Answer(BaseModel):
    """Read leniently: a newer service may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Problem(Answer):
    """`application/problem+json` (RFC 9457)."""

    type: Text = ""
    title: Text = ""
    status: int = 0
    detail: Text = ""
    field: str | None = None
    errors: list[JsonValue] = Field(default_factory=list)

    def sentence(self) -> str:
        return self.detail or self.title or f"HTTP status {self.status}"


class SubmittedScene(Answer):
    id: int
    source_id: str
    tiles: int = 0


class Submission(Answer):
    """What became of one payload: its area in progress, or the `problem` that kept it out."""

    name: Text = ""
    scene_count: int = 0
    tile_count: int = 0
    scenes: list[SubmittedScene] = Field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = Field(default_factory=list)
    status: int = 200
    problem: Problem | None = None


class AreaLine(Answer):
    """An area of the list of areas."""

    name: str = Field(validation_alias=AliasChoices("ID", "name", "id"))
    status: Text = ""


class Counts(Answer):
    """Scenes or tiles of an area by status."""

    new: int = 0
    pending: int = 0
    done: int = 0
    retry: int = 0
    failed: int = 0
    total: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in Counts.model_fields})


class AreaStatus(Answer):
    """How far an area is."""

    name: str
    status: Text = ""
    scenes: Counts = Counts()
    tiles: Counts = Counts()
    root_tiles: int = 0
    first: date | None = Field(None, validation_alias="from")
    last: date | None = Field(None, validation_alias="to")


Status = Literal["NEW", "PENDING", "DONE", "RETRY", "FAILED"]


class SceneOfTile(Answer):
    id: int = 0
    source_id: Text = ""


class Item(Answer):
    """A scene or a tile of an area with its status. `scene` is set for tiles."""

    id: int
    source_id: str
    status: str
    message: Text = ""
    scene: SceneOfTile | None = None
    retries_left: int = Field(0, validation_alias="RetryCountDown")


class RetryCounts(Answer):
    """How many were set to run again."""

    scenes: int = Field(0, validation_alias=AliasChoices("Scenes", "scenes"))
    tiles: int = Field(0, validation_alias=AliasChoices("Tiles", "tiles"))


class DeadLetter(Answer):
    """A message that waits for a person."""

    seq: int
    subject: str
    reason: Text = ""
    time: UtcDatetime | None = None
    data: Text = ""


class DoneAnswer(Answer):
    done: str


class Deletions(Answer):
    """Files that wait to be deleted."""

    waiting: int
    held_until: datetime | None = None


class Instance(Answer):
    """One way of computing a variable."""

    name: str
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    id: Text = ""


class Variable(Answer):
    """What is measured, and the format it is delivered in."""

    name: str
    unit: Text = ""
    description: Text = ""
    dtype: str
    nodata: Number
    min_value: Number
    max_value: Number
    bands: list[str] = Field(default_factory=list)
    instances: list[Instance] = Field(default_factory=list)
    id: Text = ""


class AppliedVariable(Answer):
    """The outcome of creating or updating a variable."""

    id: Text = ""
    created: bool = False


class Record(Answer):
    """What was taken, where and when."""

    id: str
    name: str
    time: UtcDatetime
    tags: dict[str, JsonValue] = Field(default_factory=dict)


class RecordName(Answer):
    id: str
    name: str
    time: UtcDatetime


class Dataset(Answer):
    """A layer's file.

    Real value = (real_max - real_min) * ((v - min_value) / (max_value - min_value)) ** exponent + real_min.
    """

    id: str
    record: RecordName
    variable: str
    instance: str
    aoi: Text = ""
    tile: Text = ""
    layer: Text = ""
    uri: str
    size: int
    """Bytes."""
    sha256: str
    dtype: str
    nodata: Number
    min_value: Number
    max_value: Number
    real_min: Number
    real_max: Number
    exponent: float = 1.0
    bands: int = 1
    epsg: int | None = None
    shape: tuple[int, int] | None = None
    """Rows, columns."""
    transform: tuple[float, float, float, float, float, float] | None = None
    """Affine a, b, c, d, e, f."""
    footprint: dict[str, Any] | None = None
    """GeoJSON geometry, EPSG:4326."""
