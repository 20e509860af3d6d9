"""The JSON of a processing graph, field by field as the reference defines it, checked before anything runs.

A graph is data from outside: names that could leave the working directory, absolute commands and oversized documents are refused.
"""

from __future__ import annotations

import json
import math
import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from common.errors import UserError
from common.graph.formats import parse_dtype, parse_raster_format, raster_format
from common.graph.tiles import SLOTS
from common.messages import RasterFormat
from common.validation import validated

MAX_BYTES = 2**20
"""Of a graph's text; the largest of the reference has 8 kB."""

ALL = "*"
"""As a layer of an argument: passed literally. As an extension: the whole working directory."""

PRODUCT_MEMBERS = "product_members"
"""Of a payload's configuration: overrides what the graph says."""

SWATH = "{swath}"
"""In a pattern of product members: each sub-swath that the tiles of the scene are of."""

_LAYER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_EXTENSION = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,15})?|\*")
_MEMBER = re.compile(r"[A-Za-z0-9_*?\[][A-Za-z0-9_.*?!\[\]/ -]{0,255}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_COMMAND = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]{0,511}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]{0,511}")
_SUBSTITUTION = re.compile(r"\$[({]|`")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}(?:=.*)?", re.DOTALL)
_MEMORY_CLASS = re.compile(r"(?:[a-z][a-z0-9]{0,15})?")


class EngineName(StrEnum):
    """What runs the command of a step."""

    PYTHON = "python"
    SNAP = "snap"
    CMD = "cmd"
    DOCKER = "docker"


class Condition(StrEnum):
    """When a file is handled or a step runs. The tile conditions come first; steps know only these."""

    PASS = "pass"  # noqa: S105 - not a password
    DIFFERENT_T0_T1 = "different_T0_T1"
    DIFFERENT_T0_T2 = "different_T0_T2"
    DIFFERENT_T1_T2 = "different_T1_T2"
    EQUAL_T0_T1 = "equal_T0_T1"
    EQUAL_T0_T2 = "equal_T0_T2"
    EQUAL_T1_T2 = "equal_T1_T2"
    FILE_EXISTS = "file_exists"
    FILE_NOT_EXIST = "file_not_exist"
    ON_FAILURE = "on_failure"
    ON_FATAL_FAILURE = "on_fatal_failure"

    @property
    def is_file_condition(self) -> bool:
        return self in (Condition.FILE_EXISTS, Condition.FILE_NOT_EXIST)

    @property
    def is_error_condition(self) -> bool:
        return self in (Condition.ON_FAILURE, Condition.ON_FATAL_FAILURE)

    @property
    def is_tile_condition(self) -> bool:
        return not (self.is_file_condition or self.is_error_condition)


class Action(StrEnum):
    """What happens to an out file."""

    IGNORE = "to_ignore"
    CREATE = "to_create"
    INDEX = "to_index"
    DELETE = "to_delete"


class TileValue(StrEnum):
    """What an argument may take from the tile."""

    SCENE = "scene"
    DATE = "date"
    SWATH = "swath"
    NUMBER = "number"
    COHDATE = "cohdate"
    CONSTELLATION = "constellation"


def _plain(text: str) -> str:
    if "\x00" in text:
        raise ValueError("a NUL character has no place in a graph")
    return text


def _literal(text: str) -> str:
    """A value is passed as it stands: whoever writes a substitution expects something else, or means harm."""
    if found := _SUBSTITUTION.search(text):
        raise ValueError(f"{text[:80]!r} holds {found[0]!r}: values are passed literally, nothing in them is ever replaced or executed")
    return _plain(text)


def _environment(text: str) -> str:
    if not _ENVIRONMENT.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is neither NAME=value nor the name of an environment variable")
    return _plain(text)


def _memory_class(text: str) -> str:
    if not _MEMORY_CLASS.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not the name of a memory class (lower-case letters and digits)")
    return text


def _layer(text: str) -> str:
    if not _LAYER.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a name for a layer (letters, digits and _ . -)")
    return text


def _layer_or_all(text: str) -> str:
    return text if text == ALL else _layer(text)


