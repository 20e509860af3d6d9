"""Accounts of OpenID Connect: tokens by password or client credentials, renewed before they end, once for all who wait.

Sources: RFC 6749 (4.3, 4.4, 5, 6); Copernicus Data Space, "Access Token".
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import aiohttp
from pydantic import BaseModel, ValidationError

from common.config import AccountSettings
from common.errors import ConfigurationError, TemporaryError, ThresherError
from common.threads import in_thread
from common.urls import shown_url
from downloader.accounts.base import BoundAccount
from downloader.accounts.secrets import Secrets

_TIMEOUT_S = 60.0
_MARGIN_S = 60.0
_MARGIN = 0.2
"""A token is renewed so long before its end, or with a fifth of its life left where that is less."""
_USUAL_LIFE_S = 300.0
"""Where the server does not say."""
_PAUSE_S = 60.0
"""After the server refused name or password it is not asked again for so long: some lock an account after a few wrong attempts."""
_JUST_MADE_S = 1.0
_ANSWER_BYTES = 2**20


class _Answer(BaseModel):
    access_token: str
    expires_in: float = _USUAL_LIFE_S
    refresh_token: str = ""
    refresh_expires_in: float = 0.0
    """0: it does not end, or the server does not say."""


@dataclass(frozen=True)
class _Token:
    number: int
    access: str
    made: float
    """Monotonic clock, as the two others."""
    renew: float
    refresh: str
    refresh_ends: float


class _RefusedError(ThresherError):
    """The token endpoint does not accept what it was shown."""


class OidcAccount(BoundAccount):
    """One token, shared by everything that runs in this process."""

    def __init__(self, name: str, settings: AccountSettings, secrets: Secrets) -> None:
        if not settings.token_url or not settings.origins:
            missing = "origins" if settings.token_url else "token_url"
            raise ConfigurationError(f"'accounts.{name}.{missing}' is not set: give it, or a preset")
        super().__init__(name, settings.origins)
        self._settings = settings
        self._secrets = secrets
        self._renewing = asyncio.Lock()
        self._token: _Token | None = None
        self._shown: WeakKeyDictionary[asyncio.Task[object], int] = WeakKeyDictionary()
        self._refusal: tuple[float, ThresherError] | None = None

    async def headers(self, url: str) -> dict[str, str]:
        if not self._origins.hold(url):
            return {}
        token = await self._valid()
        if (task := asyncio.current_task()) is not None:
            self._shown[task] = token.number
        return {"Authorization": f"Bearer {token.access}"}

    async def refused(self, url: str) -> bool:
        """A token that ended early is renewed; one that was only just made is as good as it gets."""
        token, task = self._token, asyncio.current_task()
        if token is None or task is None or not self._origins.hold(url):
            return False
        if self._shown.get(task, token.number) != token.number:
            return True
        if time.monotonic() - token.made < _JUST_MADE_S:
            return False
        await self._renew(token.number)
        return True

    async def _valid(self) -> _Token:
        token = self._token
        if token is None or time.monotonic() >= token.renew:
            token = await self._renew(token.number if token else 0)
        return token

    async def _renew(self, number: int) -> _Token:
        """A token later than `number`; of all who ask at once, one goes to the server."""
        async with self._renewing:
            token = self._token
            if token is not None and token.number != number:
                return token
            if self._refusal is not None and time.monotonic() < self._refusal[0]:
                raise ThresherError(str(self._refusal[1]))
            try:
                self._token = await self._obtain(token)
            except _RefusedError as error:
                self._token = None
                self._refusal = (time.monotonic() + _PAUSE_S, error)
                raise
            self._refusal = None
            if token is not None:
                self._secrets.done(token.access)
            return self._token

    async def _obtain(self, old: _Token | None) -> _Token:
        if old is not None and old.refresh and time.monotonic() < old.refresh_ends:
            try:
                return await self._ask({"grant_type": "refresh_token", "refresh_token": old.refresh}, old)
            except _RefusedError:
                pass  # the session has ended; name and password begin another
        if self._settings.grant == "client-credentials":
            return await self._ask({"grant_type": "client_credentials"}, old)
        username, password = await in_thread(lambda _: (self._secrets.require("username"), self._secrets.require("password")))
        secret = {"username": username.get_secret_value(), "password": password.get_secret_value()}
        return await self._ask({"grant_type": "password", **secret}, old)

    async def _ask(self, grant: Mapping[str, str], old: _Token | None) -> _Token:
        form = {**grant, **await in_thread(lambda _: self._client())}
        where = shown_url(self._settings.token_url)
        started = time.monotonic()
        try:
            async with (
                self._session() as session,
                # Not followed anywhere: what is sent is the password.
                session.post(self._settings.token_url, data=form, allow_redirects=False, headers={"Accept": "application/json"}) as answer,
            ):
                content = await answer.content.read(_ANSWER_BYTES)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TemporaryError(f"account '{self.name}': {where} does not answer: {type(error).__name__}") from None
        if status == 429 or status >= 500:
            raise TemporaryError(f"account '{self.name}': {where} is busy (HTTP {status})")
        if status != 200:
            raise _RefusedError(f"account '{self.name}' is refused by {where} (HTTP {status}{_reason(content)}): check its secrets")
        try:
            told = _Answer.model_validate_json(content)
        except ValidationError:
            raise ThresherError(f"account '{self.name}': the answer of {where} holds no token") from None
        return self._kept(told, started, old)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), trust_env=True)

    def _kept(self, told: _Answer, started: float, old: _Token | None) -> _Token:
        for secret in (told.access_token, told.refresh_token):
            self._secrets.used(secret)
        life = max(0.0, told.expires_in)
        return _Token(
            number=(old.number if old else 0) + 1,
            access=told.access_token,
            made=time.monotonic(),
            renew=started + life - min(_MARGIN_S, _MARGIN * life),
            refresh=told.refresh_token,
            refresh_ends=started + told.refresh_expires_in if told.refresh_expires_in > 0 else float("inf"),
        )

    def _client(self) -> dict[str, str]:
        client_id = self._settings.client_id or self._secrets.require("client_id").get_secret_value()
        needed = self._settings.grant == "client-credentials"
        secret = self._secrets.require("client_secret") if needed else self._secrets.get("client_secret")
        form = {"client_id": client_id}
        if secret is not None:
            form["client_secret"] = secret.get_secret_value()
        if self._settings.scope:
            form["scope"] = self._settings.scope
        return form


def _reason(content: bytes) -> str:
    """The code of an OAuth error; its description may repeat what was sent."""
    try:
        code = json.loads(content).get("error", "")
    except (ValueError, AttributeError):
        return ""
    return f", {code}" if isinstance(code, str) and code.isidentifier() else ""
