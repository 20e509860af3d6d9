"""Which links may be followed: those below the configured prefixes, and no way into a private network by the back door.

The prefixes are compared part by part (scheme, host, port, folders), never as text: `https://good.org` does not allow
`https://good.org.evil.net`. A scheme alone (`https://`) allows every public host. Loopback, link-local and private hosts must be named.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from common.errors import UserError

_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_LOCAL_NAMES = ("localhost", ".localhost", ".local", ".internal", ".localdomain", ".home.arpa")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class _Link:
    scheme: str
    """`file` for a plain path too."""
    host: str
    """Lower case; the bucket of an `s3://` link; empty in a prefix that allows any."""
    port: int | None
    path: str


def check_url(url: str, allowed: Sequence[str], field: str) -> None:
    """Raises UserError, naming `field`, unless `url` (HTTP(S), S3, `file://` or an absolute path) lies below a prefix in `allowed`.

    Does not resolve host names: whoever connects refuses addresses for which `is_private` holds, unless `names_host`. After a redirect
    the new URL is to be checked again.
    """
    link = _parse(url, field)
    prefixes = [prefix for text in allowed if (prefix := _parse_prefix(text)) is not None]
    if not any(_is_below(link, prefix) for prefix in prefixes):
        listed = ", ".join(allowed) or "none"
        raise UserError(f"{shown_url(url)} is not below an allowed prefix (limits.allowed_urls: {listed})", field=field)
    if link.scheme in _PORTS and _is_private_host(link.host) and not any(_is_below(link, prefix) for prefix in prefixes if prefix.host):
        raise UserError(f"{shown_url(url)} is a private host: limits.allowed_urls must name it in full", field=field)


def names_host(url: str, allowed: Sequence[str]) -> bool:
    """Whether a prefix names the very host of `url`, so that it may be a private one."""
    link = _parse(url, "url")
    return any(prefix.host and _is_below(link, prefix) for text in allowed if (prefix := _parse_prefix(text)) is not None)


def is_private(address: str) -> bool:
    """Whether an IP address belongs to this machine or to a network that is not the public internet."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_private(str(inner))
    return not ip.is_global or ip.is_multicast


def is_loopback(host: str) -> bool:
    """Whether a host, as a name or an address, is this machine and out of the reach of others."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown_url(url: str) -> str:
    """`url` for a message or a log line: without user, query and fragment, which may hold secrets."""
    if "://" not in url:
        return repr(url[:200])
    try:
        parts = urlsplit(url)
    except ValueError:
        return repr(url.split("?")[0].split("@")[-1][:200])
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))[:300]


def local_path(url: str) -> str | None:
    """The path that a `file://` link or a plain path names, else None."""
    if url.startswith("file://"):
        return unquote(urlsplit(url).path)
    return url if url.startswith("/") else None


def _parse(url: str, field: str) -> _Link:
    if not url or len(url) > 8000 or not url.isprintable() or "\\" in url or url != url.strip():
        raise UserError(f"{shown_url(url)} is not a URL", field=field)
    if url.startswith("/"):
        return _Link("file", "", None, _normal_path(url))
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UserError(f"{shown_url(url)} is not a URL: {error}", field=field) from None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower().rstrip(".")
    if not _SCHEME.match(url) or "://" not in url:
        raise UserError(f"{shown_url(url)} must be https://…, s3://… or an absolute path", field=field)
    if "@" in parts.netloc:
        raise UserError(f"{shown_url(url)}: a user or password has no place in a link; configure it with the provider", field=field)
    if scheme == "file":
        if host not in ("", "localhost") or not parts.path.startswith("/"):
            raise UserError(f"{shown_url(url)}: a file link is file:///absolute/path", field=field)
        return _Link("file", "", None, _normal_path(unquote(parts.path)))
    if not host:
        raise UserError(f"{shown_url(url)} names no host", field=field)
    path = unquote(parts.path)
    if any(part in (".", "..") for part in path.split("/")):
        raise UserError(f"{shown_url(url)}: '.' and '..' have no place in a link", field=field)
    return _Link(scheme, host, port or _PORTS.get(scheme), path)


def _parse_prefix(text: str) -> _Link | None:
    scheme, separator, rest = text.strip().partition("://")
    if separator and not rest:
        return _Link(scheme.lower(), "", None, "/" if scheme.lower() == "file" else "")
    try:
        return _parse(text.strip(), "limits.allowed_urls")
    except UserError:
        return None  # allows nothing


def _is_below(link: _Link, prefix: _Link) -> bool:
    if link.scheme != prefix.scheme:
        return False
    if prefix.scheme != "file":
        if not prefix.host:
            return True
        if (link.host, link.port) != (prefix.host, prefix.port):
            return False
    folder = prefix.path.rstrip("/")
    return link.path == prefix.path or link.path.rstrip("/") == folder or link.path.startswith(folder + "/")


def _normal_path(path: str) -> str:
    return os.path.normpath("/" + path.lstrip("/"))


def _is_private_host(host: str) -> bool:
    if any(host == name.lstrip(".") or host.endswith(name) for name in _LOCAL_NAMES) or ("." not in host and ":" not in host):
        # A name without a dot is one of the local network, unless it is a number (`2130706433` is 127.0.0.1).
        return True
    if ":" in host:
        return is_private(host)
    try:
        # Reads also the old spellings that connecting understands: 127.1, 0x7f.0.0.1.
        return is_private(socket.inet_ntoa(socket.inet_aton(host)))
    except OSError:
        return False
