"""Whether a fetched file holds what it should: archives whose members are whole, products in the SAFE format with all their manifest
lists, rasters that open. What a checksum of the whole file cannot tell, and what there often is no checksum for.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from common.errors import ThresherError
from common.threads import NEVER, Stop
from downloader.checksums import Hasher
from downloader.safe_manifest import MANIFEST, Member, read_manifest

_BLOCK = 2**20
_LARGEST_BLOCK = 256 * 2**20
"""Of a raster, unpacked; a larger one is not read as a test."""
_LARGEST_MANIFEST = 16 * 2**20
_DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".jp2": "JP2OpenJPEG"}
"""The suffix decides: nobody's file is to be taken for one that names others."""
_BINARY = {*_DRIVERS, ".nc", ".h5", ".zip", ".tar", ".tgz", ".gz", ".bz2", ".hdf", ".safe", ".png", ".jpg"}
_PAGES = (b"<!doctype html", b"<html")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


class CorruptError(ThresherError):
    """A file came that is not what it should be."""

    def __init__(self, message: str, *, may_be_the_way: bool = True) -> None:
        """Unless it `may_be_the_way` it took, it is the same at its origin, and fetching it again will not help."""
        self.may_be_the_way = may_be_the_way
        super().__init__(message)


def check_file(path: Path, name: str, where: str, stop: Stop = NEVER, *, proven: bool = False) -> None:
    """Raises CorruptError, naming `where` and the member, for a file that is broken, or no file of the kind its `name` ends in.

    `proven`: a checksum says that it is as at its origin.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in _BINARY and head.lstrip().lower().startswith(_PAGES):
            # Often the page of a login, with status 200.
            raise CorruptError(f"{where} holds a web page instead of a file: does the provider need an account?", may_be_the_way=False)
        if head.startswith(_ZIP) or suffix == ".zip":
            _check_zip(path, stop)
        elif suffix in _DRIVERS:
            _check_raster(path, suffix)
    except CorruptError as error:
        if not str(error).startswith(where):
            raise CorruptError(f"{where}: {error}", may_be_the_way=not proven) from error
        raise


def _check_zip(path: Path, stop: Stop) -> None:
    """Every member, once: its CRC, and what a manifest in the archive says of it."""
    with _zip_errors(), zipfile.ZipFile(path) as archive:
        listed = dict(_members(archive))
        for info in archive.infolist():
            if info.is_dir():
                continue
            member = listed.pop(info.filename, None)
            hasher = member.checksum.hasher() if member and member.checksum else None
            size = _read(archive, info, hasher, stop)
            if member:
                _compare(member, size, hasher)
        for member in listed.values():
            if member.is_needed:
                raise CorruptError(f"the manifest lists {member.path}, which is missing")


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, Member]]:
    """What the manifests of the archive list, by the name in the archive."""
    for info in archive.infolist():
        if PurePosixPath(info.filename).name == MANIFEST and info.file_size <= _LARGEST_MANIFEST:
            base = info.filename.removesuffix(MANIFEST)
            with archive.open(info) as file:
                content = file.read(_LARGEST_MANIFEST)
            yield from ((base + member.path, member) for member in _listed(content, info.filename))


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, hasher: Hasher | None, stop: Stop) -> int:
    size = 0
    try:
        with archive.open(info) as file:
            while block := file.read(_BLOCK):
                stop.check()
                size += len(block)
                if size > info.file_size:
                    raise CorruptError(f"its member {info.filename} is larger than it says")
                if hasher:
                    hasher.update(block)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise CorruptError(f"its member {info.filename} is broken: {error or 'it is cut short'}") from error
    return size


def _compare(member: Member, size: int, hasher: Hasher | None) -> None:
    if not member.is_needed:
        return  # some producers rewrite previews and pages without their manifest
    if member.size is not None and size != member.size:
        raise CorruptError(f"its member {member.path} has {size} bytes instead of the {member.size} of the manifest")
    if member.checksum and hasher and hasher.hexdigest() != member.checksum.digest:
        raise CorruptError(f"its member {member.path} has another {member.checksum.algorithm} than in the manifest")


def _listed(content: bytes, where: str) -> list[Member]:
    try:
        return read_manifest(content)
    except ValueError as error:
        raise CorruptError(f"{where}: {error}") from error


def _check_raster(path: Path, suffix: str) -> None:
    """It opens, and its first and its last block can be read: the last one is missing in a file that was cut short."""
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(path, driver=_DRIVERS[suffix], sharing=False) as raster:
            height, width = raster.block_shapes[-1]
            if height * width * 16 > _LARGEST_BLOCK:
                return
            for left, top in ((0, 0), (raster.width - 1, raster.height - 1)):
                raster.read(raster.count if left else 1, window=Window(left, top, 1, 1))
    except RasterioError as error:
        why = str(error).replace(f"'{path}' ", "").replace(str(path), "it")
        raise CorruptError(f"it cannot be read as {suffix[1:]}: {why}") from error


@contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except zipfile.BadZipFile as error:
        raise CorruptError(f"the archive is broken or cut short: {error}") from error
    except (NotImplementedError, RuntimeError):
        return  # encrypted, or packed in a way the library does not know: whoever unpacks it will say so
