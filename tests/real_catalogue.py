"""A static STAC catalogue around real products of the test data: Sentinel-2 L2A bands, a zipped Sentinel-2 L1C, Landsat bands."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from rasterio.warp import transform_geom
from shapely.geometry import box, mapping, shape

L2A = "S2B_MSIL2A_20190411T105029_N0211_R051_T31UFS_20190411T134806"
"""The bands say their day (2019-04-11; the sun in their angle grids agrees), grid and so tile (31UFS): Sentinel-2B on relative orbit 51,
baseline 02.11. Seconds and processing time are made up. The granule metadata in the same folder are of another product.
"""
L1C = "S2A_MSIL1C_20180101T105441_N0206_R051_T31TDH_20180101T124911"
LANDSAT = "LC08_L2SP_005009_20150710_20200908_02_T2"

_L2A_BANDS = {
    "B02": ("blue", 0.49, 10),
    "B03": ("green", 0.56, 10),
    "B04": ("red", 0.665, 10),
    "B08": ("nir", 0.842, 10),
    "B8A": ("nir08", 0.865, 20),
    "B09": ("nir09", 0.945, 60),
    "B11": ("swir16", 1.61, 20),
}


@dataclass(frozen=True)
class Layer:
    """What is to become of a file of a product."""

    variable: str
    instance: str
    source: Path
    nodata: float
    real_min: float
    real_max: float
    dformat: tuple[float, float]
    """Least and greatest valid number."""
    scaling: tuple[float, float] = (1.0, 0.0)
    """Scale and offset."""


@dataclass(frozen=True)
class Product:
    """A product, the fields of the payload that asks for it, and its layers."""

    name: str
    payload: dict[str, Any]
    layers: dict[str, Layer]


def build_catalogue(folder: Path, data: Path) -> dict[str, Product]:
    """Write `catalog.json` and all below it; the products by name."""
    products = [
        _l2a(folder, data / "s2_imagery" / "openeo_31U"),
        _l1c(folder, data),
        _landsat(folder, data / "landsat" / "LC08_L2SP_005009_20150710"),
    ]
    links = [{"rel": "item", "href": f"./{product.name}/item.json", "type": "application/geo+json"} for product in products]
    _write(folder / "catalog.json", {"type": "Catalog", "stac_version": "1.0.0", "id": "real", "description": "Real", "links": links})
    return {product.name: product for product in products}


def _l2a(folder: Path, data: Path) -> Product:
    place = folder / L2A
    place.mkdir()
    assets: dict[str, Any] = {}
    layers: dict[str, Layer] = {}
    for band, (common_name, wavelength, gsd) in _L2A_BANDS.items():
        source = data / f"ref_input_S2_{band}.tif"
        shutil.copyfile(source, place / f"{band}.tif")
        with rasterio.open(source) as raster:
            assets[common_name] = {
                "href": f"./{band}.tif",
                "type": "image/tiff; application=geotiff",
                "roles": ["data", "reflectance"],
                "gsd": gsd,
                "proj:shape": list(raster.shape),
                "proj:transform": list(raster.transform)[:6],
                "eo:bands": [{"name": band, "common_name": common_name, "center_wavelength": wavelength}],
                "raster:bands": [{"nodata": raster.nodata, "data_type": raster.dtypes[0], "scale": 0.0001, "offset": 0}],
                "file:size": source.stat().st_size,
            }
            layers[band] = Layer(band, "l2a", source, raster.nodata, 0.0, 1.0, (0, 10000), (0.0001, 0.0))
    properties = {
        "datetime": "2019-04-11T10:50:29Z",
        "platform": "sentinel-2b",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "proj:epsg": 32631,
        "sat:relative_orbit": 51,
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": "02.11",
    }
    _write(place / "item.json", _item(L2A, properties, assets, layers["B02"].source))
    return Product(
        L2A,
        _payload("S2MSI2A", "sentinel2", "2019-04-01", "2019-05-01", "ExtractS2Assets", layers, _footprint(layers["B02"].source)),
        layers,
    )


def _l1c(folder: Path, data: Path) -> Product:
    place = folder / L1C
    place.mkdir()
    safe = data / "s2_imagery" / "eodag_L1C_T31TDH" / L1C
    with zipfile.ZipFile(place / "product.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(safe.rglob("*")):
            if path.is_file():
                archive.write(path, f"{L1C}.SAFE/{path.relative_to(safe)}")
    (source,) = safe.rglob("*_B01.jp2")
    # As its MTD_MSIL1C.xml says: PRODUCT_START_TIME, NODATA, QUANTIFICATION_VALUE, and a baseline without offsets.
    properties = {"datetime": "2018-01-01T10:54:41.026Z", "platform": "sentinel-2a", "s2:product_uri": f"{L1C}.SAFE", "proj:epsg": 32631}
    assets = {"product": {"href": "./product.zip", "type": "application/zip", "roles": ["data"]}}
    layers = {"B01": Layer("B01", "raw", source, 0, 0.0, 1.0, (0, 10000), (0.0001, 0.0))}
    _write(place / "item.json", _item(L1C, properties, assets, source))
    return Product(L1C, _payload("S2MSI1C", "sentinel2", "2018-01-01", "2018-01-02", "ExtractS2Bands", layers, _footprint(source)), layers)


def _landsat(folder: Path, data: Path) -> Product:
    place = folder / LANDSAT
    place.mkdir()
    for path in data.glob("*.TIF"):
        shutil.copyfile(path, place / path.name)
    item = json.loads((data / f"{LANDSAT}_SR_stac.json").read_text())
    for asset in item["assets"].values():
        asset["href"] = f"./{asset['href'].rpartition('/')[2]}"
    item["links"] = []
    _write(place / "item.json", item)
    # Landsat 8-9 Collection 2 Level 2 Science Product Guide: reflectance = number * 0.0000275 - 0.2, 0 is fill; QA_PIXEL has fill 1.
    scale, offset = 2.75e-05, -0.2
    layers = {
        f"B0{number}": Layer(
            f"LandsatB0{number}",
            "l2",
            data / f"{LANDSAT}_SR_B{number}.TIF",
            0,
            scale + offset,
            65455 * scale + offset,
            (1, 65455),
            (scale, offset),
        )
        for number in range(2, 6)
    }
    layers["QA_PIXEL"] = Layer("LandsatQA_PIXEL", "l2", data / f"{LANDSAT}_QA_PIXEL.TIF", 1, 0, 65535, (0, 65535))
    return Product(
        LANDSAT, _payload("L2SP", "landsat89", "2015-07-01", "2015-08-01", "ExtractLandsatBands", layers, item["geometry"]), layers
    )


def _payload(
    kind: str, constellation: str, start: str, end: str, graph: str, layers: dict[str, Layer], area: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": f"Real-{kind}",
        **area,
        "start_time": f"{start}T00:00:00Z",
        "end_time": f"{end}T00:00:00Z",
        "scene_type": {"constellation": constellation, "parameters": {"producttype": kind}},
        "scene_graph_name": "CopyProductToStorage",
        "tile_graph_name": f"library/graph/{graph}.json",
        "layers": {name: {"variable": layer.variable, "instance": layer.instance} for name, layer in layers.items()},
        "record_tags": {"source": "acceptance"},
    }


def _item(name: str, properties: dict[str, Any], assets: dict[str, Any], raster: Path) -> dict[str, Any]:
    geometry = _footprint(raster)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
        ],
        "id": name,
        "geometry": geometry,
        "bbox": list(shape(geometry).bounds),
        "properties": properties,
        "links": [],
        "assets": assets,
    }


def _footprint(path: Path) -> dict[str, Any]:
    with rasterio.open(path) as raster:
        footprint: dict[str, Any] = transform_geom(raster.crs, "EPSG:4326", mapping(box(*raster.bounds)))
    return footprint


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1))
