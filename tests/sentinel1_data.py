"""The Sentinel-1 test data as annotations, and small annotations made by hand."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from catalogue.sentinel1.annotations.archives import read_bytes
from catalogue.sentinel1.annotations.files import AnnotationFile, parse_scene
from common.product_names import parse_product_name
from common.times import rfc3339

PAIR = (
    "S1A_IW_SLC__1SDV_20250406T022008_20250406T022035_058630_07421F_93A7",
    "S1A_IW_SLC__1SDV_20250418T022008_20250418T022035_058805_074946_C7D4",
)
SERIES = (
    "S1A_IW_SLC__1SDV_20150423T170524_20150423T170552_005614_007305_67F9",
    "S1A_IW_SLC__1SDV_20180501T170533_20180501T170600_021714_025757_FCC4",
    "S1B_IW_SLC__1SDV_20211217T170502_20211217T170530_030068_039713_3E15",
    "S1A_IW_SLC__1SDV_20240223T170606_20240223T170633_052689_065FFC_026B",
)
ROME = "S1A_IW_SLC__1SDV_20220104T170557_20220104T170624_041314_04E951_F1F1"


def pair_zip(data: Path, scene: str) -> Path:
    return data / "s1_slc" / "pair_T108_20250406_20250418" / f"{scene}.SAFE.zip"


def annotations(data: Path, scene: str) -> list[AnnotationFile]:
    """All annotations of a scene of the test data."""
    if scene in PAIR:
        path = pair_zip(data, scene)
    elif scene in SERIES:
        path = data / "s1_slc" / "series_T117" / f"{scene}_VV.xml.gz"
    else:
        [path] = (data / "s1_slc").glob(f"*/{scene}.SAFE/annotation/*.xml")
        return [AnnotationFile(path.name, path.read_bytes())]
    return read_bytes(path.read_bytes(), parse_scene(scene), path.name)


def annotation(
    swath: str = "IW1",
    *,
    times: Sequence[float] = (836.1, 838.9),
    ids: Sequence[int | None] = (),
    origin: tuple[float, float] = (10.0, 50.0),
    polarisation: str = "vv",
    product: str = "SLC",
    mission: str = "S1A",
    orbit: int = 58630,
    direction: str = "Ascending",
    line_shift: Sequence[int] = (),
) -> AnnotationFile:
    """An annotation with bursts of 100 lines and 50 samples, each 0.2 degrees high and 1 degree wide, the first at `origin`.

    `line_shift`: added to the lines of the grid, row by row.
    """
    shifts = [*line_shift, *[0] * (len(times) + 1 - len(line_shift))]
    west, south = origin

    def longitude(offset: float) -> float:
        return (west + offset + 180) % 360 - 180

    bursts = "".join(
        f"<burst><azimuthTime>2025-04-06T02:20:09</azimuthTime><azimuthAnxTime>{time:.15e}</azimuthAnxTime>"
        + (f'<burstId absolute="1">{ids[number]}</burstId>' if number < len(ids) and ids[number] is not None else "")
        + "</burst>"
        for number, time in enumerate(times)
    )
    points = "".join(
        f"<geolocationGridPoint><line>{row * 100 + shifts[row]}</line><pixel>{pixel}</pixel>"
        f"<latitude>{south + 0.2 * row}</latitude><longitude>{longitude(offset)}</longitude></geolocationGridPoint>"
        for row in range(len(times) + 1)
        for pixel, offset in ((0, 0.0), (25, 0.5), (49, 1.0))
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<product><adsHeader>'
        f"<missionId>{mission}</missionId><productType>{product}</productType><polarisation>{polarisation.upper()}</polarisation>"
        f"<mode>IW</mode><swath>{swath}</swath><absoluteOrbitNumber>{orbit}</absoluteOrbitNumber></adsHeader>"
        f"<generalAnnotation><productInformation><pass>{direction}</pass></productInformation></generalAnnotation>"
        f"<swathTiming><linesPerBurst>100</linesPerBurst><samplesPerBurst>50</samplesPerBurst><burstList>{bursts}</burstList></swathTiming>"
        f"<geolocationGrid><geolocationGridPointList>{points}</geolocationGridPointList></geolocationGrid></product>\n"
    )
    name = f"{mission.lower()}-{swath.lower()}-{product.lower()}-{polarisation}-20250406t022009-20250406t022034-{orbit:06}-07421f-001.xml"
    return AnnotationFile(name, text.encode())


def scene_name(start: datetime, *, mission: str = "S1A", orbit: int = 58630, unique: str = "ABCD", seconds: int = 27) -> str:
    """The name of an IW SLC product."""
    stop = start + timedelta(seconds=seconds)
    return f"{mission}_IW_SLC__1SDV_{start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_{orbit:06}_07421F_{unique}"


def write_zip(folder: Path, scene: str, files: Sequence[AnnotationFile]) -> Path:
    """The zip of a product that is nothing but its annotations, which get the names they have in it."""
    mission, _, _, _, _, start, stop, orbit, take, _ = scene.split("_")
    path = folder / f"{scene}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, file in enumerate(files, 1):
            _, swath, product, polarisation, *_ = file.name.split("-")
            name = f"{mission}-{swath}-{product}-{polarisation}-{start}-{stop}-{orbit}-{take}-{number:03}.xml".lower()
            archive.writestr(f"{scene}.SAFE/annotation/{name}", file.content)
    return path


def scenes_document(names: Sequence[str], **more: Any) -> dict[str, Any]:
    """Scenes as the catalogue lists them, for review; footprint: the world."""
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": None,
                "properties": {
                    "source_id": name,
                    "data": {"date": f"{rfc3339(parse_product_name(name).sensing_start)}", **more},
                    "tags": {},
                    "wkt": "POLYGON ((-179 -85, 179 -85, 179 85, -179 85, -179 -85))",
                },
            }
            for name in names
        ],
    }
