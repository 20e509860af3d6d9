"""Search parameters: how they are read, what they refuse, and what a scene must say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from catalogue.external.filters import Interval, SceneFilter, filter_of
from common.errors import UserError
from common.features import SceneData, SceneFeature
from common.payload import SceneType

GRD = "S1A_IW_GRDH_1SDV_20220428T034417_20220428T034442_042968_05213C_28ED"


def scene_type(constellation: str, **parameters: object) -> SceneType:
    return SceneType.model_validate({"constellation": constellation, "parameters": parameters})


def scene(source_id: str = GRD, **tags: str) -> SceneFeature:
    return SceneFeature(source_id=source_id, data=SceneData(date=datetime(2022, 4, 28, tzinfo=UTC)), tags=tags, wkt="POINT (0 0)")


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("[0 TO 20]", 0, 20), ("[0 to 20]", 0, 20), ("[5,7.5]", 5, 7.5), ("[ 5 , 7.5 ]", 5, 7.5), ("[100 TO 100]", 100, 100)],
)
def test_cloud_cover_intervals(text: str, low: float, high: float) -> None:
    assert filter_of(scene_type("sentinel2", cloudCoverPercentage=text)).cloud_cover == Interval(low, high)


@pytest.mark.parametrize(
    ("constellation", "name", "value"),
    [
        ("sentinel2", "cloudcoverpercentage", "20"),
        ("sentinel2", "cloudcoverpercentage", "[20 TO 0]"),
        ("sentinel2", "cloudcoverpercentage", "[0 TO 101]"),
        ("sentinel2", "cloudcoverpercentage", "[nan TO 10]"),
        ("sentinel2", "cloudcoverpercentage", "[0 TO many]"),
        ("sentinel2", "producttype", "S2MSI3A"),
        ("sentinel1", "producttype", "L2A"),
        ("landsat89", "producttype", "L3"),
        ("sentinel1", "polarisationmode", "VX"),
        ("sentinel1", "relativeorbitnumber", "0"),
        ("sentinel1", "relativeorbitnumber", "176"),
        ("sentinel1", "relativeorbitnumber", "44.5"),
        ("sentinel1", "orbitdirection", "up"),
    ],
)
def test_malformed_parameters_are_named(constellation: str, name: str, value: str) -> None:
    with pytest.raises(UserError) as raised:
        filter_of(scene_type(constellation, **{name: value}))
    assert raised.value.field == f"scene_type.parameters.{name}"


def test_an_unknown_parameter_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="cloudcoverpercentage, filename, orbitdirection, producttype, relativeorbitnumber") as raised:
        filter_of(scene_type("sentinel2", cloudcover="[0 TO 1]"))
    assert raised.value.field == "scene_type.parameters.cloudcover"


@pytest.mark.parametrize(
    ("constellation", "text", "expected"),
    [
        ("sentinel2", "s2msi1c", "S2MSI1C"),
        ("sentinel2", "L2A", "S2MSI2A"),
        ("sentinel1", "IW_GRDH_1S", "GRD"),
        ("sentinel1", "slc", "SLC"),
        ("landsat89", "LC_C02_L2SP", "L2SP"),
        ("landsat89", "l1", "L1"),
    ],
)
def test_product_types_have_one_spelling(constellation: str, text: str, expected: str) -> None:
    assert filter_of(scene_type(constellation, productType=text)).product_type == expected


def test_a_scene_must_agree_with_every_parameter() -> None:
    tags = {"productType": "GRD", "polarisationMode": "VV VH", "relativeOrbit": "21", "orbitDirection": "DESCENDING"}
    asked = {"producttype": "GRD", "polarisationmode": "VH VV", "relativeorbitnumber": "21", "sensoroperationalmode": "iw"}
    agreed = filter_of(scene_type("sentinel1", **asked, orbitdirection="descending", filename="S1A_*_05213C_????"))
    assert agreed.refusal(scene(**tags)) is None
    for name, other in [
        ("producttype", "SLC"),
        ("polarisationmode", "VV"),
        ("relativeorbitnumber", "22"),
        ("sensoroperationalmode", "EW"),
        ("orbitdirection", "ASCENDING"),
        ("filename", "S1B_*"),
    ]:
        assert filter_of(scene_type("sentinel1", **{name: other})).refusal(scene(**tags)) == "", name


def test_what_a_scene_does_not_say_is_told() -> None:
    assert SceneFilter(cloud_cover=Interval(0, 20)).refusal(scene()) == "its cloudCoverPercentage is not given"
    assert SceneFilter(cloud_cover=Interval(0, 20)).refusal(scene(cloudCoverPercentage="20.0")) is None
    assert SceneFilter(cloud_cover=Interval(0, 20)).refusal(scene(cloudCoverPercentage="20.01")) == ""


@pytest.mark.parametrize(
    ("pattern", "agrees"),
    [("28ED", True), ("S1A*", True), ("*28ED.SAFE", True), ("S1A_IW_GRD?_*", True), ("S1A", True), ("S1A?", False), ("[S]1A*", False)],
)
def test_filename_patterns(pattern: str, agrees: bool) -> None:
    assert (filter_of(scene_type("sentinel1", filename=pattern)).refusal(scene()) is None) is agrees


def test_a_landsat_level_stands_for_its_kinds() -> None:
    assert SceneFilter(product_type="L2").refusal(scene(productType="L2SP")) is None
    assert SceneFilter(product_type="L2SR").refusal(scene(productType="L2SP")) == ""
