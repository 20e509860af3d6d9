"""The token endpoint of `thresher up --demo-auth`: one user, whose password buys tokens of an hour, on loopback only.

It answers what clients of Keycloak's password grant read (RFC 6749, 4.3), so that they work without an issuer. Its key is made when it is
first opened and stays in its folder.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import jwt
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ValidationError

from catalogue.auth.caller import Caller
from catalogue.auth.refusal import RefusedError
from common.config import Settings
from common.errors import ConfigurationError
from common.urls import is_loopback

PATHS = ("/realms/{realm}/protocol/openid-connect/token", "/auth/realms/{realm}/protocol/openid-connect/token")
USER_FILE = "user.json"
KEY_FILE = "key.pem"
_LIFE_S = 3600
_ALGORITHM = "ES256"
_AUDIENCE = "thresher"


class DemoUser(BaseModel):
    """What stands in `user.json`."""

    username: str
    password: str
    subject: str


@dataclass(frozen=True)
class DemoIssuer:
    """Makes tokens and knows them again."""

    user: DemoUser
    key: ec.EllipticCurvePrivateKey

    @property
    def issuer(self) -> str:
        return f"urn:thresher:demo:{self.user.subject}"

    def token(self, username: str, password: str) -> str | None:
        """An access token; None for a wrong name or password."""
        known = hmac.compare_digest(username.encode(errors="replace"), self.user.username.encode())
        if not hmac.compare_digest(password.encode(errors="replace"), self.user.password.encode()) or not known:
            return None
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": _AUDIENCE, "sub": self.user.subject, "iat": now, "exp": now + _LIFE_S}
        more = {"preferred_username": self.user.username, "typ": "Bearer", "jti": secrets.token_hex(16)}
        return jwt.encode({**claims, **more}, self.key, algorithm=_ALGORITHM)

    def caller(self, token: str) -> Caller:
        """Whose token it is; raises RefusedError."""
        try:
            claims = jwt.decode(
                token,
                self.key.public_key(),
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=self.issuer,
                options={"require": ["exp", "iss", "sub", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise RefusedError("the token is not accepted: it has expired") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise RefusedError("the token is not accepted") from None
        return Caller(f"demo:{claims['sub']}", self.user.username, claims["sub"], operator=True)

    async def answer(self, request: web.Request) -> web.Response:
        """The token endpoint (RFC 6749, 5)."""
        try:
            form = await request.post()
        except (ValueError, AssertionError, LookupError, RuntimeError, HttpProcessingError):
            return _refusal("invalid_request", "a form is needed (application/x-www-form-urlencoded)")
        if form.get("grant_type") != "password":
            return _refusal("unsupported_grant_type", "only the grant 'password' is offered here")
        token = self.token(str(form.get("username", "")), str(form.get("password", "")))
        if token is None:
            return _refusal("invalid_grant", "Invalid user credentials", status=401)
        body = {"access_token": token, "expires_in": _LIFE_S, "refresh_expires_in": 0, "token_type": "Bearer", "scope": "openid"}
        return web.json_response(body, headers=_NOT_KEPT)


def opened_demo(settings: Settings) -> DemoIssuer | None:
    """The demonstration's issuer, where it is asked for. Raises ConfigurationError, also where others could reach it."""
    folder = settings.auth.demo_folder
    if folder is None:
        return None
    if not is_loopback(settings.server.host):
        raise ConfigurationError(f"auth.demo_folder: the demonstration's users are for loopback only, not for {settings.server.host}")
    if settings.auth.issuers:
        raise ConfigurationError("auth.demo_folder: the demonstration's users are for a stack without issuers: leave out auth.issuers")
    try:
        user = DemoUser.model_validate_json((folder / USER_FILE).read_bytes())
        return DemoIssuer(user, _key(folder / KEY_FILE))
    except (OSError, ValidationError, ValueError) as error:
        raise ConfigurationError(f"auth.demo_folder: {folder} cannot be used: {type(error).__name__}") from None


_NOT_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def _refusal(error: str, description: str, *, status: int = 400) -> web.Response:
    text = json.dumps({"error": error, "error_description": description})
    return web.Response(status=status, text=text, content_type="application/json", headers=_NOT_KEPT)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        content = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        part.replace(path)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of the demonstration")
    return key
