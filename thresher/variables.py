"""The variables file: what a folder of payloads measures, as YAML (or JSON), and in which data format.

variables:
  - name: B04
    unit: reflectance × 10000
    description: Red, 665 nm
    dtype: uint16
    nodata: 0
    min_value: 0
    max_value: 10000
    bands: [B04]            # default: the name of the variable
    instances:
      - name: l2a
        metadata: {level: L2A}
"""

from __future__ import annotations

import math
from collections import Counter

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from common.errors import UserError
from common.validation import validated
from thresher.answers import Instance, Variable

DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64", "complex64")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _InstanceEntry(_Entry):
    name: str = Field(min_length=1)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class _VariableEntry(_Entry):
    name: str = Field(min_length=1)
    unit: str = ""
    description: str = ""
    dtype: str
    nodata: float = math.nan
    min_value: float
    max_value: float
    bands: list[str] = Field(default_factory=list)
    instances: list[_InstanceEntry] = Field(min_length=1)

    @model_validator(mode="after")
    def _sound(self) -> _VariableEntry:
        if self.dtype not in DTYPES:
            raise UserError(f"'{self.dtype}' is not one of {', '.join(DTYPES)}", field="dtype")
        if not self.min_value < self.max_value:
            raise UserError(f"min_value {self.min_value:g} must be less than max_value {self.max_value:g}", field="min_value")
        names = [instance.name for instance in self.instances]
        if len(set(names)) != len(names):
            raise UserError("an instance is given twice", field="instances")
        return self


def read_variables(text: str) -> list[Variable]:
    """The variables of a file; raises UserError naming the field (`variables.B04.dtype`)."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"not YAML: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("variables"), list) or not document["variables"]:
        raise UserError("must be a list of variables", field="variables")
    unknown = [str(key) for key in document if key != "variables"]
    if unknown:
        raise UserError("is not known here; a variables file holds only 'variables'", field=unknown[0])
    entries = [_entry(index, entry) for index, entry in enumerate(document["variables"])]
    for entry, count in Counter(entry.name for entry in entries).items():
        if count > 1:
            raise UserError("is given twice", field=f"variables.{entry}")
    return [_as_variable(entry) for entry in entries]


def _entry(index: int, document: object) -> _VariableEntry:
    name = document.get("name") if isinstance(document, dict) else None
    where = f"variables.{name if isinstance(name, str) else index}"
    try:
        return validated(_VariableEntry, document, where=where)
    except UserError as error:
        if error.field is None or error.field.startswith(where):
            raise
        raise UserError(error.detail, field=f"{where}.{error.field}") from None


def _as_variable(entry: _VariableEntry) -> Variable:
    return Variable(
        name=entry.name,
        unit=entry.unit,
        description=entry.description,
        dtype=entry.dtype,
        nodata=entry.nodata,
        min_value=entry.min_value,
        max_value=entry.max_value,
        bands=entry.bands or [entry.name],
        instances=[Instance(name=instance.name, metadata=instance.metadata) for instance in entry.instances],
    )
