"""Annotations out of files that hold more: a zip, a tar, one XML document of many; read in place, the other members untouched."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO

from catalogue.sentinel1.annotations.documents import is_document, read_document
from catalogue.sentinel1.annotations.files import MEMBER_BYTES, AnnotationError, AnnotationFile, Collection, SceneName
from common.threads import NEVER, Stop

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP_START = b"\x1f\x8b"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TAR_BYTES = 2 * 2**30
_TAR_MEMBERS = 20_000
_ENCRYPTED = 0x1
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile, ValueError)


def read_archive(file: IO[bytes], scene: SceneName, where: str, stop: Stop = NEVER) -> list[AnnotationFile]:
    """The annotations of `scene` in a seekable file: a zip or tar (also gzip, bzip2, xz) of a SAFE or of bare annotations, or an XML
    document of all of them (also gzip).

    Raises AnnotationError naming `where` and the member.
    """
    start = file.read(512)
    file.seek(0)
    if start[:4] in _ZIP_STARTS or zipfile.is_zipfile(file):
        return read_zip(file, scene, where, stop)
    file.seek(0)
    try:
        archive = tarfile.open(fileobj=file, mode="r:*")  # noqa: SIM115 - closing it would do nothing: the file is the caller's
    except _BROKEN:
        file.seek(0)
        return read_document(_document(file, start, where), scene, where)
    return _read_tar(archive, scene, where, stop)


def read_zip(file: IO[bytes], scene: SceneName, where: str, stop: Stop = NEVER) -> list[AnnotationFile]:
    """The annotations of `scene` in a zip; raises AnnotationError."""
    archive = open_zip(file, where)
    collection = Collection(scene, where)
    for member in annotations_in(archive, scene, where):
        stop.check()
        collection.reserve(member.filename, member.file_size)
        try:
            collection.put(member.filename, archive.read(member))
        except (*_BROKEN, NotImplementedError, RuntimeError) as error:
            raise collection.error(member.filename, f"is broken: {error}") from error
    return collection.files()


def open_zip(file: IO[bytes], where: str) -> zipfile.ZipFile:
    """Its table of contents read; raises AnnotationError for a broken one."""
    try:
        return zipfile.ZipFile(file)
    except (*_BROKEN, NotImplementedError) as error:
        raise AnnotationError(f"{where} is no zip, or one cut short: {error}") from error


def annotations_in(archive: zipfile.ZipFile, scene: SceneName, where: str) -> Sequence[zipfile.ZipInfo]:
    """Those members of a zip; raises AnnotationError for one that cannot be read or is too large."""
    members = [member for member in archive.infolist() if scene.holds(member.filename)]
    collection = Collection(scene, where)
    for member in members:
        # What a member takes in the archive is as much under control of others as what it unpacks to.
        collection.reserve(member.filename, max(member.file_size, member.compress_size))
        if member.flag_bits & _ENCRYPTED:
            raise collection.error(member.filename, "is encrypted")
        if member.compress_type not in _METHODS:
            raise collection.error(member.filename, "is neither stored nor deflated")
    if not members:
        raise AnnotationError(f"{where} holds no annotation of {scene.text}")
    return members


def _read_tar(archive: tarfile.TarFile, scene: SceneName, where: str, stop: Stop) -> list[AnnotationFile]:
    collection = Collection(scene, where)
    passed = 0
    name = "its end"
    try:
        for number, member in enumerate(archive):
            stop.check()
            name = member.name
            passed += member.size
            if passed > _TAR_BYTES or number >= _TAR_MEMBERS:
                raise collection.error(name, "lies too far behind to be looked for: give the SAFE or a zip instead")
            if not member.isfile() or not scene.holds(member.name.removeprefix("./")):
                continue
            collection.reserve(name, member.size)
            reader = archive.extractfile(member)
            content = reader.read(member.size) if reader else b""
            if len(content) != member.size:
                raise EOFError("it ends too early")
            collection.put(name, content)
    except _BROKEN as error:
        raise collection.error(name, f"is broken: {error}") from error
    return collection.files()


def _document(file: IO[bytes], start: bytes, where: str) -> bytes:
    try:
        reader = gzip.GzipFile(fileobj=file) if start.startswith(_GZIP_START) else file
        content = reader.read(MEMBER_BYTES + 1)
    except _BROKEN as error:
        raise AnnotationError(f"{where} is cut short or broken: {error}") from error
    if len(content) > MEMBER_BYTES:
        raise AnnotationError(f"{where} is neither a zip nor a tar, and too large for an XML document")
    if not is_document(content):
        raise AnnotationError(f"{where} is neither a zip, nor a tar, nor an XML document of annotations")
    return content


def pack(files: Sequence[AnnotationFile], scene: SceneName, target: IO[bytes]) -> None:
    """Write annotations as a zip that `read_zip` understands; the same ones give the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for each in files:
            member = zipfile.ZipInfo(f"{scene.text}.SAFE/annotation/{each.name}", (1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, each.content)


def read_bytes(content: bytes, scene: SceneName, where: str) -> list[AnnotationFile]:
    """As `read_archive`, of a file in memory."""
    return read_archive(io.BytesIO(content), scene, where)
