"""Who is let in: static tokens, tokens of a real issuer on loopback, and everything an attacker may send instead."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import rsa
from fixtures_services import run_catalogue
from oidc_issuer import AUDIENCE, OidcIssuer, new_key

from catalogue.auth import keys as issuer_keys
from catalogue.auth.caller import caller_of
from catalogue.auth.demo import KEY_FILE, PATHS
from catalogue.auth.gate import Gate, guard
from catalogue.http.endpoints import ENDPOINTS
from common.access_settings import AuthSettings, IssuerSettings, TokenSettings
from common.config import ServerSettings, Settings
from common.errors import ConfigurationError

STATIC = "static-token-of-the-tests"


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    server = OidcIssuer()
    await server.start()
    yield server
    await server.close()


def settings_of(issuer: OidcIssuer, **more: Any) -> Settings:
    known = IssuerSettings(**{"url": issuer.url, "audience": [AUDIENCE], **more})
    return Settings(auth=AuthSettings(issuers={"test": known}))


class Guarded:
    """An application behind a gate, and what it says of who came in."""

    def __init__(self, settings: Settings) -> None:
        async def whoami(request: web.Request) -> web.Response:
            caller = caller_of(request)
            return web.json_response({"owner": caller.owner, "name": caller.name, "operator": caller.operator})

        gate = Gate(settings)
        self.app = web.Application(middlewares=[guard(gate, {"/open/{part}", *PATHS})])
        self.app.router.add_get("/odata/v1/me", whoami)
        self.app.router.add_get("/aoi/", whoami)
        self.app.router.add_get("/open/{part}", whoami)
        if gate.demo is not None:
            self.app.router.add_post(PATHS[0], gate.demo.answer)

    async def __aenter__(self) -> Guarded:
        self.server = TestServer(self.app)
        await self.server.start_server()
        self.http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        await self.server.close()

    async def ask(self, token: str, path: str = "/odata/v1/me") -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.http.get(self.server.make_url(path), headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.status == 200 else {"text": text}

    async def login(self, **form: str) -> tuple[int, dict[str, Any]]:
        async with self.http.post(self.server.make_url("/realms/dedl/protocol/openid-connect/token"), data=form) as answer:
            return answer.status, await answer.json()


async def test_a_user_of_an_issuer_is_known_by_issuer_and_subject(issuer: OidcIssuer) -> None:
    async with Guarded(settings_of(issuer)) as guarded:
        status, who = await guarded.ask(issuer.token("u-1", preferred_username="ada"))
        assert (status, who) == (200, {"owner": "test:u-1", "name": "ada", "operator": False})
        # What is not for ordering is for operators.
        assert (await guarded.ask(issuer.token("u-1"), "/aoi/"))[0] == 403
        status, who = await guarded.ask(issuer.token("u-2", roles=("thresher-operator",)), "/aoi/")
        assert (status, who["operator"]) == (200, True)
        assert (await guarded.ask(""))[0] == 401
        assert (await guarded.ask("", "/open/anything"))[0] == 200
    assert issuer.asked == {"configuration": 1, "keys": 1}


async def test_a_role_may_be_asked_of_everybody_who_orders(issuer: OidcIssuer) -> None:
    settings = settings_of(issuer, roles_claim="https://example.org/roles")
    settings = settings.model_copy(update={"auth": settings.auth.model_copy(update={"user_role": "orders"})})
    async with Guarded(settings) as guarded:
        assert (await guarded.ask(issuer.token()))[0] == 401
        assert (await guarded.ask(issuer.token(**{"https://example.org/roles": ["orders"]})))[0] == 200


async def test_a_client_may_stand_for_the_audience(issuer: OidcIssuer) -> None:
    async with Guarded(settings_of(issuer, audience=[], clients=["ordering"])) as guarded:
        assert (await guarded.ask(issuer.token(azp="ordering")))[0] == 200
        assert (await guarded.ask(issuer.token(azp="another")))[0] == 401
        assert (await guarded.ask(issuer.token()))[0] == 401


def _b64(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _hs256(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """By hand: the library refuses to sign with a public key."""
    import hashlib
    import hmac

    body = f"{_b64(header)}.{_b64(claims)}"
    return f"{body}.{_b64(hmac.digest(secret, body.encode(), hashlib.sha256))}"


def hostile_tokens(issuer: OidcIssuer, stranger: rsa.RSAPrivateKey) -> dict[str, str]:
    """Everything that must not come in, by what is wrong with it."""
    now, claims, good = int(time.time()), issuer.claims(), issuer.token()
    head, body, signature = good.split(".")
    own_key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(stranger.public_key()))

    def signed(key: rsa.RSAPrivateKey, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **more: Any) -> str:
        return jwt.encode({**claims, **more}, key, algorithm=algorithm, headers=headers or {"kid": "first"})

    own = issuer.keys["first"]
    return {
        "no algorithm": f"{_b64({'alg': 'none', 'typ': 'JWT', 'kid': 'first'})}.{_b64(claims)}.",
        "no algorithm, other case": f"{_b64({'alg': 'nOnE', 'kid': 'first'})}.{_b64(claims)}.",
        "no algorithm, old signature": f"{_b64({'alg': 'none', 'kid': 'first'})}.{body}.{signature}",
        "algorithm missing": f"{_b64({'kid': 'first'})}.{_b64(claims)}.{signature}",
        "HMAC with the public key": _hs256({"alg": "HS256", "kid": "first"}, claims, issuer.public_pem()),
        "HMAC with nothing": _hs256({"alg": "HS256", "kid": "first"}, claims, b""),
        "another key": signed(stranger),
        "another key, without an id": signed(stranger, headers={}),
        "its own key in the header": signed(stranger, headers={"kid": "first", "jwk": own_key}),
        "its own key elsewhere": signed(stranger, headers={"kid": "evil", "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/x"}),
        "a path as key id": signed(stranger, headers={"kid": "../../../../dev/null"}),
        "SQL as key id": signed(stranger, headers={"kid": "x' UNION SELECT 'key"}),
        "a long key id": signed(stranger, headers={"kid": "k" * 4000}),
        "a critical extension": signed(own, headers={"kid": "first", "crit": ["unknown"], "unknown": 1}),
        "an algorithm of the family that is not allowed": signed(own, "RS512"),
        "an algorithm that is allowed, but not the key's": signed(own, "PS256"),
        "expired": signed(own, exp=now - 60),
        "never expires": jwt.encode({k: v for k, v in claims.items() if k != "exp"}, own, algorithm="RS256", headers={"kid": "first"}),
        "expires in a text": jwt.encode({**claims, "exp": "never"}, own, algorithm="RS256", headers={"kid": "first"}),
        "expires in infinity": f"{head}.{_b64(json.dumps({**claims, 'exp': 1e400}).encode())}.{signature}",
        "not yet valid": signed(own, nbf=now + 600),
        "issued in the future": signed(own, iat=now + 600),
        "another audience": signed(own, aud="somebody-else"),
        "audience missing": jwt.encode({k: v for k, v in claims.items() if k != "aud"}, own, algorithm="RS256", headers={"kid": "first"}),
        "another issuer": signed(own, iss="https://evil.example.org"),
        "an issuer almost the same": signed(own, iss=issuer.url + "/"),
        "an issuer that is a list": f"{head}.{_b64({**claims, 'iss': [issuer.url]})}.{signature}",
        "subject missing": jwt.encode({k: v for k, v in claims.items() if k != "sub"}, own, algorithm="RS256", headers={"kid": "first"}),
        "an empty subject": signed(own, sub=""),
        "a subject with a line break": signed(own, sub="u-1\nevil"),
        "an ID token": signed(own, typ="ID"),
        "a refresh token": signed(own, typ="Refresh"),
        "claims of another": f"{head}.{_b64({**claims, 'sub': 'admin'})}.{signature}",
        "a cut signature": good[:-8],
        "an empty signature": f"{head}.{body}.",
        "four parts": good + ".x",
        "no JSON": "a.b.c",
        "a very long one": f"{head}.{'A' * 200_000}.{signature}"[:7000],
        "deep JSON": f"{_b64(b'[' * 3000)}.{body}.{signature}",
        "key id that is a number": _hs256({"alg": "RS256", "kid": 7}, claims, b"x"),
        "empty": "",
        "not a token": "Bearer",
    }


async def test_hostile_tokens_are_refused(issuer: OidcIssuer) -> None:
    tokens = hostile_tokens(issuer, new_key())
    async with Guarded(settings_of(issuer)) as guarded:
        assert (await guarded.ask(issuer.token()))[0] == 200
        answers = {name: await guarded.ask(token) for name, token in tokens.items()}
    assert {name: answer[0] for name, answer in answers.items() if answer[0] != 401} == {}
    # Nobody is told what would be accepted, nor given back what they sent.
    assert not [name for name, (_, answer) in answers.items() if AUDIENCE in answer["text"] or issuer.url in answer["text"]]
    # Unknown keys do not have the issuer asked for every one of them.
    assert issuer.asked["keys"] <= 2


async def test_a_token_with_another_scheme_or_twice_is_refused(issuer: OidcIssuer) -> None:
    async with Guarded(settings_of(issuer)) as guarded:
        for header in (f"Basic {issuer.token()}", issuer.token(), "Bearer", f"Bearer {issuer.token()} {issuer.token()}", "Bearer \x80\xff"):
            async with guarded.http.get(guarded.server.make_url("/odata/v1/me"), headers={"Authorization": header}) as answer:
                assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_replaced_keys_are_found_and_old_ones_forgotten(issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "_LEAST_BETWEEN_S", 0.0)
    async with Guarded(settings_of(issuer)) as guarded:
        old = issuer.token()
        assert (await guarded.ask(old))[0] == 200
        first = issuer.keys.pop("first")
        issuer.keys["second"] = new_key()
        assert (await guarded.ask(issuer.token()))[0] == 200  # fetched for the id it does not know
        assert (await guarded.ask(old))[0] == 401
        # While the issuer is away, the keys that are known go on; nobody gets in with others.
        issuer.down = True
        issuer.keys["third"] = first
        assert (await guarded.ask(issuer.token(kid="second")))[0] == 200
        assert (await guarded.ask(issuer.token(kid="third")))[0] == 401


async def test_an_issuer_that_never_answered_lets_nobody_in(issuer: OidcIssuer) -> None:
    issuer.down = True
    async with Guarded(settings_of(issuer)) as guarded:
        assert (await guarded.ask(issuer.token()))[0] == 500  # 503 with the service's own errors


async def test_static_tokens_have_names(issuer: OidcIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bob").write_text("token-of-bob-in-a-file\n")
    monkeypatch.setenv("TOKEN_OF_ADA", "token-of-ada-from-outside")
    tokens = {
        "ada": TokenSettings(secret="env:TOKEN_OF_ADA"),
        "bob": TokenSettings(secret=f"file:{tmp_path / 'bob'}", operator=False),
    }
    settings = Settings(server=ServerSettings(token=STATIC), auth=AuthSettings(tokens=tokens))
    async with Guarded(settings) as guarded:
        assert (await guarded.ask(STATIC, "/aoi/"))[1]["owner"] == "token:"
        assert (await guarded.ask("token-of-ada-from-outside", "/aoi/"))[1] == {"owner": "token:ada", "name": "ada", "operator": True}
        assert (await guarded.ask("token-of-bob-in-a-file"))[1] == {"owner": "token:bob", "name": "bob", "operator": False}
        assert (await guarded.ask("token-of-bob-in-a-file", "/aoi/"))[0] == 403
        assert (await guarded.ask("token-of-bob-in-a-fil"))[0] == 401
        assert (await guarded.ask(issuer.token()))[0] == 401


def test_what_cannot_be_safe_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(**auth: Any) -> str:
        with pytest.raises(ConfigurationError) as caught:
            Gate(Settings(server=ServerSettings(host=auth.pop("host", "127.0.0.1")), auth=AuthSettings(**auth)))
        return str(caught.value)

    monkeypatch.setenv("SHORT", "short")
    assert "listens on loopback only" in refusal(host="0.0.0.0")
    assert "must begin with https://" in refusal(issuers={"i": IssuerSettings(url="http://issuer.example.org", audience=["a"])})
    assert "audience: is missing" in refusal(issuers={"i": IssuerSettings(url="https://issuer.example.org")})
    assert "loopback only" in refusal(host="0.0.0.0", demo_folder=tmp_path)
    assert "without issuers" in refusal(
        demo_folder=tmp_path, issuers={"i": IssuerSettings(url="https://issuer.example.org", audience=["a"])}
    )
    assert "shorter than 16" in refusal(tokens={"a": TokenSettings(secret="env:SHORT")})
    assert "not set or empty" in refusal(tokens={"a": TokenSettings(secret="env:NOT_SET")})
    with pytest.raises(ValueError, match="algorithms"):
        IssuerSettings(url="https://issuer.example.org", audience=["a"], algorithms=["HS256"])


async def test_the_demonstration_sells_tokens_for_its_password(tmp_path: Path) -> None:
    user = {"username": "demo", "password": "password-of-the-demo", "subject": "1b2c"}
    (tmp_path / "user.json").write_text(json.dumps(user))
    settings = Settings(auth=AuthSettings(demo_folder=tmp_path))
    async with Guarded(settings) as guarded:
        # As the notebooks send it.
        form = {"username": "demo", "password": "password-of-the-demo", "client_id": "ordering", "grant_type": "password"}
        status, told = await guarded.login(**form)
        assert (status, told["token_type"], told["expires_in"]) == (200, "Bearer", 3600)
        assert (await guarded.ask(told["access_token"]))[1] == {"owner": "demo:1b2c", "name": "demo", "operator": True}
        assert (await guarded.ask(""))[0] == 401
        for wrong in ({"password": "other"}, {"username": "root"}, {"password": ""}):
            status, answer = await guarded.login(**{**form, **wrong})
            assert (status, answer["error"]) == (401, "invalid_grant")
        status, answer = await guarded.login(grant_type="client_credentials", client_id="x")
        assert (status, answer["error"]) == (400, "unsupported_grant_type")
        url = guarded.server.make_url("/realms/dedl/protocol/openid-connect/token")
        for kind, raw in (("multipart/form-data", b"x"), ("multipart/form-data; boundary=b", b"--b\r\n\xff"), ("application/json", b"{")):
            async with guarded.http.post(url, data=raw, headers={"Content-Type": kind}) as answer_to_raw:
                assert answer_to_raw.status == 400, kind
        for raw in (b"grant_type=password&username=%ff&password=%00", b"grant_type=password&username=" + b"\xff" * 50):
            async with guarded.http.post(url, data=raw, headers={"Content-Type": "application/x-www-form-urlencoded"}) as answer_to_raw:
                assert answer_to_raw.status in (400, 401)
        head, body, _ = told["access_token"].split(".")
        for hostile in (f"{_b64({'alg': 'none'})}.{body}.", f"{head}.{body}.{_b64(b'0' * 64)}"):
            assert (await guarded.ask(hostile))[0] == 401
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    async with Guarded(settings) as guarded:  # the key stays
        assert (await guarded.ask(told["access_token"]))[0] == 200


async def test_every_endpoint_of_the_catalogue_but_health_asks(issuer: OidcIssuer, catalogue_settings: Settings) -> None:
    settings = catalogue_settings.model_copy(update={"auth": settings_of(issuer).auth})
    async with run_catalogue(settings) as catalogue:
        for path, status in {"/healthz": 200, "/readyz": 200, "/": 200, "/metrics": 401, "/aoi/": 401, "/nothing": 401}.items():
            assert (await catalogue.get(path)).status == status, path
        opened = {endpoint.path for endpoint in ENDPOINTS if endpoint.open}
        assert opened == {"/", "/healthz", "/readyz", "/openapi.json", "/odata/v1/Downloads({item})/{name}"}
        for endpoint in ENDPOINTS:
            async with catalogue.http.request(endpoint.method, catalogue.url + re.sub(r"\{\w+\}", "1", endpoint.path)) as answer:
                assert (answer.status == 401) == (endpoint.path not in opened), endpoint.path
        answer = await catalogue.get("/aoi/", Authorization="Bearer a.b.c")
        assert (answer.status, answer.content_type, answer.headers["WWW-Authenticate"]) == (401, "application/problem+json", "Bearer")
        operator = issuer.token(roles=("thresher-operator",))
        assert (await catalogue.get("/aoi/", Authorization=f"Bearer {operator}")).status == 200
        assert (await catalogue.get("/aoi/", Authorization=f"Bearer {issuer.token()}")).status == 403
        # The token endpoint is the demonstration's alone.
        form = {"grant_type": "password", "username": "demo", "password": "demo"}
        async with catalogue.http.post(catalogue.url + "/realms/dedl/protocol/openid-connect/token", data=form) as answer:
            assert answer.status in (401, 404)
        issuer.down = True
