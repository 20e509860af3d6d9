"""Secrets sealed for the database and the broker, and signatures of links, with keys that services share.

Fernet (AES-128-CBC with HMAC-SHA256, and the time of sealing) of the `cryptography` library. What was sealed for one purpose opens for no
other. Of several keys the first seals, all of them open: so they are replaced.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from common.access_settings import SecretsSettings
from common.errors import ConfigurationError, FatalError

_KEY_BYTES = 32
_HELP = "set THRESHER_SECRETS_KEYS or THRESHER_SECRETS_KEYS_FILE: 32 bytes in URL-safe Base64, the same for the catalogue and all workers"


class SealError(FatalError):
    """What is sealed cannot be opened here."""


@dataclass
class Sealer:
    """Keys as they are configured; a file of them is read anew when it changes."""

    settings: SecretsSettings
    _read: tuple[tuple[int, int], list[bytes]] | None = field(default=None, repr=False)

    @property
    def is_able(self) -> bool:
        """Whether there is a key."""
        return bool(self._given) or self.settings.keys_file is not None

    @property
    def _given(self) -> str:
        return self.settings.keys.get_secret_value().strip() if self.settings.keys is not None else ""

    def seal(self, values: Mapping[str, str], purpose: str) -> str:
        """Raises ConfigurationError where there is no key."""
        document = {"for": purpose, "values": dict(values)}
        return self._box().encrypt(json.dumps(document).encode()).decode()

    def open(self, sealed: str, purpose: str, *, life_s: int | None = None) -> dict[str, str]:
        """What was sealed for this purpose, not longer than `life_s` ago. Raises SealError, ConfigurationError."""
        try:
            document = json.loads(self._box().decrypt(sealed.encode(), ttl=life_s))
        except InvalidToken:
            raise SealError("the secrets cannot be opened: they were sealed with another key (secrets.keys), or too long ago") from None
        if document["for"] != purpose:
            raise SealError("the secrets cannot be opened: they were sealed for something else")
        values: dict[str, str] = document["values"]
        return values

    def signature(self, text: str) -> str:
        """A signature that only a holder of the first key can make, for a URL."""
        return _signature(self._keys()[0], text)

    def is_signed(self, text: str, signature: str) -> bool:
        """Whether a key, also an older one, made the signature."""
        given = signature.encode(errors="replace")
        return any(hmac.compare_digest(_signature(key, text).encode(), given) for key in self._keys())

    def check(self) -> None:
        """Raises ConfigurationError for keys that are none."""
        if self.is_able:
            self._keys()

    def _box(self) -> MultiFernet:
        return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in self._keys()])

    def _keys(self) -> list[bytes]:
        if self._given:
            return _decoded(self._given.split(","), "secrets.keys")
        if self.settings.keys_file is None:
            raise ConfigurationError(f"secrets.keys: there is no key to seal secrets with: {_HELP}")
        return self._keys_of(self.settings.keys_file)

    def _keys_of(self, file: Path) -> list[bytes]:
        try:
            status = file.stat()
            version = (status.st_mtime_ns, status.st_size)
            if self._read is None or self._read[0] != version:
                self._read = (version, _decoded(file.read_text("ascii").split("\n"), "secrets.keys_file"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"secrets.keys_file: {file} cannot be read: {type(error).__name__}") from None
        return self._read[1]


def _signature(key: bytes, text: str) -> str:
    # Not the key that seals: what signs links is derived from it.
    signing = hmac.digest(key, b"thresher links", hashlib.sha256)
    return base64.urlsafe_b64encode(hmac.digest(signing, text.encode(), hashlib.sha256)).rstrip(b"=").decode()


def _decoded(texts: list[str], name: str) -> list[bytes]:
    keys: list[bytes] = []
    for text in filter(None, map(str.strip, texts)):
        try:
            key = base64.b64decode(text, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            key = b""
        if len(key) != _KEY_BYTES:
            # Never what stands there.
            raise ConfigurationError(f"{name}: the key in place {len(keys) + 1} is not 32 bytes in URL-safe Base64")
        keys.append(key)
    if not keys:
        raise ConfigurationError(f"{name}: there is no key to seal secrets with: {_HELP}")
    return keys
