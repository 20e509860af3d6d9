"""What a provider is asked, what it is made of and what it promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from common.config import ProviderSettings, Settings
from common.errors import TemporaryError, ThresherError
from common.messages import SceneRef
from common.work import ProgressCallback
from downloader.hosts import HostAccess
from downloader.members import EVERYTHING, Members
from downloader.shared import Shared
from downloader.transfer import BytesCallback, Transfer, area_of, policy_of

STEP = "download"


class NotOfferedError(ThresherError):
    """The provider does not have the product; another one may."""


class OfflineError(TemporaryError):
    """The provider has the product, but must fetch it from its archive first: come back after `retry_after_s`."""


def _nothing(_done: int, _total: int | None) -> None:
    pass


@dataclass(frozen=True)
class ProductRequest:
    """A product to fetch."""

    scene: SceneRef
    progress: ProgressCallback
    layers: Sequence[str] = ()
    """The layers the payload asks for; empty: whatever there is."""
    config: Mapping[str, str] = field(default_factory=dict)
    """The payload's `graph_config`."""
    members: Members = EVERYTHING
    """The files of the product that are wanted."""
    received: BytesCallback = _nothing
    """Told how many bytes are there, of how many."""

    @property
    def more(self) -> Mapping[str, object]:
        """What the catalogue said of the scene beyond what all catalogues say."""
        return self.scene.metadata.model_extra or {}


class Provider(Protocol):
    """A configured place."""

    name: str

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        """Put the product into the empty `folder`: a `{scene}.SAFE` folder, or separate files with a manifest (`common.product`).

        Raises NotOfferedError where the product is not here, another ThresherError where it could not be fetched. What is in the
        folder after an error is removed by the caller.
        """
        ...


@dataclass(frozen=True)
class Place:
    """A provider as it is configured, and what it shares with others."""

    name: str
    provider: ProviderSettings
    settings: Settings
    shared: Shared

    def access(self, *, preset: str = "") -> HostAccess:
        return self.shared.access(self.provider, preset=preset)

    def allowed(self, *trusted: str) -> list[str]:
        """Prefixes of links that may be followed; what the operator wrote is `trusted`, up to its host, for redirects within it."""
        return [*self.settings.limits.allowed_urls, *(part for text in trusted if (part := _fixed_part(text)))]

    def transfer(self, request: ProductRequest, *trusted: str, preset: str = "") -> Transfer:
        """The transfer engine with the account, the limits and the S3 server of the provider."""
        return Transfer(
            self.name,
            allowed=self.allowed(*trusted),
            s3=lambda: self.shared.s3_client(self.provider),
            access=self.access(preset=preset),
            area=area_of(self.settings),
            scope=request.scene.source_id,
            policy=policy_of(self.provider),
            requester_pays=self.provider.requester_pays,
        )


def _fixed_part(pattern: str) -> str:
    """What a pattern of the operator's vouches for: its host, else its last folder before the first `{PART}`."""
    fixed, brace, _ = pattern.partition("{")
    scheme, _, rest = fixed.partition("://")
    if scheme in ("http", "https") and (rest and (not brace or "/" in rest)):
        return f"{scheme}://{rest.partition('/')[0]}/"
    return fixed.rpartition("/")[0] if brace else fixed
