"""Time and memory of the optical steps on a simulated Sentinel-2 product of 10,000 x 10,000 pixels of 10 m.

LAI at 10 m, NDVI without clouds, the mask, and a median of three dates, each in a process of its own.

Run: python tests/benchmarks/optical.py [--pixels 10000] [--only vegetation]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

sys.path.insert(0, str(Path(__file__).resolve().parents[0]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cog import measured
from simulated_sentinel2 import EPSG, LEFT, TOP, write_angles

from common.product import ProductAsset, ProductManifest

SCENE = "S2A_MSIL2A_20190307T105021_N0211_R051_T31UFS_20190307T130000"
BANDS = {"B03": 10, "B04": 10, "B08": 10, "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B11": 20, "B12": 20, "SCL": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=10_000)
    parser.add_argument("--only", default="", help="names of steps, separated by commas")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        workdir = Path(folder)
        product(workdir, options.pixels)
        steps = {
            "vegetation": ["--out=lai.tif", "--resolution=10"],
            "expression": ["--out=ndvi.tif", "--expression=NDVI", "--mask=default", "--grow=5"],
            "cloud_mask": ["--out=mask.tif", "--grow=5"],
            "composite": ["--pattern-out=20190307_x_*.tif", "--layers=B04,NDVI", "--history-out=history.tif"],
        }
        for name, more in steps.items():
            if options.only and name not in options.only.split(","):
                continue
            code = f"import sys; from processor.steps.{name} import main; sys.exit(main(sys.argv[1:]))"
            cost = measured([sys.executable, "-c", code, f"--workdir={workdir}", f"--scene={SCENE}", *more])
            print(f"{name:12} {cost.wall_s:7.1f} s  {cost.cpu_s:7.1f} s of processor  {cost.memory_mb:6.0f} MB at most", flush=True)


def product(workdir: Path, pixels: int) -> None:
    """Bands of vegetation with noise, a classification with clouds, angles every 5 km."""
    generator = np.random.default_rng(0)
    levels = dict(zip(BANDS, (600, 500, 3000, 900, 2200, 2800, 3100, 1800, 1000, 4), strict=True))
    assets = {}
    for layer, resolution in BANDS.items():
        size = pixels * 10 // resolution
        profile: dict[str, Any] = {"driver": "GTiff", "width": size, "height": size, "count": 1, "crs": f"EPSG:{EPSG}", "tiled": True}
        dtype = "uint8" if layer == "SCL" else "uint16"
        transform = rasterio.Affine(resolution, 0, LEFT, 0, -resolution, TOP)
        settings = {"blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1}
        with rasterio.open(workdir / f"{layer}.tif", "w", dtype=dtype, transform=transform, nodata=0, **settings, **profile) as raster:
            for top in range(0, size, 512):
                rows = min(512, size - top)
                values = np.full((rows, size), levels[layer]) if layer == "SCL" else generator.normal(levels[layer], 200, (rows, size))
                if layer == "SCL" and top // 512 % 3 == 0:
                    values[:, : size // 4] = 9
                raster.write(np.clip(values, 1, 10_000).astype(dtype), 1, window=Window(0, top, size, rows))
        assets[layer] = ProductAsset(file=f"{layer}.tif", href=f"https://example.com/{layer}.tif")
    ProductManifest(source_id=SCENE, assets=assets).write(workdir)
    nodes = np.ones((23, 23))
    write_angles(workdir, 5000, [nodes * 40, nodes * 160], [[nodes * np.linspace(2, 9, 23), nodes * 100]])


if __name__ == "__main__":
    main()
