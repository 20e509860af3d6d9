"""The configured accounts by name, each made once a process, so that all who use one share its tokens."""

from __future__ import annotations

from collections.abc import Mapping

from common.config import AccountSettings
from common.errors import ConfigurationError
from downloader.accounts.base import NO_ACCOUNT, Account
from downloader.accounts.fixed import BasicAccount, BearerAccount, S3Account
from downloader.accounts.oidc import OidcAccount
from downloader.accounts.planetary import PlanetaryComputerAccount
from downloader.accounts.presets import PRESETS, completed
from downloader.accounts.secrets import Redactor, Secrets


class Accounts:
    """Opens accounts when they are first needed."""

    def __init__(self, settings: Mapping[str, AccountSettings]) -> None:
        self._settings = {name: completed(name, account) for name, account in settings.items()}
        self._open: dict[str, Account] = {}
        self.redactor = Redactor()

    def account(self, name: str, *, preset: str = "") -> Account:
        """The account of that name; without a name the one of a preset that needs no secrets, or none. Raises ConfigurationError."""
        if not name and not preset:
            return NO_ACCOUNT
        key = name or f"preset {preset}"
        if key not in self._open:
            if name and name not in self._settings:
                known = ", ".join(self._settings) or "none"
                raise ConfigurationError(f"account '{name}' is not configured: add a table [accounts.{name}] (there are: {known})")
            settings = self._settings[name] if name else PRESETS[preset]
            self._open[key] = self._made(name or preset, settings)
        return self._open[key]

    def connections(self, name: str) -> int | None:
        """How many connections the account allows; None: as many as the host."""
        settings = self._settings.get(name)
        return settings.connections if settings else None

    def _made(self, name: str, settings: AccountSettings) -> Account:
        secrets = Secrets(name, settings.secrets, self.redactor)
        match settings.type:
            case "oidc":
                return OidcAccount(name, settings, secrets)
            case "bearer":
                return BearerAccount(name, settings.origins, secrets)
            case "basic":
                return BasicAccount(name, settings.origins, secrets)
            case "s3":
                return S3Account(name, settings.origins, secrets)
            case "planetary-computer":
                return PlanetaryComputerAccount(name, settings, secrets)
