"""Accounts whose secrets are shown as they are: a bearer token, name and password, keys of an S3 server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from common.errors import ConfigurationError
from common.storage.s3 import S3Keys
from common.threads import in_thread
from downloader.accounts.base import BoundAccount
from downloader.accounts.secrets import Secrets

AMAZON = "https://s3.amazonaws.com"
"""What stands for every endpoint of Amazon's among the origins of an S3 account."""


class HeaderAccount(BoundAccount):
    """Sends the same header every time; a file that holds the secret is read anew, so that it can be replaced."""

    def __init__(self, name: str, origins: Sequence[str], secrets: Secrets) -> None:
        if not origins:
            raise ConfigurationError(f"'accounts.{name}.origins' is not set: name the servers that may be shown the account")
        super().__init__(name, origins)
        self._secrets = secrets
        self._shown: WeakKeyDictionary[asyncio.Task[object], str] = WeakKeyDictionary()

    async def headers(self, url: str) -> dict[str, str]:
        if not self._origins.hold(url):
            return {}
        value = await in_thread(lambda _: self._value())
        if (task := asyncio.current_task()) is not None:
            self._shown[task] = value
        return {"Authorization": value}

    async def refused(self, url: str) -> bool:
        task = asyncio.current_task()
        if task is None or not self._origins.hold(url):
            return False
        return await in_thread(lambda _: self._value()) != self._shown.get(task)

    def _value(self) -> str:
        raise NotImplementedError


class BearerAccount(HeaderAccount):
    """A token somebody else obtained, such as one of Earthdata Login."""

    def _value(self) -> str:
        return f"Bearer {self._secrets.require('token').get_secret_value()}"


class BasicAccount(HeaderAccount):
    """Name and password (RFC 7617)."""

    def _value(self) -> str:
        pair = f"{self._secrets.require('username').get_secret_value()}:{self._secrets.require('password').get_secret_value()}"
        encoded = base64.b64encode(pair.encode()).decode()
        self._secrets.used(encoded)
        return f"Basic {encoded}"


class S3Account(BoundAccount):
    """Keys of S3 servers."""

    def __init__(self, name: str, origins: Sequence[str], secrets: Secrets) -> None:
        super().__init__(name, origins or [AMAZON])
        self._secrets = secrets

    def keys(self, endpoint_url: str) -> S3Keys | None:
        """Raises ConfigurationError where they are to be shown to another server than theirs."""
        server = endpoint_url or AMAZON
        if not self._origins.hold(server):
            raise ConfigurationError(f"'accounts.{self.name}.origins' does not name {server}: its keys are not for that server")
        return S3Keys(self._secrets.require("key_id"), self._secrets.require("secret_key"), self._secrets.get("session_token"))
