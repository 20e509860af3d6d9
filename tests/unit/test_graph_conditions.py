"""Which out files are handled: the truth table of the reference, row by row."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from common.errors import ErrorKind
from common.graph.conditions import is_handled, tile_condition_holds
from common.graph.document import Condition, OutFile
from common.graph.tiles import GraphTiles
from common.messages import SceneRef, TileRef

COLUMNS = ("done", "temporary", "error", "fatal", "temporary!", "error!", "fatal!")
"""Outcome of the steps; `!`: without is_retriable."""

# condition: `holds` and `fails` stand for every tile and file condition, in that state.
TABLE = """
condition         error_condition   done  temporary error fatal  temporary! error! fatal!
holds             -                 x     .         .     .      .          .      .
holds             on_failure        x     x         x     x      x          x      x
holds             on_fatal_failure  x     .         .     x      x          x      x
fails             -                 .     .         .     .      .          .      .
fails             on_failure        .     .         .     .      .          .      .
fails             on_fatal_failure  .     .         .     .      .          .      .
on_failure        -                 .     x         x     x      x          x      x
on_failure        on_failure        .     x         x     x      x          x      x
on_failure        on_fatal_failure  .     .         .     x      x          x      x
on_fatal_failure  -                 .     .         .     x      x          x      x
on_fatal_failure  on_failure        .     .         .     x      x          x      x
on_fatal_failure  on_fatal_failure  .     .         .     x      x          x      x
"""

ALWAYS_TRUE = ("pass", "different_T0_T1", "equal_T0_T2", "different_T1_T2", "file_exists")
ALWAYS_FALSE = ("equal_T0_T1", "different_T0_T2", "equal_T1_T2", "file_not_exist")


def tile(scene: str) -> TileRef:
    return TileRef(id=1, source_id="T", scene=SceneRef(id=1, source_id=scene, aoi="a", date=datetime(2022, 1, 4, tzinfo=UTC)))


TILES = GraphTiles(tile("A"), previous=tile("B"), reference=tile("A"))


def rows() -> list[tuple[str, str, str, bool]]:
    lines = [line.split() for line in TABLE.strip().splitlines()]
    assert tuple(lines[0][2:]) == COLUMNS
    return [
        (condition, error_condition, column, cell == "x")
        for condition, error_condition, *cells in lines[1:]
        for column, cell in zip(COLUMNS, cells, strict=True)
    ]


@pytest.mark.parametrize(("condition", "error_condition", "column", "expected"), rows())
def test_truth_table(condition: str, error_condition: str, column: str, expected: bool) -> None:
    outcome = column.rstrip("!")
    failure = None if outcome == "done" else ErrorKind(outcome)
    for spelled in {"holds": ALWAYS_TRUE, "fails": ALWAYS_FALSE}.get(condition, (condition,)):
        # `pass` is the default of the reference and, like every other condition that is not about errors, counts as none here.
        for error in ("pass", "", "equal_T0_T1") if error_condition == "-" else (error_condition,):
            file = OutFile.model_validate({"layer": "a", "extension": "tif", "condition": spelled, "error_condition": error})
            handled = is_handled(file, TILES, lambda _: True, failure=failure, is_retriable="!" not in column)
            assert handled is expected, (spelled, error)


@pytest.mark.parametrize(
    ("scenes", "holding"),
    [
        ("AAA", {"equal_T0_T1", "equal_T0_T2", "equal_T1_T2"}),
        ("AAB", {"equal_T0_T1", "different_T0_T2", "different_T1_T2"}),
        ("ABA", {"different_T0_T1", "equal_T0_T2", "different_T1_T2"}),
        ("ABB", {"different_T0_T1", "different_T0_T2", "equal_T1_T2"}),
        ("ABC", {"different_T0_T1", "different_T0_T2", "different_T1_T2"}),
        ("A--", {"equal_T0_T1", "equal_T0_T2", "equal_T1_T2"}),
        ("AB-", {"different_T0_T1", "equal_T0_T2", "different_T1_T2"}),
        ("A-B", {"equal_T0_T1", "different_T0_T2", "different_T1_T2"}),
    ],
)
def test_tile_conditions(scenes: str, holding: set[str]) -> None:
    current, previous, reference = (None if scene == "-" else tile(scene) for scene in scenes)
    assert current is not None
    tiles = GraphTiles(current, previous, reference)
    assert {str(condition) for condition in Condition if tile_condition_holds(condition, tiles)} == {*holding, "pass"}
