"""Which catalogues a configuration stands for, in which order, and what they offer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalogue.external import configured_catalogues
from catalogue.external.odata_api import ODataCatalogue
from catalogue.external.offers import Choice, Offer
from catalogue.external.presets import PRESETS
from catalogue.external.stac_api import StacApiCatalogue
from catalogue.external.static_stac import StaticStacCatalogue
from common.config import CatalogueSettings, Settings
from common.errors import ConfigurationError
from common.payload import parse_payload
from common.product_names import Constellation

PAYLOADS = Path(__file__).resolve().parents[2] / "payloads"


def settings(**catalogues: CatalogueSettings) -> Settings:
    return Settings(catalogues=catalogues)


def test_without_configuration_it_is_copernicus_for_sentinel1_else_earth_search() -> None:
    radar, other = configured_catalogues(Settings(catalogues={}))
    assert isinstance(radar, ODataCatalogue)
    assert isinstance(other, StacApiCatalogue)
    assert (radar.name, radar.url) == ("copernicus", "https://catalogue.dataspace.copernicus.eu/odata/v1/")
    assert (other.name, other.url) == ("earth-search", "https://earth-search.aws.element84.com/v1")
    for constellation in (Constellation.SENTINEL1, Constellation.SENTINEL2, Constellation.LANDSAT):
        assert other.offer.choose(constellation, None) is not None
    assert other.offer.choose(Constellation.PHR, None) is None


@pytest.mark.parametrize(
    ("constellation", "parameters", "expected"),
    [
        ("sentinel1", {"producttype": "SLC"}, ["copernicus"]),
        ("sentinel1", {"producttype": "GRD"}, ["copernicus", "earth-search"]),
        ("sentinel2", {}, ["earth-search"]),
        ("sentinel2", {"producttype": "S2MSI1C"}, ["earth-search"]),
        ("landsat89", {}, ["earth-search"]),
        ("phr", {}, []),
    ],
)
def test_who_answers_without_configuration(constellation: str, parameters: dict[str, str], expected: list[str]) -> None:
    document = json.loads((PAYLOADS / "denmark_s1.json").read_text())
    asked = parse_payload(document | {"scene_type": {"constellation": constellation, "parameters": parameters}})
    assert [catalogue.name for catalogue in configured_catalogues(Settings(catalogues={})) if catalogue.supports(asked)] == expected


def test_sentinel1_of_no_type_is_slc_of_copernicus_first() -> None:
    asked = parse_payload(
        json.loads((PAYLOADS / "denmark_s1.json").read_text()) | {"scene_type": {"constellation": "sentinel1", "parameters": {}}}
    )
    (first, *_) = (catalogue for catalogue in configured_catalogues(Settings(catalogues={})) if catalogue.supports(asked))
    assert first.name == "copernicus"


def test_odata_catalogues() -> None:
    given = CatalogueSettings(
        type="odata", preset="creodias", page_size=50, parallel=2, slice_days=31, max_url_length=2000, collections={"sentinel2": ["S2"]}
    )
    plain, creodias, own = configured_catalogues(
        settings(
            copernicus=CatalogueSettings(preset="copernicus"),
            c=given,
            own=CatalogueSettings(type="odata", url="https://mirror.example.com/odata/v1"),
        )
    )
    assert isinstance(plain, ODataCatalogue)
    assert (plain.page_size, plain.dated_by_publication) == (1000, False)
    assert isinstance(creodias, ODataCatalogue)
    assert creodias.url == "https://datahub.creodias.eu/odata/v1/"
    assert creodias.dated_by_publication
    assert (creodias.page_size, creodias.parallel, creodias.slice_days, creodias.max_url_length) == (50, 2, 31, 2000)
    assert creodias.offer.collections == {(Constellation.SENTINEL2, ""): ("S2",)}
    assert isinstance(own, ODataCatalogue)
    assert own.offer == plain.offer


def test_priority_orders_and_settings_override_presets() -> None:
    found = configured_catalogues(
        settings(
            a=CatalogueSettings(preset="usgs"),
            b=CatalogueSettings(type="static-stac", url="/data/stac", priority=5),
            c=CatalogueSettings(preset="cdse", url="https://mirror.example.com", collections={"sentinel-2": ["mine"]}, page_size=7),
        )
    )
    assert [catalogue.name for catalogue in found] == ["b", "a", "c"]
    assert isinstance(found[0], StaticStacCatalogue)
    mirror = found[2]
    assert isinstance(mirror, StacApiCatalogue)
    assert (mirror.url, mirror.page_size) == ("https://mirror.example.com", 7)
    assert mirror.offer.choose(Constellation.SENTINEL2, "S2MSI1C") == Choice("S2MSI1C", ("mine",))
    assert mirror.offer.choose(Constellation.SENTINEL1, None) is None


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        (CatalogueSettings(preset="moon"), "catalogues.x.preset"),
        (CatalogueSettings(), "catalogues.x.url"),
        (CatalogueSettings(url="/data/stac"), "catalogues.x.url"),
        (CatalogueSettings(type="odata", url="/data/stac"), "catalogues.x.url"),
        (CatalogueSettings(type="odata"), "catalogues.x.url"),
        (CatalogueSettings(type="odata", preset="earth-search"), "catalogues.x.type"),
        (CatalogueSettings(type="stac", preset="copernicus"), "catalogues.x.type"),
        (CatalogueSettings(preset="cdse", collections={"sentinel9": ["a"]}), "catalogues.x.collections.sentinel9"),
        (CatalogueSettings(preset="cdse", collections={"sentinel2/L9": ["a"]}), "catalogues.x.collections.sentinel2/L9"),
    ],
)
def test_a_wrong_configuration_names_the_key(wrong: CatalogueSettings, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{key}:"):
        configured_catalogues(settings(x=wrong))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_well_formed(name: str) -> None:
    offer = Offer.of(PRESETS[name].collections, key=name)
    assert len(offer.collections) == len(PRESETS[name].collections)
    assert all(offer.collections.values())


def test_the_default_product_type_is_the_first_that_is_offered() -> None:
    cdse = Offer.of(PRESETS["cdse"].collections, key="cdse")
    assert cdse.choose(Constellation.SENTINEL1, None) == Choice("SLC", ("sentinel-1-slc",))
    earth_search = Offer.of(PRESETS["earth-search"].collections, key="earth-search")
    assert earth_search.choose(Constellation.SENTINEL1, None) == Choice("GRD", ("sentinel-1-grd",))
    assert earth_search.choose(Constellation.SENTINEL1, "SLC") is None
    assert earth_search.choose(Constellation.SENTINEL2, None) == Choice("S2MSI2A", ("sentinel-2-c1-l2a", "sentinel-2-l2a"))
    usgs = Offer.of(PRESETS["usgs"].collections, key="usgs")
    assert usgs.choose(Constellation.LANDSAT, "L2SP") == Choice("L2SP", ("landsat-c2l2-sr",))
    assert usgs.choose(Constellation.LANDSAT, "L1TP") == Choice("L1TP", ("landsat-c2l1",))
