"""A real OpenID Connect issuer on loopback for tests: its configuration, its keys, tokens as one likes, and keys that are replaced."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "thresher-tests"


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class OidcIssuer:
    """Signs with the last of `keys`, by key id; publishes all of them."""

    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"first": new_key()})
    asked: Counter[str] = field(default_factory=Counter)
    down: bool = False
    url: str = ""
    server: TestServer | None = None

    async def start(self) -> str:
        app = web.Application()
        app.router.add_get("/realms/test/.well-known/openid-configuration", self._configuration)
        app.router.add_get("/realms/test/keys", self._keys)
        self.server = TestServer(app)
        await self.server.start_server()
        self.url = str(self.server.make_url("/realms/test"))
        return self.url

    async def close(self) -> None:
        assert self.server is not None
        await self.server.close()

    def claims(self, user: str = "u-1", **more: Any) -> dict[str, Any]:
        now = int(time.time())
        return {"iss": self.url, "aud": [AUDIENCE, "account"], "sub": user, "iat": now, "exp": now + 300, "typ": "Bearer", **more}

    def token(self, user: str = "u-1", *, roles: tuple[str, ...] = (), kid: str | None = None, **more: Any) -> str:
        kid = kid or list(self.keys)[-1]
        return jwt.encode(
            self.claims(user, realm_access={"roles": list(roles)}, **more), self.keys[kid], algorithm="RS256", headers={"kid": kid}
        )

    def public_pem(self, kid: str = "first") -> bytes:
        return self.keys[kid].public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    async def _configuration(self, _: web.Request) -> web.Response:
        self.asked["configuration"] += 1
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}, status=503 if self.down else 200)

    async def _keys(self, _: web.Request) -> web.Response:
        self.asked["keys"] += 1
        found = []
        for kid, key in self.keys.items():
            document = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
            found.append({**document, "kid": kid, "alg": "RS256", "use": "sig"})
        return web.json_response({"keys": found}, status=503 if self.down else 200)
