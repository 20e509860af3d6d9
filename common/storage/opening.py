"""From the URI of a storage to the storage."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from common.config import Settings
from common.errors import ConfigurationError
from common.storage.base import Storage
from common.storage.directory import DirectoryStorage
from common.storage.s3 import S3Storage, client_for

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_storage(uri: str, settings: Settings) -> Storage:
    """The storage at `uri`: a path, `file:///…` or `s3://bucket/prefix`. Touches neither disk nor network.

    Raises ConfigurationError.
    """
    root = normal_root(uri)
    if root.startswith("s3://"):
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        return S3Storage(bucket, prefix, client_for(settings.s3))
    return DirectoryStorage(root)


def is_below(uri: str, prefix: str) -> bool:
    """Whether the storage `uri` is `prefix` or lies below it; raises ConfigurationError for what is no storage."""
    root, allowed = normal_root(uri), normal_root(prefix)
    return root == allowed or root.startswith(allowed.rstrip("/") + "/")


def normal_root(uri: str) -> str:
    """One spelling of a storage URI: an absolute path or `s3://bucket/prefix`, without `..` or a slash at its end."""
    text = uri.strip()
    if not text:
        raise ConfigurationError("the storage URI is empty: give a folder or s3://bucket/prefix")
    if not text.isprintable():
        raise ConfigurationError(f"storage {text[:100]!r} holds control characters")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return os.path.normpath(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111 - resolves no links: URIs stay stable
    if scheme == "file":
        parts = urlsplit(text)
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not path.startswith("/") or parts.query or parts.fragment:
            raise ConfigurationError(f"storage {text[:200]!r}: a file URI is file:///absolute/path")
        return os.path.normpath("/" + path.lstrip("/"))
    if scheme == "s3":
        bucket, _, prefix = rest.partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise ConfigurationError(f"storage {text[:200]!r}: '{bucket[:80]}' is not the name of a bucket")
        components = [component for component in prefix.split("/") if component]
        if any(component in (".", "..") for component in components):
            raise ConfigurationError(f"storage {text[:200]!r}: '.' and '..' have no place in a prefix")
        return "/".join(["s3:/", bucket, *components])
    raise ConfigurationError(f"storage {text[:200]!r}: '{scheme}://' is not one of a folder, file://, s3://")
