"""Which links may be followed."""

from __future__ import annotations

import pytest

from common.errors import UserError
from common.urls import check_url, is_private, names_host, shown_url

PUBLIC = ["https://", "s3://"]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.com/a/b?c=d", PUBLIC),
        ("https://example.com:8443/a", PUBLIC),
        ("HTTPS://EXAMPLE.com/a", PUBLIC),
        ("https://93.184.216.34/a", PUBLIC),
        ("s3://bucket/key with space", PUBLIC),
        ("http://127.0.0.1:8000/x", ["http://127.0.0.1:8000"]),
        ("http://127.0.0.1:8000/data/x", ["http://127.0.0.1:8000/data/"]),
        ("http://localhost/x", ["http://localhost/"]),
        ("https://example.com/data", ["https://example.com/data"]),
        ("https://example.com/data/x", ["https://example.com/data"]),
        ("https://example.com:443/data/x", ["https://example.com/data"]),
        ("file:///data/a%20b", ["/data"]),
        ("/data/a", ["file:///data/"]),
        ("/data/x/../a", ["/data"]),
        ("/anything", ["file://"]),
        ("s3://bucket/a/b", ["s3://bucket/a"]),
    ],
)
def test_allowed(url: str, allowed: list[str]) -> None:
    check_url(url, allowed, "href")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://example.com/", PUBLIC),
        ("ftp://example.com/", PUBLIC),
        ("gs://bucket/x", PUBLIC),
        ("file:///etc/passwd", PUBLIC),
        ("/etc/passwd", PUBLIC),
        ("", PUBLIC),
        ("relative/path", PUBLIC),
        ("javascript:alert(1)", PUBLIC),
        ("https:example.com", PUBLIC),
        ("https://", PUBLIC),
        ("https:///path", PUBLIC),
        ("https://example.com", []),
        ("https://good.org.evil.net/", ["https://good.org"]),
        ("https://good.org@evil.net/", ["https://good.org"]),
        ("https://evil.net/https://good.org", ["https://good.org"]),
        ("https://good.org:444/", ["https://good.org"]),
        ("https://good.org/database", ["https://good.org/data"]),
        ("https://good.org/data/../secret", ["https://good.org/data"]),
        ("https://good.org/data/%2e%2e/secret", ["https://good.org/data"]),
        ("https://good.org\\@evil.net/", PUBLIC),
        ("https://user:password@good.org/", PUBLIC),
        ("https://good.org/\n/x", PUBLIC),
        (" https://good.org/", PUBLIC),
        ("https://[::1", PUBLIC),
        ("https://good.org:99999/", PUBLIC),
        ("https://good.org/" + "x" * 9000, PUBLIC),
        ("file://host/data/x", ["/data"]),
        ("/data/../etc/passwd", ["/data"]),
        ("file:///data/%2e%2e/etc/passwd", ["/data"]),
        ("/database", ["/data"]),
        ("s3://bucket-other/a", ["s3://bucket"]),
        ("https://example.com/", ["not a prefix", "https//example.com", ""]),
    ],
)
def test_refused(url: str, allowed: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check_url(url, allowed, "metadata.assets.B02.href")
    assert caught.value.field == "metadata.assets.B02.href"


PRIVATE_HOSTS = [
    *("localhost", "LOCALHOST.", "a.localhost", "printer.local", "metadata.google.internal", "catalogue", "127.0.0.1", "127.1", "127.0.1"),
    *("2130706433", "0x7f.0.0.1", "0177.0.0.1", "0.0.0.0", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1"),
    *("[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[::ffff:127.0.0.1]", "[::ffff:a00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    *("224.0.0.1", "255.255.255.255"),
]


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
def test_a_private_host_must_be_named(host: str) -> None:
    with pytest.raises(UserError):
        check_url(f"https://{host}/x", PUBLIC, "href")
    check_url(f"https://{host}/x", [*PUBLIC, f"https://{host}"], "href")


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert not is_private(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "no address", "192.0.2.1"])
def test_private_addresses(address: str) -> None:
    assert is_private(address)


def test_only_a_prefix_with_a_host_names_it() -> None:
    assert names_host("http://localhost:80/x", ["http://", "http://localhost"])
    assert not names_host("http://localhost:81/x", ["http://", "http://localhost"])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pw@host/a?token=secret#x", "https://host/a"),
        ("https://host/a?X-Amz-Signature=secret", "https://host/a"),
        ("s3://bucket/key", "s3://bucket/key"),
    ],
)
def test_messages_keep_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert "secret" not in shown_url("https://[bad:secret@x?secret")
