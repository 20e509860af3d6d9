"""Provider `local`: products in folders of this machine, as folders or archives."""

from __future__ import annotations

from pathlib import Path

from common.errors import ConfigurationError
from common.product_names import parse_product_name
from common.storage.base import checked_component
from common.storage.directory import disk_errors
from common.threads import Stop, in_thread
from downloader.copying import copy_file, copy_tree
from downloader.members import Members
from downloader.products import is_safe, place_archive
from downloader.providers.base import STEP, NotOfferedError, Place, ProductRequest

_FOLDERS = ("{}.SAFE", "{}")
_ARCHIVES = ("{}.zip", "{}.SAFE.zip", "{}.tar", "{}.tar.gz", "{}.tgz", "{}.SAFE.tar")


class LocalProvider:
    """Looks in `path`, whose `{YEAR}`, `{MONTH}`, `{DAY}`, … are taken from the product's name."""

    def __init__(self, place: Place) -> None:
        if not place.provider.path:
            raise ConfigurationError(f"'providers.{place.name}.path' is not set: a local provider needs a folder")
        self.name = place.name
        self._pattern = place.provider.path

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        source_id = checked_component(request.scene.source_id)
        source = _folder(self._pattern, source_id)
        await in_thread(lambda stop: _fetch(source, source_id, folder, request.members, stop))
        await in_thread(lambda _: request.members.check_fetched(folder))
        request.progress(STEP, 1.0)


def _folder(pattern: str, source_id: str) -> Path:
    if "{" not in pattern:
        return Path(pattern).expanduser()
    try:
        return Path(parse_product_name(source_id).fill(pattern)).expanduser()
    except ValueError as error:
        raise NotOfferedError(f"the folder '{pattern}' cannot be found: {error}") from None


def _fetch(source: Path, source_id: str, folder: Path, members: Members, stop: Stop) -> None:
    with disk_errors(f"{source_id} cannot be copied from {source}"):
        for pattern in _FOLDERS:
            found = source / pattern.format(source_id)
            if found.is_dir():
                name = f"{source_id}.SAFE" if is_safe(found) else found.name
                _copy(found, folder / name, members, stop)
                return
        for pattern in _ARCHIVES:
            found = source / pattern.format(source_id)
            if found.is_file():
                place_archive(found, source_id, folder, stop, wanted=members.wants)
                return
    names = ", ".join(pattern.format(source_id) for pattern in (*_FOLDERS, *_ARCHIVES[:3]))
    why = f"holds none of {names}" if source.is_dir() else "does not exist"
    raise NotOfferedError(f"the folder {source} {why}")


def _copy(source: Path, target: Path, members: Members, stop: Stop) -> None:
    if not members:
        copy_tree(source, target, stop)
        return
    paths = [path.relative_to(source).as_posix() for path in sorted(source.rglob("*")) if path.is_file()]
    for path in members.of(paths, str(source)):
        stop.check()
        copy_file(source / path, target / path, stop)
