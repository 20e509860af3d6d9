"""Annotations kept in the storage, one zip a scene, so that what was fetched once is not fetched again. It may be lost at any time."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from catalogue.sentinel1.annotations.archives import pack, read_archive
from catalogue.sentinel1.annotations.files import AnnotationFile, SceneName
from common.errors import MissingFileError, ThresherError
from common.storage import Storage
from common.threads import in_thread

_FOLDER = "annotations"
_log = logging.getLogger(__name__)


class AnnotationCache:
    """A folder of a storage. What cannot be read is as good as not there; what cannot be written is told and let go."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def read(self, scene: SceneName, suffix: str) -> list[AnnotationFile] | None:
        """The annotations of `scene` kept under `suffix`; None where there are none, or only broken ones."""
        key = self.key(scene, suffix)
        try:
            with tempfile.TemporaryDirectory(prefix="annotations-") as folder:
                path = Path(folder) / "annotations.zip"
                await self._storage.get(key, path)
                return await in_thread(lambda _: _read(path, scene, self._storage.uri(key)))
        except MissingFileError:
            return None
        except (ThresherError, OSError) as error:
            _log.warning("cached annotations are left aside: %s", error)
            return None

    async def write(self, scene: SceneName, suffix: str, files: Sequence[AnnotationFile]) -> None:
        """Keep the annotations of `scene`, over what was there; atomic."""
        try:
            with tempfile.TemporaryDirectory(prefix="annotations-") as folder:
                path = Path(folder) / "annotations.zip"
                await in_thread(lambda _: _write(path, scene, files))
                await self._storage.put(path, self.key(scene, suffix))
        except (ThresherError, OSError) as error:
            _log.warning("annotations of %s could not be cached: %s", scene.text, error)

    def key(self, scene: SceneName, suffix: str) -> str:
        return f"{_FOLDER}/{scene.text}{suffix}.zip"


def _read(path: Path, scene: SceneName, where: str) -> list[AnnotationFile]:
    with path.open("rb") as file:
        return read_archive(file, scene, where)


def _write(path: Path, scene: SceneName, files: Sequence[AnnotationFile]) -> None:
    with path.open("wb") as file:
        pack(files, scene, file)
