"""The payload: what a person posts to have an area ingested. One model, read from JSON, YAML or a dictionary.

`parse_payload` checks everything that can be checked without the deployment; whether graphs, variables and catalogues exist is the
catalogue's business.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from shapely.geometry import MultiPolygon

from common.errors import UserError
from common.geometry import area_of_geojson
from common.product_names import Constellation, constellation_of
from common.times import UtcDatetime
from common.validation import validated

MAX_BYTES = 16 * 2**20
"""Of a payload's text; a country's outline at full detail is below it."""

_NAME = re.compile(r"[A-Za-z0-9_:-]{1,128}")
_LAYER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_GEOJSON_MEMBERS = {"type", "features", "geometry", "geometries", "coordinates", "properties", "bbox", "id", "crs"}


def _scalar_to_text(value: object) -> object:
    """Numbers and booleans are as good as their text: people write `resolution: 20`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return str(value) if isinstance(value, int | float) else value


ScalarText = Annotated[str, BeforeValidator(_scalar_to_text), Field(max_length=4096)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)


class SceneType(_Part):
    """Which products: the constellation and the search parameters, their names in lower case."""

    constellation: Constellation
    parameters: dict[str, ScalarText] = Field(default_factory=dict)

    @field_validator("constellation", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        if isinstance(value, str):
            return constellation_of(value)
        raise ValueError("must be a text, such as 'sentinel2'")

    @field_validator("parameters", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        if value is None:
            return {}
        return {str(key).lower(): item for key, item in value.items()} if isinstance(value, dict) else value


class LayerTarget(_Part):
    """Where a layer is indexed: an instance of a variable, by names or by id."""

    variable: str = ""
    instance: str = ""
    instance_id: str = ""

    @model_validator(mode="after")
    def _named(self) -> LayerTarget:
        if not self.instance_id and not (self.variable and self.instance):
            raise ValueError("needs 'variable' and 'instance' (or 'instance_id')")
        return self


class Payload(_Part):
    """A request to ingest an area."""

    name: str
    area: MultiPolygon = Field(exclude=True)
    """EPSG:4326."""
    start_time: UtcDatetime
    end_time: UtcDatetime
    scene_type: SceneType
    scene_graph_name: Annotated[str, Field(min_length=1, max_length=512)]
    tile_graph_name: Annotated[str, Field(min_length=1, max_length=512)]
    graph_config: dict[str, ScalarText] = Field(default_factory=dict)
    layers: dict[str, LayerTarget] = Field(default_factory=dict)
    record_tags: dict[str, ScalarText] = Field(default_factory=dict)
    annotations_urls: list[str] = Field(default_factory=list, max_length=16)
    is_retriable: bool = False
    retry_count: Annotated[int, Field(ge=0, le=100)] = 0
    storage_uri: str = ""
    page: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=0, le=100_000)] = 0
    """0: all."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 1
    """Higher runs first."""

    @field_validator("graph_config", "layers", "record_tags", "annotations_urls", "storage_uri", mode="before")
    @classmethod
    def _null_is_absent(cls, value: object, info: Any) -> object:
        if value is None:
            return "" if info.field_name == "storage_uri" else [] if info.field_name == "annotations_urls" else {}
        return value

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"{value[:80]!r} must be 1 to 128 letters, digits and - : _")
        return value

    @field_validator("layers")
    @classmethod
    def _plain_layers(cls, value: dict[str, LayerTarget]) -> dict[str, LayerTarget]:
        for layer in value:
            if not _LAYER.fullmatch(layer):
                raise ValueError(f"{layer[:80]!r} is not a name for a layer (letters, digits and _ . -)")
        return value

    @field_validator("graph_config", "record_tags")
    @classmethod
    def _sane_keys(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            if not key or len(key) > 128 or "\x00" in key + text:
                raise ValueError(f"{key[:80]!r} is not a usable name or its value holds a NUL character")
        return value

    @model_validator(mode="after")
    def _dates_in_order(self) -> Payload:
        if self.end_time <= self.start_time:
            raise UserError(f"{self.end_time:%Y-%m-%d} is not after start_time {self.start_time:%Y-%m-%d}", field="end_time")
        return self


def parse_payload(source: bytes | str | dict[str, Any], *, allow_yaml: bool = False) -> Payload:
    """The payload of a JSON text (YAML too, if allowed) or an already decoded document.

    Raises UserError naming the field.
    """
    document = source if isinstance(source, dict) else decode(source, allow_yaml=allow_yaml)
    for key in document:
        if key not in Payload.model_fields and key not in _GEOJSON_MEMBERS:
            guesses = difflib.get_close_matches(key, Payload.model_fields, n=1, cutoff=0.75)
            if guesses:
                raise UserError(f"unknown field; did you mean '{guesses[0]}'?", field=key[:80])
    missing = [
        key for key in ("name", "start_time", "end_time", "scene_type", "scene_graph_name", "tile_graph_name") if key not in document
    ]
    if missing:
        raise UserError(f"missing; required are also {', '.join(missing[1:])}" if missing[1:] else "missing", field=missing[0])
    return validated(Payload, {**document, "area": area_of_geojson(document)})


def decode(source: bytes | str, *, allow_yaml: bool = False) -> dict[str, Any]:
    """The JSON (or YAML) object of a text; raises UserError saying where it breaks."""
    if len(source) > MAX_BYTES:
        raise UserError(f"larger than {MAX_BYTES // 2**20} MB", field="area")
    try:
        text = source.decode("utf-8-sig") if isinstance(source, bytes) else source
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", field="area") from None
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise UserError("nested too deeply", field="area") from None
    except ValueError as error:
        if not allow_yaml:
            raise UserError(f"not JSON: {error}", field="area") from None
        document = _decode_yaml(text)
    if not isinstance(document, dict):
        raise UserError("must be a JSON object", field="area")
    return document


def _decode_yaml(text: str) -> object:
    try:
        return json.loads(json.dumps(yaml.safe_load(text), default=_yaml_value))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"neither JSON nor YAML: {error}", field="area") from None


def _yaml_value(value: object) -> str:
    """YAML reads unquoted dates as dates."""
    isoformat = getattr(value, "isoformat", None)
    if isoformat is None:
        raise ValueError(f"{value!r} has no place in a payload")
    text: str = isoformat()
    return text if "T" in text else f"{text}T00:00:00Z"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
