"""How far the geolocation grids of Sentinel-1 GRD products lie from where their own orbits put them: lines and samples, a product a row.

Modern ones agree within a hundredth; those of 2015 tell of another orbit than their annotation does (docs/sentinel1.md).

Run: python tests/benchmarks/sar_grids.py PRODUCT... (zipped; those of the test data if none is named)
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from processor.sar import ellipsoid
from processor.sar.annotation import parse_annotation
from processor.sar.grd_geometry import grd_geometry

DATA = Path(os.environ.get("THRESHER_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("products", nargs="*", type=Path, metavar="PRODUCT")
    products = parser.parse_args().products or sorted((DATA / "s1_grd").glob("*.zip"))
    print(f"{'product':68}{'processor':>10}{'heights, m':>14}{'lines off':>20}{'samples off':>20}")
    for product in products:
        print(residuals(product))


def residuals(product: Path) -> str:
    with zipfile.ZipFile(product) as archive:
        names = archive.namelist()
        manifest = archive.read(next(name for name in names if name.endswith("manifest.safe"))).decode()
        name = next(name for name in names if re.search(r"annotation/s1[^/]*-grd-(vv|hh)-[^/]*xml$", name))
        image = parse_annotation(archive.read(name), name)
    processor = re.search(r'name="Sentinel-1 IPF" version="([^"]+)"', manifest)
    points = image.geolocation
    found = grd_geometry(image).image_coordinates(ellipsoid.ecef(points.longitude, points.latitude, points.height))
    lines, samples = span(found.line - points.line, 4), span(found.sample - points.pixel, 4)
    return f"{product.name[:67]:68}{processor[1] if processor else '?':>10}{span(points.height, 0):>14}{lines:>20}{samples:>20}"


def span(values: np.ndarray, digits: int) -> str:
    return f"{values.min():.{digits}f} to {values.max():.{digits}f}"


if __name__ == "__main__":
    main()