def _extension(text: str) -> str:
    if not _EXTENSION.fullmatch(text) or ".." in text:
        raise ValueError(f"{text[:80]!r} is not a file extension (letters, digits and _ . -, or '*')")
    return text


def _member_pattern(text: str) -> str:
    if not _MEMBER.fullmatch(text.replace(SWATH, "iw1")) or ".." in text.split("/"):
        raise ValueError(f"{text[:80]!r} is no pattern of files in a product, such as 'annotation/*' or 'measurement/*vv*'")
    return text


def _empty_is_pass(value: object) -> object:
    return Condition.PASS if value == "" else value


def _none_is_list(value: object) -> object:
    return [] if value is None else value


def _none_is_map(value: object) -> object:
    return {} if value is None else value


Text = Annotated[str, Field(max_length=4096), AfterValidator(_plain)]
Value = Annotated[str, Field(max_length=4096), AfterValidator(_literal)]
EnvironmentEntry = Annotated[str, Field(max_length=4096), AfterValidator(_environment)]
Layer = Annotated[str, AfterValidator(_layer)]
Extension = Annotated[str, AfterValidator(_extension)]
MemberPattern = Annotated[str, AfterValidator(_member_pattern)]
AnyCondition = Annotated[Condition, BeforeValidator(_empty_is_pass)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=True)


class FixedArg(_Part):
    """A value written in the graph."""

    type: Literal["fixed"]
    value: Value


class ConfigArg(_Part):
    """A value of the configuration, by its key."""

    type: Literal["config"]
    value: Text


class TileArg(_Part):
    """A property of the current tile."""

    type: Literal["tile"]
    value: TileValue


class InArg(_Part):
    """The file name of an input layer of one of the three tiles."""

    type: Literal["in"]
    tile_index: Annotated[int, Field(ge=0, lt=SLOTS)] = 0
    layer: Annotated[str, AfterValidator(_layer_or_all)]
    extension: Extension


class OutArg(_Part):
    """The file name of an output layer of the current tile."""

    type: Literal["out"]
    layer: Annotated[str, AfterValidator(_layer_or_all)]
    extension: Extension


Argument = Annotated[FixedArg | ConfigArg | TileArg | InArg | OutArg, Field(discriminator="type")]
FormatArgument = Annotated[FixedArg | ConfigArg, Field(discriminator="type")]


class Step(_Part):
    """One command."""

    engine: EngineName
    command: Text
    args: Annotated[dict[str, Argument], BeforeValidator(_none_is_map), Field(max_length=200)] = Field(default_factory=dict)
    condition: AnyCondition = Condition.PASS

    @field_validator("args")
    @classmethod
    def _sane_names(cls, value: dict[str, Argument]) -> dict[str, Argument]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name[:80]!r} is not a name for an argument (letters, digits and _ . -)")
        return value

    @field_validator("condition")
    @classmethod
    def _about_tiles(cls, value: Condition) -> Condition:
        if not value.is_tile_condition:
            known = ", ".join(condition for condition in Condition if condition.is_tile_condition)
            raise ValueError(f"'{value}' is no condition for a step; these are: {known}")
        return value

    @model_validator(mode="after")
    def _command_stays_inside(self) -> Step:
        pattern = _IMAGE if self.engine is EngineName.DOCKER else _COMMAND
        if not pattern.fullmatch(self.command) or ".." in self.command.split("/"):
            kind = "an image" if self.engine is EngineName.DOCKER else "a path relative to the graph folders, without '..'"
            raise ValueError(f"command {self.command[:80]!r} must be {kind}")
        return self


class InFile(_Part):
    """A stored layer to fetch before the steps run. With a condition that is not about tiles it is never fetched, as in the reference."""

    layer: Layer
    extension: Extension
    condition: AnyCondition = Condition.PASS


