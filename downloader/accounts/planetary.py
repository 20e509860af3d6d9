"""Signing of links for the Planetary Computer: a token for each container of blobs, kept until shortly before it ends.

Source: Planetary Computer, "Using tokens for data access".
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from common.config import AccountSettings
from common.errors import ConfigurationError, TemporaryError, ThresherError
from common.threads import in_thread
from common.times import UtcDatetime
from common.urls import shown_url
from downloader.accounts.base import BoundAccount
from downloader.accounts.secrets import Secrets

_TIMEOUT_S = 60.0
_MARGIN_S = 60.0
_JUST_MADE_S = 1.0
_ANSWER_BYTES = 2**20


class _Answer(BaseModel):
    token: str
    expiry: UtcDatetime = Field(alias="msft:expiry")


class _Sas:
    """A token of a container."""

    def __init__(self, token: str, expiry: datetime) -> None:
        self.token = token
        self.made = time.monotonic()
        left = (expiry - datetime.now(UTC)).total_seconds()
        self.ends = self.made + max(left - _MARGIN_S, left / 2)


class PlanetaryComputerAccount(BoundAccount):
    """Needs no secret; with a `subscription_key` the service is more patient."""

    def __init__(self, name: str, settings: AccountSettings, secrets: Secrets) -> None:
        if not settings.token_url or not settings.origins:
            raise ConfigurationError(f"'accounts.{name}' needs preset = \"planetary-computer\", or token_url and origins")
        super().__init__(name, settings.origins)
        self._root = settings.token_url.rstrip("/")
        self._secrets = secrets
        self._tokens: dict[str, _Sas] = {}
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def signed(self, url: str) -> str:
        container = self._container(url)
        if not container:
            return url
        async with self._asking[container]:
            sas = self._tokens.get(container)
            if sas is None or time.monotonic() >= sas.ends:
                sas = self._tokens[container] = await self._ask(container)
        return f"{url.partition('?')[0]}?{sas.token}"

    async def refused(self, url: str) -> bool:
        container = self._container(url.partition("?")[0])
        sas = self._tokens.get(container)
        if sas is None or time.monotonic() - sas.made < _JUST_MADE_S:
            return False
        del self._tokens[container]
        return True

    def _container(self, url: str) -> str:
        """`account/container`; empty where the link is not ours to sign, or signed by somebody else."""
        parts = urlsplit(url)
        first = parts.path.lstrip("/").partition("/")[0]
        return f"{(parts.hostname or '').partition('.')[0]}/{first}" if first and not parts.query and self._origins.hold(url) else ""

    async def _ask(self, container: str) -> _Sas:
        url = f"{self._root}/token/{quote(container)}"
        key = await in_thread(lambda _: self._secrets.get("subscription_key"))
        headers = {"Ocp-Apim-Subscription-Key": key.get_secret_value()} if key else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), trust_env=True) as session,
                session.get(url, headers=headers, allow_redirects=False) as answer,
            ):
                content, status = await answer.content.read(_ANSWER_BYTES), answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TemporaryError(f"{shown_url(url)} does not answer: {type(error).__name__}") from None
        if status == 429 or status >= 500:
            raise TemporaryError(f"{shown_url(url)} is busy (HTTP {status})")
        if status != 200:
            raise ThresherError(f"{shown_url(url)} gives no access to {container} (HTTP {status})")
        try:
            told = _Answer.model_validate_json(content)
        except ValidationError:
            raise ThresherError(f"{shown_url(url)}: the answer holds no token") from None
        self._secrets.used(told.token)
        return _Sas(told.token.lstrip("?"), told.expiry)
