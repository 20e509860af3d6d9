"""Access tokens of an OpenID Connect issuer: signature, issuer, audience, dates, and what they say of the user.

Sources: RFC 7519 (JWT), RFC 8725 (best current practices), RFC 9068 (access tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt

from catalogue.auth.caller import Caller
from catalogue.auth.keys import IssuerKeys
from catalogue.auth.refusal import RefusedError
from common.access_settings import AuthSettings, IssuerSettings
from common.errors import ConfigurationError
from common.urls import is_loopback

LONGEST = 16_384
"""Characters of a token."""
_LONGEST_SUBJECT = 255
_OTHER_USES = {"id", "refresh", "offline", "logout"}
"""What `typ` says of tokens of Keycloak that are not access tokens."""


@dataclass(frozen=True)
class Issuer:
    """An issuer and what its tokens must be."""

    name: str
    settings: IssuerSettings
    roles: AuthSettings
    keys: IssuerKeys

    async def caller(self, token: str, header: Mapping[str, Any]) -> Caller:
        """Whose token it is. Raises RefusedError, TemporaryError."""
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self.settings.algorithms:
            raise RefusedError("its algorithm is not one of those its issuer signs with")
        if kid is not None and not isinstance(kid, str):
            raise RefusedError("its key id is no text")
        refusal = RefusedError("its signature is not that of its issuer")
        for key in await self.keys.fitting(kid, algorithm):
            try:
                return self._caller(self._claims(token, key, algorithm))
            except jwt.InvalidSignatureError:
                continue  # of several keys without an id it may be another one
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
                raise RefusedError(_reason(error)) from None
        raise refusal

    def _claims(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        audience = self.settings.audience
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience or None,
            issuer=self.settings.url,
            leeway=self.settings.leeway_s,
            options={"require": ["exp", "iss", "sub"], "verify_aud": bool(audience), "enforce_minimum_key_length": True},
        )

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        subject, used = claims["sub"], str(claims.get("typ", "")).lower()
        if used in _OTHER_USES:
            raise RefusedError("it is not an access token")
        if self.settings.clients and claims.get("azp", claims.get("client_id")) not in self.settings.clients:
            raise RefusedError("it was made for another client")
        if not subject or len(subject) > _LONGEST_SUBJECT or not subject.isprintable():
            raise RefusedError("it does not say whose it is")
        roles = _at(claims, self.settings.roles_claim)
        held = {role for role in roles if isinstance(role, str)} if isinstance(roles, list) else set()
        operator = not self.roles.operator_role or self.roles.operator_role in held
        if self.roles.user_role and self.roles.user_role not in held and not operator:
            raise RefusedError(f"its user does not have the role '{self.roles.user_role}'")
        name = _at(claims, self.settings.name_claim)
        shown = name if isinstance(name, str) and name.isprintable() else subject
        return Caller(f"{self.name}:{subject}", shown[:_LONGEST_SUBJECT], subject, operator=operator)


def configured_issuers(settings: AuthSettings) -> dict[str, Issuer]:
    """The issuers by their URLs. Raises ConfigurationError."""
    found: dict[str, Issuer] = {}
    for name, issuer in settings.issuers.items():
        key = f"auth.issuers.{name}"
        for field, url in (("url", issuer.url), ("jwks_url", issuer.jwks_url)):
            if url and not _is_safe(url):
                raise ConfigurationError(f"{key}.{field}: '{url[:200]}' must begin with https:// (http:// only on this machine)")
        if not issuer.url:
            raise ConfigurationError(f"{key}.url: is missing")
        if not issuer.audience and not issuer.clients:
            raise ConfigurationError(f"{key}.audience: is missing: without it (or 'clients') tokens made for any other service would do")
        if not issuer.algorithms:
            raise ConfigurationError(f"{key}.algorithms: name at least one")
        if issuer.url in found:
            raise ConfigurationError(f"{key}.url: is that of auth.issuers.{found[issuer.url].name}, too")
        found[issuer.url] = Issuer(name, issuer, settings, IssuerKeys(issuer.url, issuer.jwks_url))
    return found


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme == "https" and parts.hostname:
        return True
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


def _at(claims: Mapping[str, Any], path: str) -> object:
    """What stands at a path with dots; a claim whose own name has dots (`https://…/roles`) is found, too."""
    if path in claims:
        return claims[path]
    value: object = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _reason(error: Exception) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "it has expired"
        case jwt.ImmatureSignatureError():
            return "it is not valid yet"
        case jwt.InvalidAudienceError():
            return "it was made for another service"
        case jwt.MissingRequiredClaimError():
            return str(error)
        case _:
            return "it is not one its issuer could have made"
