"""Annotations out of a large file elsewhere, of which only the needed ranges are fetched: table of contents first, then the members."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import IO, TypeVar

from catalogue.sentinel1.annotations.archives import annotations_in, open_zip, read_bytes, read_zip
from catalogue.sentinel1.annotations.files import MEMBER_BYTES, AnnotationError, AnnotationFile, SceneName
from common.remote_zip import TAIL_BYTES, RemoteFile, RemoteZipError, SparseFile, filled, ranges_of
from common.threads import in_thread

_Result = TypeVar("_Result")


async def read_remote(file: RemoteFile, scene: SceneName, *, tail: bytes = b"") -> list[AnnotationFile]:
    """The annotations of `scene` in a zip of any size, or in a smaller file of any kind; `tail` are its last bytes if known already.

    Raises AnnotationError for a file that holds none or is broken.
    """
    if file.size <= 0:
        raise AnnotationError(f"{file.where} is empty")
    tail = tail or await file.read(max(0, file.size - TAIL_BYTES), file.size)
    if len(tail) == file.size:
        return await in_thread(lambda _: read_bytes(tail, scene, file.where))
    sparse = SparseFile(file.size)
    sparse.fill(file.size - len(tail), tail)
    if not await _filled(file, sparse, lambda whole: zipfile.is_zipfile(whole)):
        if file.size > MEMBER_BYTES:
            raise AnnotationError(f"{file.where} is no zip, or one cut short, and too large to be fetched whole")
        content = await file.read(0, file.size)
        return await in_thread(lambda _: read_bytes(content, scene, file.where))
    members = await _filled(file, sparse, lambda whole: annotations_in(open_zip(whole, file.where), scene, file.where))
    for start, stop in ranges_of(members, file.size):
        sparse.fill(start, await file.read(start, stop))
    return await _filled(file, sparse, lambda whole: read_zip(whole, scene, file.where))


async def _filled(file: RemoteFile, sparse: SparseFile, work: Callable[[IO[bytes]], _Result]) -> _Result:
    try:
        return await filled(file, sparse, work)
    except RemoteZipError as error:
        raise AnnotationError(str(error)) from error
