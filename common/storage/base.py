"""What every storage promises, and the rules for the keys of its files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Protocol

from common.errors import UserError
from common.messages import StoredFile

PART_PREFIX = ".part-"
"""Names beginning so belong to unfinished writes: never read, free to be swept when old."""

BLOCK = 2**20
"""Bytes read or written at once."""

_MAX_COMPONENT = 255
_MAX_KEY = 1000


class Storage(Protocol):
    """Files under one root, by key (`aoi/scene/tiles/tile/file.tif`). A key is there whole or not at all."""

    root: str
    """URI of the root: an absolute path, or `s3://bucket/prefix`; no slash at its end."""

    async def put(self, source: Path, key: str) -> StoredFile:
        """Store the file `source` as `key`, over what was there; atomic. Raises MissingFileError where there is no `source`."""
        ...

    async def get(self, key: str, target: Path) -> None:
        """Write `key` to the file `target`; atomic. Raises MissingFileError."""
        ...

    async def delete(self, uri: str) -> None:
        """Remove a file by its URI; what is gone already is no error. Raises UserError for a URI outside the root."""
        ...

    async def files(self, uri: str) -> list[str]:
        """The URIs of all files below the folder `uri`, unfinished writes left out. Raises UserError for a URI outside the root."""
        ...

    async def discard_parts(self, before: datetime) -> int:
        """Remove what unfinished writes left anywhere below the root, if it was last touched before this; how many there were."""
        ...

    async def exists(self, key: str) -> bool: ...

    def uri(self, key: str) -> str:
        """Where `key` is or would be."""
        ...


def checked_key(key: str) -> str:
    """`key`, if it cannot lead out of the root nor into an unfinished write; raises UserError."""
    if len(key.encode("utf-8", "replace")) > _MAX_KEY:
        raise UserError(f"longer than {_MAX_KEY} bytes", field="key")
    for component in key.split("/"):
        checked_component(component)
    return key


def checked_component(name: str) -> str:
    """`name`, if it can be one part of a key; raises UserError."""
    if not name or name in (".", "..") or "/" in name or "\\" in name or any(not part.isprintable() for part in name):
        raise UserError(f"{name[:80]!r} cannot be part of a storage key", field="key")
    if name.startswith(PART_PREFIX):
        raise UserError(f"{name[:80]!r} begins like an unfinished write", field="key")
    if len(name.encode("utf-8", "replace")) > _MAX_COMPONENT:
        raise UserError(f"{name[:80]!r} is longer than {_MAX_COMPONENT} bytes", field="key")
    return name


def key_below(root: str, uri: str) -> str:
    """The key of `uri` in the storage at `root`; raises UserError where it is not below it."""
    if not uri.startswith(root.rstrip("/") + "/"):
        raise UserError(f"{uri[:200]!r} is not in the storage {root}", field="uri")
    return checked_key(uri.removeprefix(root.rstrip("/") + "/"))
