"""Which steps run and which out files are handled: the conditions of a graph, as pure functions."""

from __future__ import annotations

from collections.abc import Callable

from common.errors import ErrorKind
from common.graph.document import Condition, OutFile
from common.graph.tiles import GraphTiles

FileExists = Callable[[OutFile], bool]
"""Whether the file of this layer is in the working directory, under the name it has for the current tile (whatever its slot)."""


def tile_condition_holds(condition: Condition, tiles: GraphTiles) -> bool:
    """Whether a tile condition holds; tiles are compared by their scene. False for any other condition."""
    if condition is Condition.PASS:
        return True
    if not condition.is_tile_condition:
        return False
    relation, first, second = condition.split("_")
    return tiles.same_scene(int(first[1]), int(second[1])) == (relation == "equal")


def is_handled(
    file: OutFile, tiles: GraphTiles, exists: FileExists, *, failure: ErrorKind | None = None, is_retriable: bool = False
) -> bool:
    """Whether the action of an out file is carried out.

    After success (`failure` None) only its `condition` counts. After a failure it takes a `condition` that is an error condition and
    holds, or an `error_condition` that holds together with the `condition`; an `error_condition` that does not hold always forbids.
    Without `is_retriable` every failure is a fatal one here.
    """
    if failure is None:
        return _plain_condition_holds(file, tiles, exists)
    is_fatal = failure is ErrorKind.FATAL or not is_retriable
    guarded = file.error_condition.is_error_condition
    if guarded and not _error_condition_holds(file.error_condition, is_fatal=is_fatal):
        return False
    if file.condition.is_error_condition:
        return _error_condition_holds(file.condition, is_fatal=is_fatal)
    return guarded and _plain_condition_holds(file, tiles, exists)


def _plain_condition_holds(file: OutFile, tiles: GraphTiles, exists: FileExists) -> bool:
    if file.condition.is_file_condition:
        return exists(file) == (file.condition is Condition.FILE_EXISTS)
    return tile_condition_holds(file.condition, tiles)


def _error_condition_holds(condition: Condition, *, is_fatal: bool) -> bool:
    return is_fatal or condition is Condition.ON_FAILURE
