"""Scenes with real annotations, and readers that look for them in places of a test."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from range_server import RangeServer
from sentinel1_data import PAIR, SERIES

from catalogue.sentinel1.annotations import AnnotationFile, AnnotationReader, configured_reader
from common.config import Settings
from common.features import SceneFeature

FIRST, SECOND = PAIR
OLD = SERIES[0]


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


def annotations_in_zip(pair: Path, scene: str) -> list[AnnotationFile]:
    """Read without what is under test."""
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
