"""Checksums as external catalogues write them: multihash (STAC `file:checksum`), or plain hexadecimal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

_MULTIHASH = {0x11: "sha1", 0x12: "sha256", 0x13: "sha512", 0x14: "sha3_512", 0x15: "sha3_384", 0x16: "sha3_256", 0xD5: "md5"}
"""Codes of the multicodec table."""
_PLAIN = {16: "md5", 32: "sha256", 20: "sha1", 64: "sha512"}
"""By length in bytes."""


@dataclass(frozen=True)
class Checksum:
    """What the content of a file must hash to."""

    algorithm: str
    """A name of hashlib."""
    digest: str
    """Hexadecimal, lower case."""

    def hasher(self) -> hashlib._Hash:
        return hashlib.new(self.algorithm, usedforsecurity=False)


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
    if algorithm is not None and length == len(digest) == hashlib.new(algorithm, usedforsecurity=False).digest_size:
        return Checksum(algorithm, digest.hex())
    plain = _PLAIN.get(len(raw))
    return Checksum(plain, raw.hex()) if plain else None


def _varint(raw: bytes) -> tuple[int, bytes]:
    """An unsigned LEB128 number at the beginning, and the rest; -1 where there is none."""
    value = 0
    for index, byte in enumerate(raw[:4]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, raw[index + 1 :]
    return -1, b""
