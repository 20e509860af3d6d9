"""Checksums as catalogues and servers write them: multihash (STAC `file:checksum`), plain hexadecimal, by name (OData), ETags of S3."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import blake3

_MULTIHASH = {
    0x11: "sha1",
    0x12: "sha256",
    0x13: "sha512",
    0x14: "sha3_512",
    0x15: "sha3_384",
    0x16: "sha3_256",
    0x1E: "blake3",
    0x20: "sha384",
    0xD5: "md5",
}
"""Codes of the multicodec table."""
_PLAIN = {16: "md5", 32: "sha256", 20: "sha1", 64: "sha512"}
"""By length in bytes."""
_SIZES = {
    "md5": 16,
    "sha1": 20,
    "sha256": 32,
    "sha384": 48,
    "sha512": 64,
    "sha3_256": 32,
    "sha3_384": 48,
    "sha3_512": 64,
    "blake3": 32,
}
_PARTS = re.compile(r"([0-9a-f]{32})-([1-9]\d{0,4})")
_MD5 = re.compile(r"[0-9a-f]{32}")


class Hasher(Protocol):
    """Takes the bytes of a file in order."""

    def update(self, block: bytes, /) -> object: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True)
class Checksum:
    """What the content of a file must hash to."""

    algorithm: str
    """A name of hashlib, `blake3`, or `md5-parts`."""
    digest: str
    """Hexadecimal, lower case; of `md5-parts` followed by `-{number of parts}`."""
    part_bytes: int = 0
    """Of `md5-parts`: the size of every part but the last."""

    def hasher(self) -> Hasher:
        if self.algorithm == "md5-parts":
            return _PartsHasher(self.part_bytes)
        return new_hasher(self.algorithm)


def parse_checksum(text: str | None) -> Checksum | None:
    """The checksum `text` says; None where there is none or its kind is not known: then there is nothing to check."""
    try:
        raw = bytes.fromhex(text or "")
    except ValueError:
        return None
    if not raw:
        return None
    code, rest = _varint(raw)
    length, digest = _varint(rest)
    algorithm = _MULTIHASH.get(code)
    if algorithm is not None and length == len(digest) == _SIZES[algorithm]:
        return Checksum(algorithm, digest.hex())
    plain = _PLAIN.get(len(raw))
    return Checksum(plain, raw.hex()) if plain else None


def named_checksum(name: str, digest: str) -> Checksum | None:
    """A checksum whose kind is told (`MD5`, `BLAKE3`, `SHA3-256`, `SHA-256`) with its hexadecimal digest; None for a kind not known."""
    wanted = re.sub(r"[^a-z0-9]", "", name.lower())
    algorithm = next((known for known in _SIZES if known.replace("_", "") == wanted), None)
    text = digest.strip().lower()
    if algorithm is None or not re.fullmatch(f"[0-9a-f]{{{2 * _SIZES[algorithm]}}}", text):
        return None
    return Checksum(algorithm, text)


def new_hasher(algorithm: str) -> Hasher:
    if algorithm == "blake3":
        return blake3.blake3()
    return hashlib.new(algorithm, usedforsecurity=False)


def etag_checksum(etag: str) -> Checksum | None:
    """The MD5 an ETag of S3 is, for an object that was put whole and not encrypted with a key of KMS or of the customer."""
    digest = etag.strip('"').lower()
    return Checksum("md5", digest) if _MD5.fullmatch(digest) else None


def parts_of_etag(etag: str) -> int | None:
    """The number of parts, where the ETag is that of an object put in parts."""
    found = _PARTS.fullmatch(etag.strip('"').lower())
    return int(found[2]) if found else None


def parts_checksum(etag: str, size: int, part_bytes: int) -> Checksum | None:
    """That of an object put in parts whose first has `part_bytes`; None where the others cannot be as large."""
    parts = parts_of_etag(etag)
    if parts is None or part_bytes <= 0 or -(-size // part_bytes) != parts:
        return None
    return Checksum("md5-parts", etag.strip('"').lower(), part_bytes)


def served_checksums(headers: Mapping[str, str]) -> tuple[Checksum, ...]:
    """Of the whole file, in headers of Google's, Microsoft's and Amazon's storage, also beside a range of it."""
    found: list[Checksum | None] = []
    if "gzip" not in headers.get("x-goog-stored-content-encoding", ""):
        for entry in headers.get("x-goog-hash", "").split(","):
            kind, _, value = entry.strip().partition("=")
            if kind == "md5":
                found.append(_base64_md5(value))
    found.append(_base64_md5(headers.get("x-ms-blob-content-md5", "")))
    encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    if headers.get("Server") == "AmazonS3" and not encrypted and "x-amz-server-side-encryption-customer-algorithm" not in headers:
        found.append(etag_checksum(headers.get("ETag", "")))
    return tuple(dict.fromkeys(checksum for checksum in found if checksum))


class _PartsHasher:
    """MD5 of the MD5s of the parts, as S3 makes the ETag of an object put in parts."""

    def __init__(self, part_bytes: int) -> None:
        self._part_bytes = part_bytes
        self._digests: list[bytes] = []
        self._part = hashlib.md5(usedforsecurity=False)
        self._filled = 0

    def update(self, block: bytes, /) -> None:
        view = memoryview(block)
        while view:
            room = self._part_bytes - self._filled
            self._part.update(view[:room])
            self._filled += min(room, len(view))
            view = view[room:]
            if self._filled == self._part_bytes:
                self._next()

    def hexdigest(self) -> str:
        if self._filled or not self._digests:
            self._next()
        whole = hashlib.md5(b"".join(self._digests), usedforsecurity=False)
        return f"{whole.hexdigest()}-{len(self._digests)}"

    def _next(self) -> None:
        self._digests.append(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._filled = 0


def _base64_md5(text: str) -> Checksum | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return Checksum("md5", raw.hex()) if len(raw) == 16 else None


def _varint(raw: bytes) -> tuple[int, bytes]:
    """An unsigned LEB128 number at the beginning, and the rest; -1 where there is none."""
    value = 0
    for index, byte in enumerate(raw[:4]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, raw[index + 1 :]
    return -1, b""
