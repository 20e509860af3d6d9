"""The configured providers in their order, and fetching a product from the first that has it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.config import ProviderSettings, Settings
from common.errors import ConfigurationError, ErrorKind, FatalError, TemporaryError, ThresherError, kind_of
from common.product_names import Constellation, constellation_of
from common.storage import PART_PREFIX
from common.threads import in_thread
from downloader.circuit import Circuit
from downloader.providers.asf import AsfProvider
from downloader.providers.aws_s3 import AwsS3Provider
from downloader.providers.base import NotOfferedError, OfflineError, Place, ProductRequest, Provider
from downloader.providers.copernicus import CopernicusProvider, CreodiasProvider
from downloader.providers.copernicus_s3 import CopernicusS3Provider
from downloader.providers.gcs import GcsProvider
from downloader.providers.local import LocalProvider
from downloader.providers.planetary_computer import PlanetaryComputerProvider
from downloader.providers.stac_asset import StacAssetProvider
from downloader.providers.url import UrlProvider
from downloader.shared import Shared

log = logging.getLogger(__name__)

PROVIDERS: Mapping[str, Callable[[Place], Provider]] = {
    "stac-asset": StacAssetProvider,
    "local": LocalProvider,
    "url": UrlProvider,
    "copernicus": CopernicusProvider,
    "copernicus-s3": CopernicusS3Provider,
    "creodias": CreodiasProvider,
    "asf": AsfProvider,
    "aws-s3": AwsS3Provider,
    "gcs": GcsProvider,
    "planetary-computer": PlanetaryComputerProvider,
}
"""By the `type` of their tables."""

_DEFAULT = {"stac-asset": ProviderSettings(type="stac-asset", priority=1), "url": ProviderSettings(type="url")}
"""Where nothing is configured: the links that scenes carry themselves."""


@dataclass(frozen=True)
class OpenProvider:
    """A provider and whether it is worth trying."""

    provider: Provider
    circuit: Circuit

    @property
    def name(self) -> str:
        return self.provider.name


@dataclass(frozen=True)
class Attempt:
    """A provider that was tried without success."""

    provider: str
    error: ThresherError


def open_providers(settings: Settings, source_id: str, shared: Shared | None = None, *, name: str = "") -> list[OpenProvider]:
    """The providers for a product, in the order they are to be tried; only the one with the `name`, if it is given.

    Raises ConfigurationError.
    """
    shared = shared or Shared(settings)
    configured = settings.providers or _DEFAULT
    if name and name not in configured:
        raise ConfigurationError(f"provider '{name}' is not configured; there are: {', '.join(configured)}")
    constellation = _constellation(source_id)
    fitting = [
        (each, provider) for each, provider in configured.items() if each == name or (not name and _fits(each, provider, constellation))
    ]
    return [
        OpenProvider(_open(Place(each, provider, settings, shared)), shared.circuit(each, provider))
        for each, provider in sorted(fitting, key=lambda entry: -entry[1].priority)
    ]


def check_providers(settings: Settings, shared: Shared) -> None:
    """Raises ConfigurationError for what cannot work whatever product is asked for."""
    for name, provider in settings.providers.items():
        _fits(name, provider, None)
        _open(Place(name, provider, settings, shared))
        if provider.account:
            shared.accounts.account(provider.account)


async def fetch_product(providers: Sequence[OpenProvider], request: ProductRequest, folder: Path, shared: Shared | None = None) -> str:
    """Fetch the product into the new `folder` from the first provider that can; its name.

    Raises, with the reason of each provider: TemporaryError if time may mend all of them that have the product, FatalError if it will
    mend none, else ThresherError.
    """
    attempts: list[Attempt] = []
    for each in providers:
        error = await _try(each, request, folder, shared)
        if error is None:
            log.info("fetched from provider %s", each.name)
            return each.name
        log.warning("provider %s: %s", each.name, error)
        attempts.append(Attempt(each.name, error))
    raise _merged(request.scene.source_id, attempts)


async def _try(each: OpenProvider, request: ProductRequest, folder: Path, shared: Shared | None) -> ThresherError | None:
    """Why the provider could not; None where it could."""
    part = folder.with_name(f"{PART_PREFIX}{folder.name}")
    try:
        each.circuit.enter()
    except TemporaryError as error:
        return error
    failure: BaseException | None = None
    try:
        await in_thread(lambda _: part.mkdir(parents=True))
        await each.provider.fetch(request, part)
        await in_thread(lambda _: part.rename(folder))
    except (ThresherError, OSError) as error:
        failure = _as_failure(error, shared)
        return failure
    except BaseException as error:
        failure = error
        raise
    finally:
        each.circuit.leave(failure, counts=not isinstance(failure, OfflineError))
        await in_thread(lambda _: shutil.rmtree(part, ignore_errors=True))
    return None


def _merged(source_id: str, attempts: Sequence[Attempt]) -> ThresherError:
    if not attempts:
        return ThresherError(f"no provider is configured for {source_id}: add a [providers.NAME] table for its constellation")
    reasons = "; ".join(f"{attempt.provider}: {attempt.error}" for attempt in attempts)
    message = f"{source_id} could not be fetched: {reasons}"
    offered = [attempt.error for attempt in attempts if not isinstance(attempt.error, NotOfferedError)]
    kinds = {error.kind for error in offered}
    if kinds == {ErrorKind.TEMPORARY}:
        # The one that may be asked again first.
        waits = [error.retry_after_s for error in offered]
        return TemporaryError(message, retry_after_s=None if None in waits else min(wait for wait in waits if wait is not None))
    if kinds == {ErrorKind.FATAL}:
        return FatalError(message)
    return ThresherError(message)


def _as_failure(error: ThresherError | OSError, shared: Shared | None) -> ThresherError:
    """What went wrong, without the secrets that other libraries may have put into their messages."""
    if isinstance(error, OSError):
        kind = TemporaryError if kind_of(error) is ErrorKind.TEMPORARY else ThresherError
        error = kind(str(error))
    if shared is not None and (text := shared.accounts.redactor.redacted(str(error))) != str(error):
        error.args = (text,)
    return error


def _open(place: Place) -> Provider:
    if place.provider.type not in PROVIDERS:
        raise ConfigurationError(f"'providers.{place.name}.type': '{place.provider.type}' is not one of {', '.join(PROVIDERS)}")
    return PROVIDERS[place.provider.type](place)


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
