"""What a provider is asked and what it promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from common.config import ProviderSettings, S3Settings, Settings
from common.errors import ThresherError
from common.messages import SceneRef
from common.storage.s3 import client_for
from common.work import ProgressCallback
from downloader.transfer import Transfer

STEP = "download"


class NotOfferedError(ThresherError):
    """The provider does not have the product; another one may."""


@dataclass(frozen=True)
class ProductRequest:
    """A product to fetch."""

    scene: SceneRef
    progress: ProgressCallback
    layers: Sequence[str] = ()
    """The layers the payload asks for; empty: whatever there is."""
    config: Mapping[str, str] = field(default_factory=dict)
    """The payload's `graph_config`."""


class Provider(Protocol):
    """A configured place."""

    name: str

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        """Put the product into the empty `folder`: a `{scene}.SAFE` folder, or separate files with a manifest (`common.product`).

        Raises NotOfferedError where the product is not here, another ThresherError where it could not be fetched. What is in the
        folder after an error is removed by the caller.
        """
        ...


def transfer_for(name: str, provider: ProviderSettings, settings: Settings, *, also_allowed: Sequence[str] = ()) -> Transfer:
    """The transfer engine with the limits and the S3 server of a provider."""
    s3 = S3Settings(endpoint_url=provider.endpoint_url, region=provider.region) if provider.endpoint_url else settings.s3
    return Transfer(
        name,
        allowed=[*settings.limits.allowed_urls, *also_allowed],
        timeout_s=provider.timeout_s,
        s3=lambda: client_for(s3, anonymous=provider.anonymous),
    )
