"""Which file of a tile lies where in storage, and how the layers that are folders travel as one zip.

Key: `{aoi}/{scene}/tiles/{tile}/{file}`; a file that belongs to one attempt only has the job before its name, so that a late worker can
never write over a published one.
"""

from __future__ import annotations

import math
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from common.archives import ArchiveLimits, pack, unpack
from common.config import Settings, require
from common.errors import ConfigurationError, MissingFileError, StorageError, UserError
from common.messages import SceneRef, StoredFile, TileRef
from common.storage import PART_PREFIX, Storage, is_below, open_storage
from common.storage.base import checked_component
from common.threads import Stop, in_thread

PRODUCT = "__product__"
ANNOTATIONS = "__annotations__"
EVERYTHING = "*"
"""The extension that stands for the whole working directory."""

_LIMITS = ArchiveLimits(ratio=math.inf)
"""Layers of our own may be mostly empty, and then pack as well as any bomb."""

_FOLDERS = {"SAFE", "dim", "data", EVERYTHING}


def layer_file_name(tile: TileRef, layer: str, extension: str) -> str:
    """`{YYYYMMDD}_{tile}_{layer}.{ext}` with the date of the tile's scene; `{scene}.{ext}` for the product itself."""
    ending = "" if extension in ("", EVERYTHING) else f".{extension}"
    match layer:
        case "__product__":
            stem = tile.scene.source_id
        case "__annotations__":
            stem = f"{tile.scene.source_id}_annotations"
        case _:
            stem = f"{tile.scene.date:%Y%m%d}_{tile.source_id}_{layer}"
    return checked_component(stem + ending)


def is_folder(extension: str) -> bool:
    """Whether layers of this extension are folders, stored as one zip."""
    return extension in _FOLDERS


class LayerStore:
    """Saves and fetches the layers of tiles between a working directory and a storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def uri(self, tile: TileRef, layer: str, extension: str) -> str:
        """Where the layer is or would be (not one kept under a job)."""
        return self.storage.uri(_key(tile, layer, extension, None))

    async def save(self, tile: TileRef, layer: str, extension: str, workdir: Path, *, job: UUID | None = None) -> StoredFile:
        """Store the layer that a graph left in `workdir`. Raises MissingFileError where it did not."""
        key = _key(tile, layer, extension, job)
        name = layer_file_name(tile, layer, extension)
        if not is_folder(extension):
            return await self.storage.put(workdir / name, key)
        names = await in_thread(lambda _: _members(workdir, name, extension))
        archive = workdir / f"{PART_PREFIX}{uuid.uuid4().hex}.zip"
        try:
            await in_thread(lambda stop: pack(workdir, names, archive, stop))
            return await self.storage.put(archive, key)
        finally:
            archive.unlink(missing_ok=True)

    async def save_log(self, path: Path, scene: SceneRef, tile: TileRef | None, run: UUID) -> StoredFile:
        """Store what the steps of an execution printed: below its tile, or its scene."""
        place = [scene.aoi, scene.source_id, *(["tiles", tile.source_id] if tile else [])]
        return await self.storage.put(path, "/".join([*map(checked_component, place), "logs", f"{run}{''.join(path.suffixes)}"]))

    async def fetch(self, tile: TileRef, layer: str, extension: str, workdir: Path) -> Path:
        """Bring the layer into `workdir`, over what was there; the path of its file or folder. Raises MissingFileError."""
        key = _key(tile, layer, extension, None)
        target = workdir / layer_file_name(tile, layer, extension)
        if not is_folder(extension):
            await self.storage.get(key, target)
            return target
        token = f"{PART_PREFIX}{uuid.uuid4().hex}"
        archive, unpacked = workdir / f"{token}.zip", workdir / token
        try:
            await self.storage.get(key, archive)
            await in_thread(_unpacking(archive, unpacked, target, extension))
        finally:
            archive.unlink(missing_ok=True)
            await in_thread(lambda _: shutil.rmtree(unpacked, ignore_errors=True))
        return target


def open_layer_store(storage_uri: str, settings: Settings) -> LayerStore:
    """The layers in `storage_uri` (empty: the default storage).

    Raises UserError where the configuration does not allow that place, ConfigurationError where there is no default.
    """
    if storage_uri:
        default = [settings.storage] if settings.storage else []
        try:
            allowed = any(is_below(storage_uri, prefix) for prefix in [*default, *settings.limits.allowed_storage])
        except ConfigurationError as error:
            raise UserError(str(error), field="storage_uri") from None
        if not allowed:
            raise UserError(
                f"{storage_uri[:200]!r} is not below the default storage nor below a prefix of limits.allowed_storage", field="storage_uri"
            )
    return LayerStore(open_storage(storage_uri or require(settings.storage, "storage"), settings))


def _key(tile: TileRef, layer: str, extension: str, job: UUID | None) -> str:
    name = layer_file_name(tile, layer, "zip" if is_folder(extension) else extension)
    folder = [tile.scene.aoi, tile.scene.source_id, "tiles", tile.source_id, *([str(job)] if job else [])]
    return "/".join([*map(checked_component, folder), name])


def _members(workdir: Path, name: str, extension: str) -> list[str]:
    """The entries of `workdir` that make up the layer."""
    if extension == EVERYTHING:
        return sorted(entry.name for entry in workdir.iterdir() if not entry.name.startswith(PART_PREFIX))
    if not (workdir / name).exists():
        raise MissingFileError(str(workdir / name))
    data = Path(name).with_suffix(".data").name
    return [name, data] if extension == "dim" and (workdir / data).exists() else [name]


def _unpacking(archive: Path, unpacked: Path, target: Path, extension: str) -> Callable[[Stop], None]:
    """Unpack and put in place: the member named as the target where there is one, else the whole as the folder `target`."""

    def work(stop: Stop) -> None:
        unpack(archive, unpacked, limits=_LIMITS, stop=stop)
        member = unpacked / target.name
        stop.check()
        if not member.exists():
            _replace(unpacked, target)
            return
        data = member.with_suffix(".data")
        if extension == "dim" and data.exists():
            _replace(data, target.with_suffix(".data"))
        _replace(member, target)

    return work


def _replace(source: Path, target: Path) -> None:
    try:
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        source.replace(target)
    except OSError as error:
        raise StorageError(f"{target} cannot be put in place: {error.strerror or error}") from error
