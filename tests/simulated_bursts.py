"""Simulated bursts as products: one sub-swath and polarisation on several dates, each as `Burst`, with a DEM of their ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from processor.sar.burst import Burst
from processor.sar.burst_product import read_burst_product
from processor.sar.burst_split import WantedBurst, split_burst
from processor.sar.dem import Dem
from processor.sar.dem_files import DemFiles
from processor.sar.geoid import open_geoid
from thresher.demo.sentinel1.passes import product_documents
from thresher.demo.sentinel1.product import ProductDocuments, Simulation, write_series
from thresher.demo.sentinel1.terrain import Terrain

DEM_BOUNDS = (11.85, 51.30, 12.45, 52.00)


@dataclass(frozen=True)
class SimulatedSeries:
    """The dates of a series, and what they are seen over."""

    bursts: tuple[Burst, ...]
    terrain: Terrain
    dem: Dem


def simulated_series(
    folder: Path, terrain: Terrain, *, dates: Sequence[int] = (0, 1), swath: str = "IW1", seed: int = 5
) -> SimulatedSeries:
    """The first burst of a sub-swath in VV on some dates of the demonstration's passes, 1500 x 1800 pixels without thermal noise."""
    documents = [_of_one_image(product_documents(date, bursts=1), swath) for date in dates]
    products = write_series(folder / "products", documents, Simulation(terrain, seed, bursts={swath: (0,)}))
    bursts = []
    for number, product in enumerate(products):
        split_burst(product, WantedBurst("scene", swath, 1), folder / f"{number}.data")
        bursts.append(Burst(read_burst_product(folder / f"{number}.data"), "VV"))
    terrain.write_dem(folder / "dem.tif", *DEM_BOUNDS)
    return SimulatedSeries(tuple(bursts), terrain, Dem(DemFiles(str(folder / "dem.tif")), open_geoid("ellipsoid")))


def _of_one_image(product: ProductDocuments, swath: str) -> ProductDocuments:
    images = tuple(image for image in product.images if image.swath.name == swath and image.polarisation == "VV")
    return replace(product, images=images)
