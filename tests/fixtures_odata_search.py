"""An OData catalogue that replays recorded products, and how it is searched."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import shape

from catalogue.external.odata_api import ODataCatalogue
from catalogue.external.offers import Offer
from catalogue.external.presets import ODATA_COLLECTIONS
from common.features import SceneFeature
from common.payload import Payload, parse_payload
from tests.odata_replay import Fault, ODataReplay, Product, recorded, variant

ODataServer = Callable[..., ODataReplay]
PATAGONIA = [[-80.0, -60.0], [-60.0, -60.0], [-60.0, -50.0], [-80.0, -50.0], [-80.0, -60.0]]
AMERICAS = [[-125.0, -65.0], [-25.0, -65.0], [-25.0, 40.0], [-125.0, 40.0], [-125.0, -65.0]]
PACIFIC = [[137.0, 13.0], [154.0, 13.0], [154.0, 24.0], [137.0, 24.0], [137.0, 13.0]]
WORLD = [[-180.0, -90.0], [180.0, -90.0], [180.0, 90.0], [-180.0, 90.0], [-180.0, -90.0]]
GRD = {"producttype": "GRD"}


@pytest.fixture
def odata_server() -> Iterator[ODataServer]:
    with ExitStack() as stack:
        yield lambda products, **manners: stack.enter_context(ODataReplay(products, **manners).running())


@pytest.fixture(scope="module")
def products(shared_data: Path) -> list[Product]:
    """The recorded products and some like them: SLC, other modes and polarisations, older types, cloud-optimised copies, L2A."""
    known = recorded(shared_data / "cdse_odata")
    grd = [product for product in known if "_GRDH_" in product["Name"]]
    l1c = [product for product in known if "_MSIL1C_" in product["Name"]]
    made: list[Product] = []
    for number, product in enumerate(grd):
        slc = ("_GRDH_1S", "_SLC__1S")
        made.append(variant(product, 1, slc, productType="SLC" if number % 4 == 0 else "IW_SLC__1S"))
        if number % 5 == 1:
            made.append(variant(product, 2, ("_GRDH_1SDV", "_SLC__1SSV"), productType="IW_SLC__1S", polarisationChannels="VV"))
            made.append(variant(product, 3, (".SAFE", "_COG.SAFE"), productType="IW_GRDH_1S-COG"))
            made.append(variant(product, 4, ("_IW_GRDH_", "_S3_GRDF_"), productType="S3_GRDF_1S", operationalMode="SM"))
        if number % 5 == 2:
            wide = {"productType": "EW_GRDM_1S", "operationalMode": "EW", "polarisationChannels": "HH&HV"}
            made.append(variant(product, 5, ("_IW_GRDH_1SDV", "_EW_GRDM_1SDH"), **wide))
            made.append(variant(product, 6, slc, productType="IW_SLC__1S", polarisationChannels="VH&VV", orbitDirection="DESCENDING"))
    for number, product in enumerate(l1c):
        made.append(variant(product, 7, ("_MSIL1C_", "_MSIL2A_"), productType="S2MSI2A", processingLevel="S2MSI2A"))
        made.append(variant(product, 8, ("T010311_N0500", f"T01041{number}_N0500"), cloudCover=10 + 0.5 * number, relativeOrbitNumber=46))
    return known + made


def catalogue(replay: ODataReplay, **changes: Any) -> ODataCatalogue:
    offer = Offer.of(ODATA_COLLECTIONS, key="collections")
    return replace(ODataCatalogue("copernicus", replay.url, offer, timeout_s=10.0, slice_days=36_500), **changes)


def payload(constellation: str, ring: list[list[float]], parameters: dict[str, str] | None = None, **changes: Any) -> Payload:
    return parse_payload(
        {
            "type": "Polygon",
            "coordinates": [ring],
            "name": "area",
            "start_time": "2014-01-01T00:00:00Z",
            "end_time": "2027-01-01T00:00:00Z",
            "scene_type": {"constellation": constellation, "parameters": parameters or {}},
            "scene_graph_name": "CopyProductToStorage",
            "tile_graph_name": "Extract",
            **changes,
        }
    )


def deque_of(*faults: Fault) -> deque[Fault]:
    return deque(faults)


def names(scenes: list[SceneFeature]) -> list[str]:
    return [scene.source_id for scene in scenes]


def attributes(product: Product) -> dict[str, Any]:
    return {entry["Name"]: entry["Value"] for entry in product["Attributes"]}


def expected(products: list[Product], asked: Payload) -> set[str]:
    """The names that match, told from the recorded fields alone; of processings of one acquisition the newest."""
    wanted = asked.scene_type.parameters
    radar = asked.scene_type.constellation == "SENTINEL1"
    kind = wanted.get("producttype", "SLC" if radar else "S2MSI1C")
    whole = "filename" not in wanted
    mode = wanted.get("sensoroperationalmode", "IW" if whole else "").upper()
    channels = wanted.get("polarisationmode", "VV VH" if whole and mode == "IW" else "").upper()
    found: dict[str, tuple[str, str]] = {}
    for product in products:
        given, name = attributes(product), product["Name"].removesuffix(".SAFE")
        start = datetime.fromisoformat(product["ContentDate"]["Start"])
        low, high = (float(text) for text in re.findall(r"[\d.]+", wanted.get("cloudcoverpercentage", "[0 TO 100]")))
        pattern = wanted.get("filename", "*").removesuffix(".SAFE")
        if not (
            product["GeoFootprint"] is not None
            and shape(product["GeoFootprint"]).intersects(asked.area)
            and name.startswith("S1" if radar else "S2")
            and asked.start_time <= start <= asked.end_time
            and (f"_{kind}" in name if radar else given["productType"] == kind)
            and (not radar or not mode or given["operationalMode"] == mode or f"_{mode}_" in name)
            and (not radar or not channels or set(given["polarisationChannels"].split("&")) == set(channels.split()))
            and str(given["relativeOrbitNumber"]) == wanted.get("relativeorbitnumber", str(given["relativeOrbitNumber"]))
            and given.get("orbitDirection") == wanted.get("orbitdirection", given.get("orbitDirection"))
            and low <= given.get("cloudCover", low) <= high
            and (fnmatchcase(name, pattern) or pattern in name)
            and not name.endswith("_COG")
        ):
            continue
        # The last part of the name tells processings apart.
        acquisition, _, _ = name.rpartition("_")
        found[acquisition] = max(found.get(acquisition, ("", "")), (given["processingDate"], name))
    return {name for _, name in found.values()}
