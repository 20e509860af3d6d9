"""Bad variables: every one is refused, and those that are there stay as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fixtures_bad_input import HALF, NUL, Case, check_refused
from fixtures_services import RunningCatalogue
from fixtures_workflow import VARIABLE

pytestmark = pytest.mark.asyncio(loop_scope="module")


def variable(name: str, field: str | None, /, *, at: str = "w", **changes: Any) -> Case:
    body = json.dumps({**VARIABLE, "name": "w", **changes})
    return Case(name, body.encode(), field, path=f"/cube/variables/{at}", method="PUT")


def variable_text(name: str, field: str | None, body: bytes, status: int = 400, **headers: str) -> Case:
    return Case(name, body, field, status, headers, path="/cube/variables/w", method="PUT")


VARIABLES = [
    variable("name-differs", "name", at="x"),
    variable("name-type", "name", name=5),
    variable("name-null", "name", name=None),
    variable("name-empty", "name", name=""),
    variable("name-slash", "name", name="a/b", at="a%2Fb"),
    variable("name-long", "name", name="a" * 129, at="a" * 129),
    variable("name-traversal", "name", name="../v", at="..%2Fv"),
    variable("unknown-field", "colour", colour="red"),
    variable("dtype-unknown", "dtype", dtype="float128"),
    variable("dtype-type", "dtype", dtype=8),
    variable("dtype-long", "dtype", dtype="a" * 10_000),
    variable("min-over-max", "min_value", min_value=300, max_value=255),
    variable("min-does-not-fit", "min_value", min_value=-1),
    variable("max-does-not-fit", "max_value", max_value=256),
    variable("nodata-does-not-fit", "nodata", nodata=1000),
    variable("nodata-type", "nodata", nodata="none"),
    variable("min-boolean", "min_value", min_value=False),
    variable("min-null", "min_value", min_value=None),
    variable("min-nan", "min_value", min_value="nan"),
    variable("max-infinite", "max_value", max_value="inf"),
    variable("max-over-64-bits", "max_value", max_value=10**400, dtype="float64"),
    variable("bands-empty", "bands", bands=[]),
    variable("bands-type", "bands", bands="red"),
    variable("band-type", "bands.0", bands=[1]),
    variable("bands-many", "bands", bands=["b"] * 513),
    variable("unit-long", "unit", unit="m" * 129),
    variable("unit-nul", "unit", unit=NUL),
    variable("unit-half-pair", "unit", unit=HALF),
    variable("description-long", "description", description="a" * 5000),
    variable("instances-type", "instances", instances={"name": "i"}),
    variable("instances-twice", "instances", instances=[{"name": "i"}, {"name": "i"}]),
    variable("instance-type", "instances.0", instances=["i"]),
    variable("instance-name", "instances.0.name", instances=[{"name": "a b"}]),
    variable("instance-without-name", "instances.0.name", instances=[{}]),
    variable("instance-metadata", "instances.0.metadata", instances=[{"name": "i", "metadata": []}]),
    variable("instance-metadata-nul", "instances.0.metadata.a.0", instances=[{"name": "i", "metadata": {"a": [NUL]}}]),
    variable("instance-metadata-half-pair", "instances.0.metadata.\\ud800", instances=[{"name": "i", "metadata": {HALF: 1}}]),
    variable_text("not-json", "body", b"name: w"),
    variable_text("array", "body", b"[]"),
    variable_text("empty", "body", b""),
    variable_text("nan", "body", b'{"name": "w", "dtype": "uint8", "min_value": NaN}'),
    variable_text("1e400", "min_value", b'{"name": "w", "dtype": "float32", "min_value": -1e400, "max_value": 1}'),
    variable_text("invalid-utf-8", "body", b"\xff\xfe"),
    variable_text("deep", "body", b"[" * 100_000),
    variable_text("50-mb", "body", b"a" * 50 * 2**20, 413),
    variable_text("gzip-declared-but-not", "body", b"{}", **{"Content-Encoding": "gzip"}),
]


@pytest.mark.parametrize("case", VARIABLES, ids=lambda case: case.name)
async def test_bad_variable(assailed: RunningCatalogue, case: Case) -> None:
    before = await assailed.database.fetch("SELECT v.*, i.* FROM variable v JOIN instance i ON i.variable_id = v.id")
    await check_refused(assailed, case)
    assert await assailed.database.fetch("SELECT v.*, i.* FROM variable v JOIN instance i ON i.variable_id = v.id") == before
