"""Scenes with real annotations, and readers that look for them in places of a test."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from range_server import RangeServer

from catalogue.sentinel1.annotations import AnnotationFile, AnnotationReader, configured_reader
from common.config import Settings
from common.features import SceneFeature

FIRST = "S1A_IW_SLC__1SDV_20250406T022008_20250406T022035_058630_07421F_93A7"
SECOND = "S1A_IW_SLC__1SDV_20250418T022008_20250418T022035_058805_074946_C7D4"
ROME = "S1A_IW_SLC__1SDV_20220104T170557_20220104T170624_041314_04E951_F1F1"
OLD = "S1A_IW_SLC__1SDV_20150423T170524_20150423T170552_005614_007305_67F9"
UUID = "db0c8ef3-8ec0-5185-a537-812dad3c58f8"
BIG = 4 * 2**30 + 12_345


@dataclass
class Site:
    """A running server."""

    server: RangeServer
    url: str

    def pattern(self, behaviour: str = "ranges", name: str = "{SCENE}.zip") -> str:
        return f"{self.url}/{behaviour}/{name}"


def scene_named(source_id: str, uuid: str = "") -> SceneFeature:
    data = {"date": "2025-04-06T02:20:08Z", "metadata": {"uuid": uuid}}
    return SceneFeature.model_validate({"source_id": source_id, "data": data, "wkt": "POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0))"})


def expected(pair: Path, scene: str) -> list[AnnotationFile]:
    with zipfile.ZipFile(pair / f"{scene}.SAFE.zip") as archive:
        names = [name for name in archive.namelist() if name.startswith(f"{scene}.SAFE/annotation/s1a-")]
        return [AnnotationFile(name.rpartition("/")[2], archive.read(name)) for name in sorted(names)]


def reader_of(*urls: str, storage: Path | str = "", allowed: Sequence[str] = (), **annotations: object) -> AnnotationReader:
    limits = {"allowed_urls": list(allowed)}
    chosen = {"urls": list(urls), "timeout_s": 5, "retries": 2, **annotations}
    return configured_reader(Settings.model_validate({"storage": str(storage), "annotations": chosen, "limits": limits}))


def write_zip(path: Path, annotations: Sequence[AnnotationFile], folder: str = "", method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for each in annotations:
            archive.writestr(folder + each.name, each.content)
