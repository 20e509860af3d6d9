"""The payload: what a person posts to have an area ingested. One model, read from JSON, YAML or a dictionary.

`parse_payload` checks everything that can be checked without the deployment; whether graphs, variables and catalogues exist is the
catalogue's business.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import re
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, WithJsonSchema, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema
from shapely.geometry import MultiPolygon

from common.errors import UserError
from common.geometry import area_of_geojson
from common.product_names import Constellation, constellation_of
from common.times import UtcDatetime
from common.validation import check_storable, shown_key, validated

MAX_BYTES = 16 * 2**20
"""Of a payload's text; a country's outline at full detail is below it."""

_NAME = re.compile(r"[A-Za-z0-9_:-]{1,128}")
_LAYER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_MOST_GUESSES = 20
"""Unknown members that are compared with the known ones: finding what was meant takes its time."""
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

    constellation: Annotated[Constellation, WithJsonSchema({"type": "string", "examples": ["sentinel2"]}, mode="validation")]
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

    variable: str = Field("", max_length=128)
    instance: str = Field("", max_length=128)
    instance_id: str = Field("", max_length=64)

    @model_validator(mode="after")
    def _named(self) -> LayerTarget:
        if not self.instance_id and not (self.variable and self.instance):
            raise ValueError("needs 'variable' and 'instance' (or 'instance_id')")
        return self


class Payload(_Part):
    """A request to ingest an area."""

    name: str
    area: SkipJsonSchema[MultiPolygon] = Field(exclude=True)
    """EPSG:4326."""
    start_time: UtcDatetime
    end_time: UtcDatetime
    scene_type: SceneType
    scene_graph_name: Annotated[str, Field(min_length=1, max_length=512)]
    tile_graph_name: Annotated[str, Field(min_length=1, max_length=512)]
    graph_config: dict[str, ScalarText] = Field(default_factory=dict)
    layers: dict[str, LayerTarget] = Field(default_factory=dict)
    record_tags: dict[str, ScalarText] = Field(default_factory=dict)
    annotations_urls: list[Annotated[str, Field(max_length=4096)]] = Field(default_factory=list, max_length=16)
    is_retriable: StrictBool = False
    retry_count: Annotated[StrictInt, Field(ge=0, le=100)] = 0
    storage_uri: str = Field("", max_length=1024)
    page: Annotated[StrictInt, Field(ge=0, le=1_000_000)] = 0
    limit: Annotated[StrictInt, Field(ge=0, le=100_000)] = 0
    """0: all."""
    priority: Annotated[StrictInt, Field(ge=-1000, le=1000)] = 1
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
            if not _LAYER.fullmatch(layer) or ".." in layer:
                raise ValueError(f"{layer[:80]!r} is not a name for a layer (letters, digits and _ . -)")
        return value

    @field_validator("graph_config", "record_tags")
    @classmethod
    def _sane_keys(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            if not key or len(key) > 128 or "\x00" in key + text:
                raise ValueError(f"{key[:80]!r} is not a usable name (1 to 128 characters) or its value holds a NUL character")
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
    unknown = (key for key in document if key not in Payload.model_fields and key not in _GEOJSON_MEMBERS and len(key) <= 40)
    for key in itertools.islice(unknown, _MOST_GUESSES):
        guesses = difflib.get_close_matches(key, Payload.model_fields.keys() - {"area"}, n=1, cutoff=0.75)
        if guesses:
            raise UserError(f"unknown field; did you mean '{guesses[0]}'?", field=shown_key(key))
    missing = [
        key for key in ("name", "start_time", "end_time", "scene_type", "scene_graph_name", "tile_graph_name") if key not in document
    ]
    if missing:
        raise UserError(f"missing; required are also {', '.join(missing[1:])}" if missing[1:] else "missing", field=missing[0])
    return validated(Payload, {**document, "area": area_of_geojson(document)})


def decode(
    source: bytes | str, *, allow_yaml: bool = False, where: str = "area", within: str = "", max_bytes: int = MAX_BYTES
) -> dict[str, Any]:
    """The JSON (or YAML) object of a text, of values that can be kept.

    Raises UserError: of the text as a whole it names `where`, of a member its path, below `within`.
    """
    if len(source) > max_bytes:
        raise UserError(f"larger than {max_bytes // 2**20} MB", field=where)
    try:
        text = source.decode("utf-8-sig") if isinstance(source, bytes) else source
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", field=where) from None
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise UserError("nested too deeply", field=where) from None
    except ValueError as error:
        if not allow_yaml:
            raise UserError(f"not JSON: {error}", field=where) from None
        document = _decode_yaml(text, where)
    if not isinstance(document, dict):
        raise UserError("must be a JSON object", field=where)
    check_storable(document, where=within)
    return document


def _decode_yaml(text: str, where: str) -> object:
    try:
        return json.loads(json.dumps(yaml.safe_load(text), default=_yaml_value))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"neither JSON nor YAML: {error}", field=where) from None


def _yaml_value(value: object) -> str:
    """YAML reads unquoted dates as dates."""
    isoformat = getattr(value, "isoformat", None)
    if isoformat is None:
        raise ValueError(f"{value!r} has no place in a payload")
    text: str = isoformat()
    return text if "T" in text else f"{text}T00:00:00Z"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