class OutFile(_Part):
    """A file to handle after the steps have run."""

    layer: Layer
    extension: Extension
    action: Action = Action.IGNORE
    dformat_out: FormatArgument | None = None
    datatype: str = ""
    nodata: float = 0.0
    min_value: float = 0.0
    max_value: float = 0.0
    ext_min_value: float = 0.0
    ext_max_value: float = 0.0
    exponent: float = 1.0
    nbands: Annotated[int, Field(ge=1, le=10_000)] = 1
    condition: AnyCondition = Condition.PASS
    error_condition: AnyCondition = Condition.PASS
    """Only the two error conditions mean something here; anything else counts as none."""

    @field_validator("ext_min_value", "ext_max_value", "exponent")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        return value

    @model_validator(mode="after")
    def _indexed_has_format(self) -> OutFile:
        if self.action is not Action.INDEX:
            return self
        if self.dformat_out is None and not self.datatype:
            raise ValueError(f"layer '{self.layer}' is to be indexed: it needs 'dformat_out' or 'datatype'")
        if isinstance(self.dformat_out, FixedArg):
            parse_raster_format(self.dformat_out.value)
        elif self.dformat_out is None:
            self.own_format()
        return self

    def own_format(self) -> RasterFormat:
        """The format of `datatype, nodata, min_value, max_value`; raises ValueError."""
        return raster_format(parse_dtype(self.datatype), self.nodata, self.min_value, self.max_value)


FileList = Annotated[list[InFile], BeforeValidator(_none_is_list), Field(max_length=1000)]
OutFileList = Annotated[list[OutFile], BeforeValidator(_none_is_list), Field(max_length=1000)]


class GraphDocument(_Part):
    """A processing graph."""

    config: Annotated[dict[str, Value], BeforeValidator(_none_is_map), Field(max_length=1000)] = Field(default_factory=dict)
    product_members: Annotated[list[MemberPattern], BeforeValidator(_none_is_list), Field(max_length=200)] = Field(default_factory=list)
    """Of a scene graph: the files of the product it needs, as patterns below the product's folder (`annotation/*`) or asset keys; none:
    all of it. An addition of ours."""
    envs: Annotated[list[EnvironmentEntry], BeforeValidator(_none_is_list), Field(max_length=200)] = Field(default_factory=list)
    """Of containers: `NAME=value`, or the name of a variable of the worker that is on its white list."""
    memory_class: Annotated[str, AfterValidator(_memory_class)] = ""
    """What its steps need, as the deployment defines it (`graphs.memory_classes`). An addition of ours."""
    processing_steps: Annotated[list[Step], BeforeValidator(_none_is_list), Field(max_length=200)] = Field(default_factory=list)
    in_files: Annotated[list[FileList], BeforeValidator(_none_is_list), Field(max_length=SLOTS)] = Field(default_factory=list)
    out_files: Annotated[list[OutFileList], BeforeValidator(_none_is_list), Field(max_length=SLOTS)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _default_formats(self) -> GraphDocument:
        for slot, files in enumerate(self.out_files):
            for index, file in enumerate(files):
                if isinstance(file.dformat_out, ConfigArg) and file.dformat_out.value in self.config:
                    try:
                        parse_raster_format(self.config[file.dformat_out.value])
                    except ValueError as error:
                        raise ValueError(f"out_files.{slot}.{index} takes config.{file.dformat_out.value}: {error}") from None
        return self


def parse_graph(text: str | bytes, name: str) -> GraphDocument:
    """The graph of a JSON text; raises UserError naming the graph, the step or file, and the key."""
    where = f"graph '{name}'"
    if len(text) > MAX_BYTES:
        raise UserError(f"larger than {MAX_BYTES // 2**20} MB", field=where)
    try:
        document: Any = _lower_keys(json.loads(text))
    except RecursionError:
        raise UserError("nested too deeply", field=where) from None
    except ValueError as error:
        raise UserError(f"not JSON: {error}", field=where) from None
    if not isinstance(document, dict):
        raise UserError("must be a JSON object", field=where)
    return validated(GraphDocument, document, where=where)


def _lower_keys(value: Any) -> Any:
    """Keys in lower case: the reference reads them in any. Those of settings and arguments are names of their own; exact spellings win."""
    if isinstance(value, list):
        return [_lower_keys(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    lower: dict[str, Any] = {}
    for key, inner in sorted(value.items(), key=lambda item: item[0].islower()):
        match key.lower():
            case "config":
                lower["config"] = inner
            case "args" if isinstance(inner, dict):
                lower["args"] = {name: _lower_keys(argument) for name, argument in inner.items()}
            case name:
                lower[name] = _lower_keys(inner)
    return lower
