"""Annotations on disk: a SAFE folder, a folder that holds one, a folder of bare annotations, or any file `archives` understands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from catalogue.sentinel1.annotations.archives import read_archive
from catalogue.sentinel1.annotations.files import MEMBER_BYTES, AnnotationError, AnnotationFile, Collection, SceneName
from common.storage.directory import disk_errors
from common.threads import NEVER, Stop


def read_local(path: Path, scene: SceneName, allow: Callable[[Path], None], stop: Stop = NEVER) -> list[AnnotationFile]:
    """The annotations of `scene` at `path`; `allow` is asked about every file before it is opened, and raises where it must not be.

    Raises AnnotationError for what is not there or not as it should be, StorageError for a disk that cannot be read.
    """
    allow(path)
    with disk_errors(f"{path} cannot be read"):
        if path.is_file():
            return _read_file(path, scene, stop)
        if not path.is_dir():
            raise AnnotationError(f"{path} does not exist")
        return _read_folder(path, scene, allow, stop)


def _read_file(path: Path, scene: SceneName, stop: Stop) -> list[AnnotationFile]:
    with path.open("rb") as file:
        return read_archive(file, scene, str(path), stop)


def _read_folder(path: Path, scene: SceneName, allow: Callable[[Path], None], stop: Stop) -> list[AnnotationFile]:
    safe = path / f"{scene.text}.SAFE"
    for name in (f"{scene.text}.SAFE.zip", f"{scene.text}.zip"):
        if not safe.is_dir() and (path / name).is_file():
            allow(path / name)
            return _read_file(path / name, scene, stop)
    root = safe if safe.is_dir() else path
    folder = root / "annotation" if (root / "annotation").is_dir() else root
    allow(folder)
    collection = Collection(scene, str(root))
    for file in sorted(folder.iterdir()):
        stop.check()
        name = file.relative_to(root.parent).as_posix()
        if not scene.holds(name) or not file.is_file():
            continue
        allow(file)
        collection.reserve(name, file.stat().st_size)
        with file.open("rb") as reader:
            collection.put(name, reader.read(MEMBER_BYTES))
    return collection.files()
