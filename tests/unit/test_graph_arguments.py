"""The values of step arguments, of all five types."""

from __future__ import annotations

import locale
from datetime import UTC, datetime

import pytest

from common.errors import ThresherError
from common.features import TilePlace
from common.graph.arguments import argument_values, file_name, graph_date
from common.graph.document import Step
from common.graph.tiles import GraphTiles
from common.messages import SceneRef, TileRef


def tile(scene: str, day: int, name: str = "A44_IW1_8951") -> TileRef:
    reference = SceneRef(id=1, source_id=scene, aoi="a", date=datetime(2022, 1, day, 17, 1, tzinfo=UTC))
    return TileRef(id=1, source_id=name, scene=reference, place=TilePlace(swath_id="IW1", tile_nr=4))


CURRENT = tile("S1A_IW_SLC__1SDV_20220104", 4)
PREVIOUS = tile("S1A_IW_SLC__1SDV_20220103", 3)
REFERENCE = tile("S1A_IW_SLC__1SDV_20220102", 2)
TILES = GraphTiles(CURRENT, PREVIOUS, REFERENCE)


def value(argument: dict[str, object], tiles: GraphTiles = TILES, **config: str) -> str:
    step = Step.model_validate({"engine": "python", "command": "a.py", "args": {"x": argument}})
    return argument_values(step, config, tiles)["x"]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ({"type": "fixed", "value": "; touch x | $HOME '*' \"&\""}, "; touch x | $HOME '*' \"&\""),
        ({"type": "config", "value": "resolution"}, "20"),
        ({"type": "tile", "value": "scene"}, "S1A_IW_SLC__1SDV_20220104"),
        ({"type": "tile", "value": "date"}, "04Jan2022"),
        ({"type": "tile", "value": "swath"}, "IW1"),
        ({"type": "tile", "value": "number"}, "4"),
        ({"type": "tile", "value": "constellation"}, "Sentinel1"),
        ({"type": "in", "tile_index": 0, "layer": "preprocessed", "extension": "dim"}, "20220104_A44_IW1_8951_preprocessed.dim"),
        ({"type": "in", "tile_index": 1, "layer": "preprocessed", "extension": "dim"}, "20220103_A44_IW1_8951_preprocessed.dim"),
        ({"type": "in", "tile_index": 2, "layer": "__product__", "extension": "SAFE"}, "S1A_IW_SLC__1SDV_20220102.SAFE"),
        ({"type": "in", "layer": "__annotations__", "extension": "zip"}, "S1A_IW_SLC__1SDV_20220104_annotations.zip"),
        ({"type": "out", "layer": "sigma0_VV", "extension": "tif"}, "20220104_A44_IW1_8951_sigma0_VV.tif"),
        ({"type": "out", "layer": "*", "extension": "jp2"}, "20220104_A44_IW1_8951_*.jp2"),
        ({"type": "out", "layer": "__product__", "extension": "*"}, "S1A_IW_SLC__1SDV_20220104"),
    ],
)
def test_value(argument: dict[str, object], expected: str) -> None:
    assert value(argument, resolution="20") == expected


@pytest.mark.parametrize(
    ("previous", "reference", "expected"),
    [
        (PREVIOUS, REFERENCE, "02Jan2022"),  # else the reference's date
        (REFERENCE, REFERENCE, "04Jan2022"),  # previous and reference are the same scene: the current date
        (None, None, "04Jan2022"),
        (None, REFERENCE, "02Jan2022"),
        (PREVIOUS, None, "04Jan2022"),
    ],
)
def test_coherence_date(previous: TileRef | None, reference: TileRef | None, expected: str) -> None:
    assert value({"type": "tile", "value": "cohdate"}, GraphTiles(CURRENT, previous, reference)) == expected


def test_missing_tiles_count_as_the_current_one() -> None:
    argument = {"type": "in", "tile_index": 2, "layer": "a", "extension": "tif"}
    assert value(argument, GraphTiles(CURRENT)) == "20220104_A44_IW1_8951_a.tif"


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        ("S2A_MSIL1C_20180101T105441_N0206_R051_T31TDH_20180101T124911", "Sentinel2"),
        ("LC08_L2SP_005009_20150710_20200908_02_T2", "Landsat89"),
        ("DS_PHR1A_201006181052297_FR1_PX_E001N43_0612_06488", "PHR"),
        ("DS_SPOT7_201806232333174_XXX", "SPOT"),
        ("else", "Unknown"),
    ],
)
def test_constellation(scene: str, expected: str) -> None:
    assert value({"type": "tile", "value": "constellation"}, GraphTiles(tile(scene, 4))) == expected


def test_an_unknown_key_names_step_argument_and_the_known_keys() -> None:
    with pytest.raises(ThresherError, match=r"argument 'x' of a.py: 'projection' is not in the configuration .*resolution"):
        value({"type": "config", "value": "projection"}, resolution="20")


def test_dates_are_english_in_any_locale() -> None:
    before = locale.setlocale(locale.LC_TIME)
    try:
        for name in ("de_DE.UTF-8", "fr_FR.UTF-8"):
            try:
                locale.setlocale(locale.LC_TIME, name)
                break
            except locale.Error:
                continue
        months = [graph_date(datetime(2022, month, 9, tzinfo=UTC)) for month in range(1, 13)]
    finally:
        locale.setlocale(locale.LC_TIME, before)
    assert [month[2:5] for month in months] == ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def test_a_tile_name_holding_the_placeholder_survives_a_star() -> None:
    assert file_name(tile("S", 4, "LAYER_1"), "*", "tif") == "20220104_LAYER_1_*.tif"
