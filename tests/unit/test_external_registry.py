"""Which catalogues a configuration stands for, in which order, and what they offer."""

from __future__ import annotations

import pytest

from catalogue.external import configured_catalogues
from catalogue.external.offers import Choice, Offer
from catalogue.external.presets import PRESETS
from catalogue.external.stac_api import StacApiCatalogue
from catalogue.external.static_stac import StaticStacCatalogue
from common.config import CatalogueSettings, Settings
from common.errors import ConfigurationError
from common.product_names import Constellation


def settings(**catalogues: CatalogueSettings) -> Settings:
    return Settings(catalogues=catalogues)


def test_without_configuration_it_is_earth_search() -> None:
    (only,) = configured_catalogues(Settings(catalogues={}))
    assert isinstance(only, StacApiCatalogue)
    assert (only.name, only.url) == ("earth-search", "https://earth-search.aws.element84.com/v1")
    for constellation in (Constellation.SENTINEL1, Constellation.SENTINEL2, Constellation.LANDSAT):
        assert only.offer.choose(constellation, None) is not None
    assert only.offer.choose(Constellation.PHR, None) is None


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
