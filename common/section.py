"""What every table of `thresher.toml` is made of, and how it says where a secret is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of `thresher.toml`; an unknown key is a mistake to be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def secret_place(place: str, name: str) -> str:
    """`place`, if it says where the secret `name` is instead of what it is; raises ValueError."""
    scheme, _, rest = place.partition(":")
    if scheme not in ("env", "file") or not rest:
        raise ValueError(f"'{name}' must say where the secret is (env:VARIABLE or file:/path), not what it is")
    return place
