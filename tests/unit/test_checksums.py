"""Checksums of catalogues."""

from __future__ import annotations

import base64
import hashlib

import blake3
import pytest

from downloader.checksums import Checksum, etag_checksum, named_checksum, parse_checksum, parts_checksum, parts_of_etag, served_checksums

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
        (f"1e20{blake3.blake3(b'x').hexdigest()}", Checksum("blake3", blake3.blake3(b"x").hexdigest())),
        (f"1114{hashlib.sha1(b'x').hexdigest()}", Checksum("sha1", hashlib.sha1(b"x").hexdigest())),
        (f"2030{hashlib.sha384(b'x').hexdigest()}", Checksum("sha384", hashlib.sha384(b"x").hexdigest())),
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


@pytest.mark.parametrize(
    ("name", "digest", "checksum"),
    [
        ("MD5", MD5.upper(), Checksum("md5", MD5)),
        ("SHA-256", SHA256, Checksum("sha256", SHA256)),
        ("SHA3-256", hashlib.sha3_256(b"x").hexdigest(), Checksum("sha3_256", hashlib.sha3_256(b"x").hexdigest())),
        ("BLAKE3", blake3.blake3(b"x").hexdigest(), Checksum("blake3", blake3.blake3(b"x").hexdigest())),
        ("CRC32", "00000000", None),
        ("MD5", "12", None),
        ("MD5", "not hexadecimal", None),
        ("MD5", SHA256, None),
        ("", MD5, None),
    ],
)
def test_checksums_that_say_their_kind(name: str, digest: str, checksum: Checksum | None) -> None:
    assert named_checksum(name, digest) == checksum
    if checksum:
        hasher = checksum.hasher()
        hasher.update(b"x")
        assert hasher.hexdigest() == checksum.digest


@pytest.mark.parametrize("size", [1, 9, 10, 11, 20, 35])
@pytest.mark.parametrize("block", [1, 3, 10, 100])
def test_the_etag_of_an_object_put_in_parts(size: int, block: int) -> None:
    content = bytes(range(size))
    parts = [hashlib.md5(content[start : start + 10]).digest() for start in range(0, size, 10)]
    etag = f'"{hashlib.md5(b"".join(parts)).hexdigest()}-{len(parts)}"'
    checksum = parts_checksum(etag, size, 10)
    assert checksum is not None
    hasher = checksum.hasher()
    for start in range(0, size, block):
        hasher.update(content[start : start + block])
    assert hasher.hexdigest() == checksum.digest
    assert parts_of_etag(etag) == len(parts)
    assert parts_checksum(etag, size, 10 * size + 10) == (
        None if len(parts) > 1 else Checksum("md5-parts", checksum.digest, 10 * size + 10)
    )
    assert etag_checksum(etag) is None


def test_checksums_servers_tell() -> None:
    md5 = base64.b64encode(bytes.fromhex(MD5)).decode()
    known = (Checksum("md5", MD5),)
    assert served_checksums({"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"}) == known
    assert served_checksums({"x-goog-hash": f"md5={md5}", "x-goog-stored-content-encoding": "gzip"}) == ()
    assert served_checksums({"x-ms-blob-content-md5": md5}) == known
    assert served_checksums({"x-ms-blob-content-md5": "?"}) == ()
    assert served_checksums({"Server": "AmazonS3", "ETag": f'"{MD5}"'}) == known
    assert served_checksums({"Server": "AmazonS3", "ETag": f'"{MD5}"', "x-amz-server-side-encryption": "aws:kms"}) == ()
    assert served_checksums({"Server": "AmazonS3", "ETag": f'"{MD5}-3"'}) == ()
    assert served_checksums({"Server": "nginx", "ETag": f'"{MD5}"'}) == ()
