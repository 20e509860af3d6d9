"""The values of a step's arguments: fixed, from the configuration, from the tile, or the file names of layers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from common.errors import ThresherError
from common.graph.document import ALL, Argument, ConfigArg, FixedArg, InArg, OutArg, Step, TileValue
from common.graph.tiles import GraphTiles
from common.layers import layer_file_name
from common.messages import TileRef
from common.product_names import Constellation, constellation_of

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_SPELLED = {
    Constellation.SENTINEL1: "Sentinel1",
    Constellation.SENTINEL2: "Sentinel2",
    Constellation.LANDSAT: "Landsat89",
    Constellation.PHR: "PHR",
    Constellation.SPOT: "SPOT",
}
"""As the reference gives them to steps."""


def argument_values(step: Step, config: Mapping[str, str], tiles: GraphTiles) -> dict[str, str]:
    """The value of every argument of `step` by name; raises ThresherError naming the argument."""
    values = {}
    for name, argument in step.args.items():
        try:
            values[name] = argument_value(argument, config, tiles)
        except ThresherError as error:
            raise ThresherError(f"argument '{name}' of {step.command}: {error}") from None
    return values


def argument_value(argument: Argument, config: Mapping[str, str], tiles: GraphTiles) -> str:
    """The text that stands for `argument`; file names are relative to the working directory. Raises ThresherError."""
    match argument:
        case FixedArg():
            return argument.value
        case ConfigArg():
            if argument.value not in config:
                raise ThresherError(f"'{argument.value}' is not in the configuration of the graph ({', '.join(sorted(config))})")
            return config[argument.value]
        case InArg():
            return file_name(tiles.slot(argument.tile_index), argument.layer, argument.extension)
        case OutArg():
            return file_name(tiles.current, argument.layer, argument.extension)
        case _:
            return _tile_value(argument.value, tiles)


def file_name(tile: TileRef, layer: str, extension: str) -> str:
    """The name of a layer's file in the working directory; the layer `*` stays literal."""
    if layer != ALL:
        return layer_file_name(tile, layer, extension)
    placeholder = "LAYER"
    head, _, tail = layer_file_name(tile, placeholder, extension).rpartition(placeholder)
    return f"{head}{ALL}{tail}"


def graph_date(moment: datetime) -> str:
    """`04Jan2022`, in English whatever the locale."""
    return f"{moment.day:02d}{_MONTHS[moment.month - 1]}{moment.year:04d}"


def _tile_value(value: TileValue, tiles: GraphTiles) -> str:
    tile = tiles.current
    match value:
        case TileValue.SCENE:
            return tile.scene.source_id
        case TileValue.DATE:
            return graph_date(tile.scene.date)
        case TileValue.COHDATE:
            return graph_date((tile if tiles.same_scene(1, 2) else tiles.slot(2)).scene.date)
        case TileValue.SWATH:
            return tile.place.swath_id
        case TileValue.NUMBER:
            return str(tile.place.tile_nr)
        case TileValue.CONSTELLATION:
            return _constellation(tile.scene.source_id)


def _constellation(source_id: str) -> str:
    try:
        return _SPELLED[constellation_of(source_id)]
    except ValueError:
        return "Unknown"
