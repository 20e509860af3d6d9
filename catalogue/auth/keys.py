"""The public keys of an issuer: fetched when first needed, kept, and fetched again when a token names one that is not there.

Sources: RFC 7517 (JWK), OpenID Connect Discovery 1.0, 4. Keys come from the configured issuer alone: what a token says of keys (`jku`,
`jwk`, `x5u`) is never looked at.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt

from catalogue.auth.refusal import RefusedError
from common.errors import TemporaryError
from common.urls import shown_url

log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_MOST_BYTES = 2**20
_LIFE_S = 3600.0
_LIFE_OF_OLD_S = 24 * 3600.0
"""While the issuer does not answer, keys are used for so long."""
_LEAST_BETWEEN_S = 10.0
"""Tokens that name unknown keys, which anybody can make, do not have the issuer asked more often."""
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


@dataclass
class IssuerKeys:
    """Keys of one issuer. Safe for many requests at once: one of them fetches."""

    issuer: str
    jwks_url: str = ""
    _documents: list[dict[str, Any]] = field(default_factory=list)
    _fetched: float | None = None
    _tried: float | None = None
    _trouble: str = ""
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def fitting(self, kid: str | None, algorithm: str) -> list[jwt.PyJWK]:
        """The keys that may have signed a token: the one it names, or, where it names none, those of its algorithm.

        Raises RefusedError where there is none, TemporaryError where the issuer does not answer.
        """
        if self._age(self._fetched) > _LIFE_S:
            await self._fetch()
        found = self._find(kid, algorithm)
        if not found:
            await self._fetch()
            found = self._find(kid, algorithm)
        if not found:
            raise RefusedError("its issuer has no such key")
        return found

    def _find(self, kid: str | None, algorithm: str) -> list[jwt.PyJWK]:
        return [
            key
            for document in self._documents
            if (kid is None or document.get("kid") == kid) and (key := _key(document, algorithm)) is not None
        ]

    async def _fetch(self) -> None:
        async with self._fetching:
            if self._age(self._tried) < _LEAST_BETWEEN_S:
                if self._fetched is None:
                    raise TemporaryError(self._trouble)
                return
            self._tried = time.monotonic()
            try:
                self._documents = await self._read()
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError, OSError) as error:
                self._trouble = f"the keys of {shown_url(self.issuer)} cannot be fetched: {type(error).__name__}"
                log.warning("%s: %s", self._trouble, error)
                if self._age(self._fetched) > _LIFE_OF_OLD_S:
                    raise TemporaryError(self._trouble) from None
            else:
                self._fetched = time.monotonic()
                log.info("%d keys of %s fetched", len(self._documents), shown_url(self.issuer))

    async def _read(self) -> list[dict[str, Any]]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), trust_env=True) as session:
            url = self.jwks_url
            if not url:
                told = await _json(session, self.issuer.rstrip("/") + "/.well-known/openid-configuration")
                if told["issuer"] != self.issuer:
                    raise ValueError(f"its configuration is of another issuer, {str(told['issuer'])[:200]}")
                url = str(told["jwks_uri"])
                if not url.startswith(("https://", _origin(self.issuer))):
                    raise ValueError(f"its configuration names keys at {shown_url(url)}, which is not https://")
            keys = (await _json(session, url))["keys"]
        return [key for key in keys if isinstance(key, dict)]

    @staticmethod
    def _age(moment: float | None) -> float:
        return float("inf") if moment is None else time.monotonic() - moment


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/"


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as answer:
        content = await answer.content.read(_MOST_BYTES)
        if answer.status != 200:
            raise ValueError(f"{shown_url(url)} answers HTTP {answer.status}")
    document = json.loads(content)
    if not isinstance(document, dict):
        raise TypeError(f"{shown_url(url)} answers no JSON object")
    return document


def _key(document: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    """The key, bound to the algorithm; None where it is not one that signs with it."""
    if document.get("kty") != _KINDS[algorithm[:2]] or document.get("use", "sig") != "sig" or document.get("alg", algorithm) != algorithm:
        return None
    operations = document.get("key_ops")
    if operations is not None and "verify" not in operations:
        return None
    try:
        return jwt.PyJWK(document, algorithm)
    except jwt.PyJWTError:
        return None
