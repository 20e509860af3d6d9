"""Static tokens: the simple case, one long random text for each person or program."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path

from catalogue.auth.caller import Caller
from common.config import Settings
from common.errors import ConfigurationError

SHORTEST = 16


@dataclass(frozen=True)
class StaticToken:
    digest: bytes
    """SHA-256, so that all are compared in the same time whatever their length."""
    caller: Caller


def static_tokens(settings: Settings) -> list[StaticToken]:
    """`server.token`, which is an operator's, and those of `auth.tokens`. Raises ConfigurationError."""
    found: list[StaticToken] = []
    if settings.server.token is not None:
        found.append(_token("server.token", settings.server.token.get_secret_value(), Caller("token:", "operator")))
    for name, token in settings.auth.tokens.items():
        key = f"auth.tokens.{name}.secret"
        text = _read(key, token.secret)
        if len(text) < SHORTEST:
            raise ConfigurationError(f"{key}: the token in {token.secret} is shorter than {SHORTEST} characters: anybody could guess it")
        found.append(_token(key, text, Caller(f"token:{name}", name, operator=token.operator)))
    if len({token.digest for token in found}) < len(found):
        raise ConfigurationError("auth.tokens: two people have the same token: who it is could not be told")
    return found


def holder(tokens: list[StaticToken], given: str) -> Caller | None:
    """Whose token it is; looks at all of them, so that time tells nothing."""
    digest = _digest(given)
    matches = [token.caller for token in tokens if hmac.compare_digest(token.digest, digest)]
    return matches[0] if matches else None


def _token(key: str, text: str, caller: Caller) -> StaticToken:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigurationError(f"{key}: a token is a text of printable ASCII characters without spaces")
    return StaticToken(_digest(text), caller)


def _digest(text: str) -> bytes:
    # A header may hold any bytes; those that are no text arrive as half surrogates.
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def _read(key: str, place: str) -> str:
    scheme, _, rest = place.partition(":")
    if scheme == "env":
        text = os.environ.get(rest, "")
    else:
        try:
            text = Path(rest).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{key}: {rest} cannot be read: {getattr(error, 'strerror', '') or 'it is no text'}") from None
    if not text.strip():
        raise ConfigurationError(f"{key}: {place} is not set or empty")
    return text.strip()
