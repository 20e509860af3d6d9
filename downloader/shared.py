"""What all downloads of a process share: the accounts with their tokens, the permits for connections, the circuits of providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.config import ProviderSettings, S3Settings, Settings
from common.storage.s3 import client_for
from downloader.accounts import Accounts
from downloader.circuit import Circuit
from downloader.hosts import HostAccess
from downloader.leases import Leases, LocalLeases

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client


class Shared:
    """Made once a process."""

    def __init__(self, settings: Settings, leases: Leases | None = None) -> None:
        """Without `leases` the limits hold within this process. Raises ConfigurationError."""
        self._settings = settings
        self.leases = leases or LocalLeases()
        self._circuits: dict[str, Circuit] = {}
        self.accounts = Accounts(settings.accounts)

    def access(self, provider: ProviderSettings, *, preset: str = "") -> HostAccess:
        """Of a provider; `preset` names the account it uses without being told, where that needs no secrets."""
        return HostAccess(
            self.accounts.account(provider.account, preset=preset),
            self.leases,
            self._settings.limits.connections,
            of_account=self.accounts.connections(provider.account),
            endpoint_url=self._s3(provider).endpoint_url,
        )

    def s3_client(self, provider: ProviderSettings) -> S3Client:
        """Blocks; raises ConfigurationError for keys that are not there or are another server's."""
        s3 = self._s3(provider)
        keys = self.accounts.account(provider.account).keys(s3.endpoint_url)
        client = client_for(s3, anonymous=provider.anonymous, keys=keys, requester_pays=provider.requester_pays)
        if self.access(provider).allowance("s3://").limit is not None:
            # No connection may stay open in its pool that nobody has a permit for.
            client.meta.events.register("before-send.s3", _closing, unique_id="closing")
        return client

    def circuit(self, name: str, provider: ProviderSettings) -> Circuit:
        return self._circuits.setdefault(name, Circuit(name, provider.failures, provider.pause_s))

    def _s3(self, provider: ProviderSettings) -> S3Settings:
        if provider.endpoint_url or provider.region:
            return S3Settings(endpoint_url=provider.endpoint_url, region=provider.region)
        return self._settings.s3


def _closing(request: AWSPreparedRequest, **_: object) -> None:
    request.headers["Connection"] = "close"
