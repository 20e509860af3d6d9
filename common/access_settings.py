"""Configuration of who may come in, of the keys that seal secrets, and of orders: `[auth]`, `[secrets]` and `[hook]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from common.section import Section, secret_place


class TokenSettings(Section):
    """Somebody who is known by a token."""

    secret: str
    """Where the token is: `env:VARIABLE` or `file:/path`."""
    operator: bool = True
    """Whether they may do everything; else they may only order."""

    @field_validator("secret")
    @classmethod
    def _is_elsewhere(cls, value: str) -> str:
        return secret_place(value, "secret")


class IssuerSettings(Section):
    """An OpenID Connect issuer whose access tokens are accepted."""

    url: str
    """The `iss` of its tokens, and where its `/.well-known/openid-configuration` is."""
    audience: list[str] = Field(default_factory=list)
    """One of these must be in `aud`."""
    clients: list[str] = Field(default_factory=list)
    """One of these must be `azp` (or `client_id`). Audience or clients must be given."""
    jwks_url: str = ""
    """Of its keys; by default as its configuration says."""
    algorithms: list[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]] = Field(
        default_factory=lambda: ["RS256", "PS256", "ES256", "EdDSA"]  # type: ignore[arg-type]  # they are
    )
    roles_claim: str = "realm_access.roles"
    """Where the roles of a user are, with dots between levels."""
    name_claim: str = "preferred_username"
    leeway_s: float = Field(30.0, ge=0, le=600)
    """By which clocks may differ."""


class AuthSettings(Section):
    """Who may come in. With none of these, and no `server.token`, everybody may, on loopback only."""

    tokens: dict[str, TokenSettings] = Field(default_factory=dict)
    issuers: dict[str, IssuerSettings] = Field(default_factory=dict)
    user_role: str = ""
    """Role an issuer's user needs to order; empty: none."""
    operator_role: str = "thresher-operator"
    """Role an issuer's user needs for everything but ordering; empty: none."""
    demo_folder: Path | None = None
    """Of `thresher up --demo-auth`: user and keys of a token endpoint that stands in for an issuer, on loopback only."""


class SecretsSettings(Section):
    """Keys that secrets of orders are sealed with: the same for the catalogue and all workers."""

    keys: SecretStr | None = None
    """Separated by commas, each 32 bytes in URL-safe Base64. The first seals, all of them open."""
    keys_file: Path | None = None
    """Instead: a file with one key a line, read anew when it changes."""


class HookSettings(Section):
    """The on-demand service: where products of orders may come from, and how long results are kept."""

    desp_url: str = "https://hda.data.destination-earth.eu/stac"
    """STAC API that `source_type` DESP means; empty: the configured catalogues, without the account of the order."""
    desp_token_url: str = "https://identity.data.destination-earth.eu/auth/realms/dedl/protocol/openid-connect/token"  # noqa: S105 - a place
    desp_client_id: str = "hda-public"
    token_origins: list[str] = Field(
        default_factory=lambda: ["https://*.data.destination-earth.eu", "https://*.dataspace.copernicus.eu", "https://*.creodias.eu"]
    )
    """Families of servers: a token of an order is shown to the server of its catalogue, and to those of the same family, no others."""
    tools: list[str] = Field(default_factory=list)
    """External tools that workers of this deployment have (`sen2cor`, `c2rcc`, `maja`): workflows that need another are refused."""
    public_url: str = ""
    """Root of the service as clients reach it, for links in replies; empty: as each request was addressed."""
    temporary_days: int = Field(14, ge=1, le=365)
    """For which a TEMPORARY result is kept, and its link is good."""
    deliveries: int = Field(2, ge=1, le=32)
    """Results handed over by one catalogue at once."""
