"""The account of an order: the customer's own, held in memory while their product is fetched, and shown to nobody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr

from common.config import AccountSettings, SecretName
from common.errors import UserError
from common.order_access import BucketLogin, Login, OrderAccess
from common.resolver import GuardedResolver
from common.storage.s3 import S3Keys
from common.urls import check_url, names_host
from downloader.accounts.base import NO_ACCOUNT, Account, BoundAccount
from downloader.accounts.oidc import OidcAccount
from downloader.accounts.opening import Accounts
from downloader.accounts.secrets import Redactor, Secrets

NAME = "order"
_TIMEOUT_S = 60.0


class OrderAccounts(Accounts):
    """Has one account, whatever name is asked for."""

    def __init__(self, access: OrderAccess, allowed: Sequence[str]) -> None:
        """Raises UserError for a token endpoint that may not be asked."""
        super().__init__({})
        self._account = _account(access, allowed, self.redactor)

    def account(self, name: str, *, preset: str = "") -> Account:  # noqa: ARG002
        return self._account if name == NAME else NO_ACCOUNT


class _Held(Secrets):
    """Secrets that were opened for this order alone."""

    def __init__(self, values: Mapping[SecretName, str], redactor: Redactor) -> None:
        super().__init__(NAME, {}, redactor)
        self._values = values
        for name, value in values.items():
            if name != "client_id":
                redactor.add(value)

    def get(self, secret: SecretName) -> SecretStr | None:
        value = self._values.get(secret, "")
        if value and not value.isprintable():
            raise UserError(f"its {secret} holds characters that cannot be sent", field=f"source_{secret}")
        return SecretStr(value) if value else None


class _LoginAccount(OidcAccount):
    """Buys tokens where the customer says, but in no private network."""

    def __init__(
        self, login: Login, origins: Sequence[str], secrets: Secrets, allowed: Sequence[str], bucket: _BucketAccount | None
    ) -> None:
        settings = AccountSettings(
            type="oidc", token_url=login.token_url, grant=login.grant, client_id=login.client_id or "-", origins=list(origins)
        )
        super().__init__(NAME, settings, secrets)
        self._header = login.header
        self._allowed = allowed
        self._url = login.token_url
        self._bucket = bucket

    async def headers(self, url: str) -> dict[str, str]:
        shown = await super().headers(url)
        return {self._header: shown["Authorization"]} if shown else {}

    def keys(self, endpoint_url: str) -> S3Keys | None:
        return self._bucket.keys(endpoint_url) if self._bucket is not None else None

    def _session(self) -> aiohttp.ClientSession:
        check_url(self._url, self._allowed, "source_token_url")
        resolver = GuardedResolver("source_token_url")
        if names_host(self._url, self._allowed):
            resolver.trusted.add(urlsplit(self._url).hostname or "")
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), connector=connector, trust_env=True)


class _BucketAccount(BoundAccount):
    """Keys for the server the customer names, no other."""

    def __init__(self, bucket: BucketLogin, redactor: Redactor) -> None:
        super().__init__(NAME, ())
        self._endpoint_url = bucket.endpoint_url
        self._keys = S3Keys(SecretStr(bucket.access_key), SecretStr(bucket.secret_key))
        redactor.add(bucket.secret_key)

    def keys(self, endpoint_url: str) -> S3Keys | None:
        return self._keys if endpoint_url == self._endpoint_url and self._keys.key_id.get_secret_value() else None


def _account(access: OrderAccess, allowed: Sequence[str], redactor: Redactor) -> Account:
    bucket = _BucketAccount(access.bucket, redactor) if access.bucket is not None else None
    login = access.login
    if login is None:
        return bucket or NO_ACCOUNT
    check_url(login.token_url, allowed, "source_token_url")
    values: dict[SecretName, str] = {
        "username": login.username,
        "password": login.password,
        "client_id": login.client_id,
        "client_secret": login.client_secret,
    }
    return _LoginAccount(login, access.origins, _Held(values, redactor), allowed, bucket)
