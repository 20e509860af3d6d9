"""How a worker gets at the product of an order: the customer's own catalogue with its login, sealed for this one scene."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.messages import SceneRef
from common.odata_services import products_url
from common.sealing import Sealer, SealError

KEY = "sealed_access"
"""Among the metadata of a scene."""
LIFE_S = 30 * 86400
"""So long after the order was taken up its secrets open at the latest."""


class _Value(BaseModel):
    # A complaint must not repeat what it complains of.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Login(_Value):
    """What is sent to a token endpoint (RFC 6749)."""

    token_url: str
    grant: Literal["password", "client-credentials"] = "password"
    header: str = "Authorization"
    """That carries the token."""
    username: str = ""
    password: str = Field("", repr=False)
    client_id: str = ""
    client_secret: str = Field("", repr=False)


class BucketLogin(_Value):
    """Keys of an S3 server."""

    endpoint_url: str = ""
    access_key: str = ""
    secret_key: str = Field("", repr=False)


class OrderAccess(_Value):
    """Where the product of an order is, and how it may be fetched from there."""

    kind: Literal["stac", "odata", "s3"]
    """Assets or archive of an item; a product by its Id; what lies below `url` in a bucket."""
    url: str
    """Root of the catalogue; `s3://bucket/prefix/`."""
    login: Login | None = None
    bucket: BucketLogin | None = None
    origins: list[str] = Field(default_factory=list)
    """The servers that may be shown the token."""

    @property
    def products_url(self) -> str:
        """Of an OData catalogue: the root below which its products are fetched, which some have on another host."""
        return products_url(self.url)

    def sealed(self, sealer: Sealer, aoi: str, source_id: str) -> str:
        """For the metadata of that scene. Raises ConfigurationError where there is no key."""
        return sealer.seal({"access": self.model_dump_json()}, _purpose(aoi, source_id))

    @classmethod
    def of(cls, scene: SceneRef, sealer: Sealer) -> OrderAccess | None:
        """That of a scene; None where it is of no order. Raises SealError, ConfigurationError."""
        sealed = (scene.metadata.model_extra or {}).get(KEY)
        if not isinstance(sealed, str):
            return None
        values = sealer.open(sealed, _purpose(scene.aoi, scene.source_id), life_s=LIFE_S)
        try:
            return cls.model_validate_json(values["access"])
        except (ValidationError, KeyError):
            raise SealError("the access to the order's source cannot be read: it is of another version") from None


def _purpose(aoi: str, source_id: str) -> str:
    return f"source of {source_id} for {aoi}"
