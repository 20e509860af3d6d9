"""Where annotations are read: at a pattern that names a path, an HTTP(S) link or an S3 link for every scene, or at a service of nodes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from catalogue.sentinel1.annotations.bucket import read_bucket
from catalogue.sentinel1.annotations.files import AnnotationError, AnnotationFile, SceneName
from catalogue.sentinel1.annotations.http import HttpLimits, HttpReader
from catalogue.sentinel1.annotations.local import read_local
from catalogue.sentinel1.annotations.nodes import read_nodes
from catalogue.sentinel1.annotations.remote import read_remote
from common.config import LimitSettings, S3Settings
from common.errors import ConfigurationError, UserError
from common.threads import in_thread
from common.urls import check_url, local_path


@dataclass(frozen=True)
class Wanted:
    """The scene whose annotations are wanted."""

    scene: SceneName
    uuid: str
    """Of the product in its catalogue; empty if not known."""
    aoi: str


class AnnotationSource(Protocol):
    """A place that may hold the annotations of a scene."""

    @property
    def cache_suffix(self) -> str | None:
        """Tells the cached annotations of this source from those of others; None if they are as near as the cache."""
        ...

    def check(self, wanted: Wanted) -> None:
        """Raises UserError for a scene that this source must not or cannot be asked about, before anything is read."""
        ...

    async def read(self, wanted: Wanted) -> list[AnnotationFile]:
        """Raises ThresherError naming the place."""
        ...


@dataclass(frozen=True)
class Access:
    """What a pattern may lead to, and how."""

    allowed: tuple[str, ...] = tuple(LimitSettings().allowed_urls)
    field: str = "annotations_urls"
    """Where the pattern stands, for messages."""
    s3: S3Settings = dataclasses.field(default_factory=S3Settings)
    anonymous: bool = False
    http: HttpLimits = dataclasses.field(default_factory=HttpLimits)


class PatternSource:
    """A pattern of a path or link with the `{PART}`s of a product name. A `trusted` one is the operator's: allowed as it stands."""

    def __init__(self, pattern: str, access: Access = Access(), *, trusted: bool = False) -> None:
        self._pattern = pattern
        self._access = access
        self._trusted = trusted
        self._allowed: Sequence[str] = [*access.allowed, _fixed_part(pattern)] if trusted else access.allowed

    @property
    def cache_suffix(self) -> str | None:
        if local_path(self._pattern) is not None:
            return None
        # Whoever names a place of his own reads what it holds, and nobody else does.
        return "" if self._trusted else "-" + hashlib.sha256(self._pattern.encode("utf-8", "replace")).hexdigest()[:16]

    def check(self, wanted: Wanted) -> None:
        self._place(wanted)

    async def read(self, wanted: Wanted) -> list[AnnotationFile]:
        place = self._place(wanted)
        path = local_path(place)
        if path is not None:
            return await in_thread(lambda stop: read_local(Path(path), wanted.scene, self._allow, stop))
        if place.startswith("s3://"):
            return await read_bucket(place, wanted.scene, self._access.s3, anonymous=self._access.anonymous)
        async with HttpReader(self._allowed, self._access.field, self._access.http) as reader:
            file = await reader.open(place)
            return await read_remote(file, wanted.scene, tail=file.tail)

    def _place(self, wanted: Wanted) -> str:
        try:
            place = wanted.scene.product.fill(self._pattern, AREA=wanted.aoi)
        except ValueError as error:
            raise UserError(str(error), field=self._access.field) from None
        check_url(place, self._allowed, self._access.field)
        if not place.startswith(("/", "file://", "s3://", "http://", "https://")):
            raise UserError(f"'{place[:200]}' must be https://…, s3://… or an absolute path", field=self._access.field)
        return place

    def _allow(self, path: Path) -> None:
        """A link in an allowed folder of a payload's must not lead out of it."""
        if not self._trusted:
            real_folders = [os.path.realpath(folder) for prefix in self._allowed if (folder := local_path(prefix))]
            check_url(os.path.realpath(path), [*self._allowed, *real_folders], self._access.field)


class NodesSource:
    """A Copernicus OData service that lists the files of a product."""

    cache_suffix: str | None = ""

    def __init__(self, root: str, access: Access, *, token: SecretStr | None = None, token_file: Path | None = None) -> None:
        self._root = root
        self._access = access
        self._token = token
        self._token_file = token_file
        check_url(root, [*access.allowed, root], "annotations.nodes_url")

    def check(self, wanted: Wanted) -> None:
        """Any scene may be asked about."""

    async def read(self, wanted: Wanted) -> list[AnnotationFile]:
        token = await in_thread(lambda _: self._read_token())
        access = self._access
        async with HttpReader(
            [*access.allowed, _fixed_part(self._root)], access.field, access.http, token=token, origin=self._root
        ) as reader:
            try:
                return await read_nodes(self._root, wanted.scene, wanted.uuid, reader)
            except AnnotationError as error:
                if "refuses access" in str(error):
                    hint = "its token has expired or is of another service" if token else "it needs a token: annotations.nodes_token"
                    raise AnnotationError(f"{error}: {hint}") from error
                raise

    def _read_token(self) -> str:
        if self._token_file is None:
            return self._token.get_secret_value() if self._token else ""
        try:
            token = self._token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"annotations.nodes_token_file: {self._token_file} cannot be read: {error}") from None
        if not token.isprintable() or not token.isascii():
            raise ConfigurationError(f"annotations.nodes_token_file: {self._token_file} holds no token")
        return token


def _fixed_part(pattern: str) -> str:
    """What a pattern of the operator's vouches for: its host, for redirects within it, else its last folder before the first `{PART}`."""
    fixed, brace, _ = pattern.partition("{")
    scheme, _, rest = fixed.partition("://")
    if scheme in ("http", "https") and "/" in rest:
        return f"{scheme}://{rest.partition('/')[0]}/"
    return fixed[: fixed.rindex("/") + 1] if brace and "/" in fixed else fixed
