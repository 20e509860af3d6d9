"""Checksums of catalogues."""

from __future__ import annotations

import hashlib

import pytest

from downloader.checksums import Checksum, parse_checksum

SHA256 = hashlib.sha256(b"x").hexdigest()
MD5 = hashlib.md5(b"x").hexdigest()


@pytest.mark.parametrize(
    ("text", "checksum"),
    [
        (f"1220{SHA256}", Checksum("sha256", SHA256)),
        (f"1220{SHA256}".upper(), Checksum("sha256", SHA256)),
        (f"d50110{MD5}", Checksum("md5", MD5)),
        (MD5, Checksum("md5", MD5)),
        (SHA256, Checksum("sha256", SHA256)),
        (f"1340{hashlib.sha512(b'x').hexdigest()}", Checksum("sha512", hashlib.sha512(b"x").hexdigest())),
        (f"1620{hashlib.sha3_256(b'x').hexdigest()}", Checksum("sha3_256", hashlib.sha3_256(b"x").hexdigest())),
        (None, None),
        ("", None),
        ("not hexadecimal", None),
        (f"1221{SHA256}", None),
        ("ffffffffffff", None),
        ("12", None),
    ],
)
def test_what_is_said_is_what_is_checked(text: str | None, checksum: Checksum | None) -> None:
    assert parse_checksum(text) == checksum
    if checksum:
        hasher = checksum.hasher()
        hasher.update(b"x")
        assert hasher.hexdigest() == checksum.digest
