"""Simulated Sentinel-2 products: small SAFE folders with bands and angle grids that are made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

LEFT, TOP = 600_000, 5_700_000
EPSG = 32631

_PRODUCT = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd">
 <n1:General_Info><Product_Image_Characteristics>
  <QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">{quantification}</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>
  <BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>
 </Product_Image_Characteristics></n1:General_Info>
</n1:Level-{level}_User_Product>
"""

_TILE = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd"><n1:Geometric_Info>
 <Tile_Geocoding><HORIZONTAL_CS_CODE>EPSG:{epsg}</HORIZONTAL_CS_CODE>
  <Geoposition resolution="10"><ULX>{left}</ULX><ULY>{top}</ULY><XDIM>10</XDIM><YDIM>-10</YDIM></Geoposition></Tile_Geocoding>
 <Tile_Angles><Sun_Angles_Grid>{sun}</Sun_Angles_Grid>{views}</Tile_Angles>
</n1:Geometric_Info></n1:Level-2A_Tile_ID>
"""


def write_safe(
    folder: Path, name: str, bands: Mapping[tuple[str, int], np.ndarray[Any, Any]], quantification: int = 10_000, offset: int = -1000
) -> Path:
    """`{name}.SAFE` in `folder` with these bands, by layer and resolution (m), as lossless JPEG 2000; its GRANULE folder.

    Reflectance is (pixel + offset) / quantification.
    """
    safe = folder / f"{name}.SAFE"
    level = "1C" if "L1C" in name else "2A"
    granule = safe / "GRANULE" / f"L{level}_T31UFS_A000_20190307T105021"
    for (layer, resolution), pixels in bands.items():
        path = granule / "IMG_DATA" / f"R{resolution}m" / f"T31UFS_20190307T105021_{layer}_{resolution}m.jp2"
        path.parent.mkdir(parents=True, exist_ok=True)
        profile = {"driver": "JP2OpenJPEG", "dtype": pixels.dtype, "crs": f"EPSG:{EPSG}", "count": 1, "QUALITY": 100, "REVERSIBLE": "YES"}
        transform = rasterio.Affine(resolution, 0, LEFT, 0, -resolution, TOP)
        with rasterio.open(path, "w", height=pixels.shape[0], width=pixels.shape[1], transform=transform, **profile) as dataset:
            dataset.write(pixels, 1)
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{number}">{offset}</BOA_ADD_OFFSET>' for number in range(13))
    (safe / f"MTD_MSIL{level}.xml").write_text(_PRODUCT.format(level=level, quantification=quantification, offsets=offsets))
    return granule


def write_angles(granule: Path, step: float, sun: Sequence[np.ndarray[Any, Any]], views: Sequence[Sequence[np.ndarray[Any, Any]]]) -> None:
    """MTD_TL.xml: nodes every `step` metres; zenith and azimuth (degrees) of the sun, and of the view of each detector (NaN: not seen)."""
    texts = "".join(
        f'<Viewing_Incidence_Angles_Grids bandId="3" detectorId="{number}">{_grids(step, *view)}</Viewing_Incidence_Angles_Grids>'
        for number, view in enumerate(views, 1)
    )
    (granule / "MTD_TL.xml").write_text(_TILE.format(epsg=EPSG, left=LEFT, top=TOP, sun=_grids(step, *sun), views=texts))


def _grids(step: float, zenith: np.ndarray[Any, Any], azimuth: np.ndarray[Any, Any]) -> str:
    def grid(name: str, values: np.ndarray[Any, Any]) -> str:
        rows = "".join(f"<VALUES>{' '.join('NaN' if np.isnan(value) else f'{value:.9f}' for value in row)}</VALUES>" for row in values)
        size = f'<COL_STEP unit="m">{step}</COL_STEP><ROW_STEP unit="m">{step}</ROW_STEP>'
        return f"<{name}>{size}<Values_List>{rows}</Values_List></{name}>"

    return grid("Zenith", zenith) + grid("Azimuth", azimuth)
