"""Variables (what is measured, and its data format) and their instances (one way of computing it)."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Self
from uuid import UUID

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from catalogue.database import Connection
from common.errors import ConflictError, NotFoundError, UserError
from common.payload import LayerTarget

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")

DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64", "complex64")


def _number(value: object) -> object:
    """JSON has no NaN: it is written as the text `NaN`."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return float(value) if isinstance(value, str) and value.lower() in ("nan", "inf", "-inf") else value


Number = Annotated[
    float,
    BeforeValidator(_number),
    PlainSerializer(lambda value: value if math.isfinite(value) else str(value), when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]}),
]


class InstanceSpec(BaseModel):
    """One way of computing a variable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    metadata: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        return _plain_name(value)


class VariableSpec(BaseModel):
    """What is measured: unit, bands and the default format of its layers' pixels."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "CloudMask", "dtype": "uint8", "min_value": 0, "max_value": 1, "instances": [{"name": "Fmask"}]}]
        },
    )

    name: str
    unit: str = Field("", max_length=128)
    description: str = Field("", max_length=4096)
    dtype: str
    nodata: Number = Field(default_factory=lambda: math.nan)
    min_value: Number
    max_value: Number
    bands: list[str] = Field(default_factory=lambda: [""], min_length=1, max_length=512)
    instances: list[InstanceSpec] = Field(default_factory=list, max_length=1000)

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        return _plain_name(value)

    @field_validator("unit", "description", "bands")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        if "\x00" in "".join(value):
            raise ValueError("holds a NUL character")
        return value

    @field_validator("dtype")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in DTYPES:
            raise ValueError(f"'{value[:40]}' is not one of {', '.join(DTYPES)}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.min_value < self.max_value:
            raise UserError(f"{self.min_value:g} must be less than max_value {self.max_value:g}", field="min_value")
        if np.issubdtype(np.dtype(self.dtype), np.integer):
            info = np.iinfo(self.dtype)
            for key, value in (("min_value", self.min_value), ("max_value", self.max_value), ("nodata", self.nodata)):
                if not (key == "nodata" and math.isnan(value)) and not info.min <= value <= info.max:
                    raise UserError(f"{value:g} does not fit into {self.dtype}", field=key)
        names = [instance.name for instance in self.instances]
        if len(names) != len(set(names)):
            raise UserError("a name stands twice", field="instances")
        return self


class Instance(InstanceSpec):
    id: UUID


class Variable(BaseModel):
    """A variable as it is stored."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    name: str
    unit: str
    description: str
    dtype: str
    nodata: Number
    min_value: Number
    max_value: Number
    bands: list[str]
    instances: list[Instance]


async def apply_variable(connection: Connection, spec: VariableSpec) -> tuple[Variable, bool]:
    """Create the variable, or make the one of this name as `spec` says; instances are added, never removed. And whether it is new.

    Raises ConflictError if the format would change under datasets that exist.
    """
    async with connection.transaction():
        created = await connection.fetchval(
            """INSERT INTO variable (name, unit, description, dtype, nodata, min_value, max_value, bands)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING RETURNING true""",
            *_columns(spec),
        )
        if not created:
            await _update(connection, spec)
        await connection.executemany(
            """INSERT INTO instance (variable_id, name, metadata) SELECT id, $2, $3 FROM variable WHERE name = $1
               ON CONFLICT (variable_id, name) DO UPDATE SET metadata = excluded.metadata""",
            [(spec.name, instance.name, instance.metadata) for instance in spec.instances],
        )
        return await get_variable(connection, spec.name), bool(created)


async def list_variables(connection: Connection) -> list[Variable]:
    """All of them, by name."""
    return await _variables(connection)


async def get_variable(connection: Connection, name: str) -> Variable:
    """Raises NotFoundError."""
    found = await _variables(connection, name)
    if not found:
        raise NotFoundError(f"there is no variable '{name[:100]}'", field="name")
    return found[0]


async def resolve_layers(connection: Connection, layers: dict[str, LayerTarget]) -> dict[str, str]:
    """layer -> id of the instance it is indexed in. Raises one UserError naming every layer whose instance is missing."""
    by_name = {
        (row["variable"], row["instance"]): str(row["id"])
        for row in await connection.fetch(
            """SELECT v.name AS variable, i.name AS instance, i.id
               FROM instance i JOIN variable v ON v.id = i.variable_id WHERE v.name = ANY($1)""",
            [target.variable for target in layers.values()],
        )
    }
    known = {
        str(row["id"])
        for row in await connection.fetch(
            "SELECT id FROM instance WHERE id::text = ANY($1)", [target.instance_id.lower() for target in layers.values()]
        )
    }
    found: dict[str, str] = {}
    missing: list[str] = []
    for layer, target in layers.items():
        if target.instance_id:
            instance, name = target.instance_id.lower(), f"instance_id {target.instance_id[:60]}"
            instance = instance if instance in known else ""
        else:
            instance, name = by_name.get((target.variable, target.instance), ""), f"{target.variable}.{target.instance}"
        if instance:
            found[layer] = instance
        else:
            missing.append(f"{layer} → {name[:200]}")
    if missing:
        raise UserError(
            f"these variable instances do not exist: {'; '.join(missing)} (create them with PUT /cube/variables/NAME"
            " or `thresher variables apply FILE`)",
            field=f"layers.{missing[0].split(' ')[0]}",
        )
    return found


async def _update(connection: Connection, spec: VariableSpec) -> None:
    row = await connection.fetchrow("SELECT * FROM variable WHERE name = $1 FOR UPDATE", spec.name)
    assert row is not None
    old_format = (row["dtype"], repr(row["nodata"]), row["min_value"], row["max_value"], len(row["bands"]))
    new_format = (spec.dtype, repr(spec.nodata), spec.min_value, spec.max_value, len(spec.bands))
    if old_format != new_format and await connection.fetchval(
        "SELECT EXISTS (SELECT FROM dataset d JOIN instance i ON i.id = d.instance_id WHERE i.variable_id = $1)", row["id"]
    ):
        raise ConflictError(f"its format cannot change: datasets of '{spec.name}' exist", field="dtype")
    await connection.execute(
        """UPDATE variable SET unit = $2, description = $3, dtype = $4, nodata = $5, min_value = $6, max_value = $7, bands = $8
           WHERE name = $1""",
        *_columns(spec),
    )


async def _variables(connection: Connection, name: str | None = None) -> list[Variable]:
    rows = await connection.fetch(
        """SELECT v.*, coalesce(jsonb_agg(jsonb_build_object('id', i.id, 'name', i.name, 'metadata', i.metadata) ORDER BY i.name)
                   FILTER (WHERE i.id IS NOT NULL), '[]') AS instances
           FROM variable v LEFT JOIN instance i ON i.variable_id = v.id
           WHERE $1::text IS NULL OR v.name = $1 GROUP BY v.id ORDER BY v.name""",
        name,
    )
    return [Variable.model_validate(dict(row)) for row in rows]


def _columns(spec: VariableSpec) -> tuple[object, ...]:
    return (spec.name, spec.unit, spec.description, spec.dtype, spec.nodata, spec.min_value, spec.max_value, spec.bands)


def _plain_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"'{value[:80]}' must be 1 to 128 letters, digits and _ . : -")
    return value
