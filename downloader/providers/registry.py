"""The configured providers in their order, and fetching a product from the first that has it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from common.config import ProviderSettings, Settings
from common.errors import ConfigurationError, ErrorKind, FatalError, TemporaryError, ThresherError, kind_of
from common.product_names import Constellation, constellation_of
from common.storage import PART_PREFIX
from common.threads import in_thread
from downloader.providers.base import NotOfferedError, ProductRequest, Provider
from downloader.providers.local import LocalProvider
from downloader.providers.stac_asset import StacAssetProvider
from downloader.providers.url import UrlProvider

log = logging.getLogger(__name__)

_DEFAULT = {"stac-asset": ProviderSettings(type="stac-asset", priority=1), "url": ProviderSettings(type="url")}
"""Where nothing is configured: the links that scenes carry themselves."""


def open_providers(settings: Settings, source_id: str) -> list[Provider]:
    """The providers for a product, in the order they are to be tried. Raises ConfigurationError."""
    configured = settings.providers or _DEFAULT
    constellation = _constellation(source_id)
    fitting = [(name, provider) for name, provider in configured.items() if _fits(name, provider, constellation)]
    return [_open(name, provider, settings) for name, provider in sorted(fitting, key=lambda entry: -entry[1].priority)]


async def fetch_product(providers: Sequence[Provider], request: ProductRequest, folder: Path) -> str:
    """Fetch the product into the new `folder` from the first provider that can; its name.

    Raises, with the reason of each provider: TemporaryError if time may mend all of them that have the product, FatalError if it will
    mend none, else ThresherError.
    """
    source_id = request.scene.source_id
    errors: list[tuple[str, ThresherError]] = []
    part = folder.with_name(f"{PART_PREFIX}{folder.name}")
    for provider in providers:
        try:
            await in_thread(lambda _: part.mkdir(parents=True))
            await provider.fetch(request, part)
            await in_thread(lambda _: part.rename(folder))
        except (ThresherError, OSError) as error:
            failure = error if isinstance(error, ThresherError) else _as_failure(error)
            log.warning("provider %s: %s", provider.name, failure)
            errors.append((provider.name, failure))
        else:
            log.info("fetched from provider %s", provider.name)
            return provider.name
        finally:
            await in_thread(lambda _: shutil.rmtree(part, ignore_errors=True))
    raise _merged(source_id, errors)


def _merged(source_id: str, errors: Sequence[tuple[str, ThresherError]]) -> ThresherError:
    if not errors:
        return ThresherError(f"no provider is configured for {source_id}: add a [providers.NAME] table for its constellation")
    reasons = "; ".join(f"{name}: {error}" for name, error in errors)
    message = f"{source_id} could not be fetched: {reasons}"
    kinds = {error.kind for _, error in errors if not isinstance(error, NotOfferedError)}
    if kinds == {ErrorKind.TEMPORARY}:
        return TemporaryError(message)
    if kinds == {ErrorKind.FATAL}:
        return FatalError(message)
    return ThresherError(message)


def _as_failure(error: OSError) -> ThresherError:
    kind = TemporaryError if kind_of(error) is ErrorKind.TEMPORARY else ThresherError
    return kind(str(error))


def _open(name: str, provider: ProviderSettings, settings: Settings) -> Provider:
    match provider.type:
        case "stac-asset":
            return StacAssetProvider(name, provider, settings)
        case "local":
            return LocalProvider(name, provider)
        case "url":
            return UrlProvider(name, provider, settings)


def _fits(name: str, provider: ProviderSettings, constellation: Constellation | None) -> bool:
    try:
        return not provider.constellations or constellation in {constellation_of(each) for each in provider.constellations}
    except ValueError as error:
        raise ConfigurationError(f"'providers.{name}.constellations': {error}") from None


def _constellation(text: str) -> Constellation | None:
    try:
        return constellation_of(text)
    except ValueError:
        return None
