"""Where others read a stored file from: the file itself in a folder, an address that opens it for a while in S3."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.config import Settings
from common.errors import MissingFileError
from common.storage.base import key_below
from common.storage.opening import is_below, normal_root
from common.storage.s3 import client_for

LINK_S = 900
"""Seconds an address of S3 opens its object."""


@dataclass(frozen=True)
class StoredLink:
    """Either a file of this machine or an address."""

    path: Path | None = None
    url: str = ""


def link_to(uri: str, settings: Settings) -> StoredLink:
    """The link to a stored file. Raises MissingFileError where it lies in no storage of this deployment. Touches no network."""
    roots = [root for root in (settings.storage, *settings.limits.allowed_storage) if root]
    root = next((normal_root(root) for root in roots if is_below(uri, root)), None)
    if root is None:
        raise MissingFileError(f"{uri} lies in no storage of this deployment")
    place = normal_root(uri)
    key_below(root, place)
    if not place.startswith("s3://"):
        return StoredLink(path=Path(place))
    bucket, _, key = place.removeprefix("s3://").partition("/")
    url = client_for(settings.s3).generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=LINK_S)
    return StoredLink(url=url)
