"""What the catalogue and the workers say to each other over NATS: jobs out, results back.

JSON on the wire. `version` is this program's; a reader understands one version back. A job message is self-contained: workers have no
database.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from common.errors import ErrorKind
from common.features import SceneMetadata, TilePlace
from common.times import UtcDatetime

VERSION = 1


class Message(BaseModel):
    """A value on the wire; keys of newer versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = VERSION


class JobKind(StrEnum):
    SCENE = "scene"
    TILE = "tile"


class SceneRef(BaseModel):
    """A scene as a graph needs to know it."""

    model_config = ConfigDict(frozen=True)

    id: int
    source_id: str
    aoi: str
    date: UtcDatetime
    storage_uri: str = ""
    """Where the payload wants its files; empty: the default storage of the worker."""
    metadata: SceneMetadata = SceneMetadata()


class TileRef(BaseModel):
    """A tile and its scene, as a graph needs to know them."""

    model_config = ConfigDict(frozen=True)

    id: int
    source_id: str
    scene: SceneRef
    place: TilePlace = TilePlace()


class JobMessage(Message):
    """What every job carries."""

    job: UUID
    send: int
    """Which sending of this job this is; a result names it."""
    is_retriable: bool = False
    graph_name: str
    graph_config: dict[str, str] = Field(default_factory=dict)
    layers: list[str] = Field(default_factory=list)
    """The layers the payload asks for; steps may leave out the others."""
    clip_wkt: str | None = None
    """The AOI (EPSG:4326), where the layers are to be cut to it."""


class SceneJob(JobMessage):
    """Fetch a scene and run its scene graph once for each of its tiles."""

    kind: Literal["scene"] = "scene"
    scene: SceneRef
    tiles: list[TileRef]


class TileJob(JobMessage):
    """Run the tile graph on a tile. `previous` and `reference` are None where the tile begins its series."""

    kind: Literal["tile"] = "tile"
    tile: TileRef
    previous: TileRef | None = None
    reference: TileRef | None = None
    instances: dict[str, str] = Field(default_factory=dict)
    """layer -> instance id: the layers to index."""


Job = SceneJob | TileJob


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    FAILED = "failed"
    RELEASED = "released"
    """The worker is stopping and hands the job back untouched."""
    POISONED = "poisoned"
    """Delivered too often without an end: reported without running."""


class StoredFile(BaseModel):
    """A file in storage and what proves its content."""

    model_config = ConfigDict(frozen=True)

    uri: str
    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""


class RasterFormat(BaseModel):
    """Format of the pixels of a raster: type, no-data value and the range of valid values."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    dtype: str
    """NumPy name: uint8, int16, float32, complex64 …"""
    nodata: float
    """May be NaN, also for integers: then the raster has no no-data value."""
    min_value: float
    max_value: float


class LayerStatistics(BaseModel):
    """Of the valid pixels of a band, as they stand in the file: scale and offset are not applied."""

    model_config = ConfigDict(frozen=True)

    minimum: float | None = None
    """None, as maximum, mean and deviation, where no pixel is valid or pixels are complex."""
    maximum: float | None = None
    mean: float | None = None
    stddev: float | None = None
    """Of the population."""
    valid_percent: float | None = None
    """0 to 100: pixels that are not no-data."""


class DatasetReport(BaseModel):
    """A layer's file to index under (record of the scene, `instance_id`) for the tile.

    Real value = (real_max - real_min) * ((v - min) / (max - min)) ** exponent + real_min.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    layer: str
    tile_id: int
    """The tile the layer belongs to (normally the job's own)."""
    instance_id: str
    file: StoredFile
    format: RasterFormat
    real_min: float
    real_max: float
    exponent: float = 1.0
    bands: int = 1
    epsg: int | None = None
    shape: tuple[int, int] | None = None
    """Rows, columns."""
    transform: tuple[float, float, float, float, float, float] | None = None
    """Affine a, b, c, d, e, f: x = a*col + b*row + c, y = d*col + e*row + f, in the units of the CRS."""
    footprint_wkt: str | None = None
    """EPSG:4326."""
    statistics: list[LayerStatistics] = Field(default_factory=list)
    """One a band; empty where nobody counted."""


class JobResult(Message):
    """The end of one attempt. The first result of a job wins; the catalogue drops the others and sweeps their files."""

    job: UUID
    send: int
    kind: JobKind
    worker: str
    outcome: Outcome
    error_kind: ErrorKind | None = None
    message: str = ""
    retry_after_s: float | None = None
    """Of a temporary failure: seconds before which another attempt is no use."""
    files: list[StoredFile] = Field(default_factory=list)
    """Layers stored under a key of this job, indexed or not; swept if this attempt loses."""
    datasets: list[DatasetReport] = Field(default_factory=list)
    deletions: list[str] = Field(default_factory=list)
    """URIs the graph no longer needs; deleted by the catalogue after its commit."""
    log: str = ""
    """URI of what the steps printed; empty: none was kept."""
    started_at: UtcDatetime
    ended_at: UtcDatetime
    deliveries: int = 1
    """How often the broker had given this sending out: with more than one, other executions may have left files."""


class JobProgress(Message):
    """How far an attempt is: core NATS, for display only; may be lost."""

    job: UUID
    send: int
    worker: str
    state: Literal["started", "running"] = "running"
    step: str = ""
    done: float = 0.0
    """0 to 1."""
    bytes_done: int | None = None
    """Of a download: those that are there."""
    bytes_total: int | None = None
    bytes_per_s: float | None = None
    """Over the last seconds."""
    note: str = ""
