"""The secrets of an account: read from the environment or from files when they are needed, and known for redaction from then on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from common.config import SecretName
from common.errors import ConfigurationError

_SHORTEST = 4
"""Shorter values would redact ordinary words."""
_SHOWN = "***"


class Redactor:
    """Takes values that were used as secrets out of texts."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def add(self, value: str) -> None:
        if len(value) >= _SHORTEST:
            self._values.add(value)

    def discard(self, value: str) -> None:
        """Of a token that is not valid any more, so that the list does not grow for ever."""
        self._values.discard(value)

    def redacted(self, text: str) -> str:
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, _SHOWN)
        return text


class Secrets:
    """The secrets of one account by name; never shown."""

    def __init__(self, account: str, places: Mapping[SecretName, str], redactor: Redactor) -> None:
        self._account = account
        self._places = places
        self._redactor = redactor

    def get(self, secret: SecretName) -> SecretStr | None:
        """Its value now; None where it is not set. Raises ConfigurationError for a file that cannot be read."""
        scheme, _, rest = self._place(secret).partition(":")
        value = os.environ.get(rest, "") if scheme == "env" else self._read(secret, Path(rest))
        if not value:
            return None
        if not value.isprintable():
            raise ConfigurationError(
                f"account '{self._account}': its {secret} ({self._place(secret)}) holds characters that cannot be sent"
            )
        self._redactor.add(value)
        return SecretStr(value)

    def require(self, secret: SecretName) -> SecretStr:
        """Raises ConfigurationError that says where it is looked for."""
        value = self.get(secret)
        if value is None:
            place = self._place(secret)
            where = f"set {place.removeprefix('env:')}" if place.startswith("env:") else f"{place} is empty"
            raise ConfigurationError(f"account '{self._account}' has no {secret}: {where}, or name its place in 'secrets'")
        return value

    def used(self, value: str) -> None:
        """A secret that was obtained with these, such as a token."""
        self._redactor.add(value)

    def done(self, value: str) -> None:
        self._redactor.discard(value)

    def _place(self, secret: SecretName) -> str:
        return self._places.get(secret) or "env:THRESHER_ACCOUNT_" + re.sub(r"[^A-Z0-9]", "_", f"{self._account}_{secret}".upper())

    def _read(self, secret: SecretName, path: Path) -> str:
        try:
            return path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigurationError(f"account '{self._account}': its {secret} cannot be read from {path}: {reason}") from None

    def __repr__(self) -> str:
        return f"Secrets({self._account!r})"
