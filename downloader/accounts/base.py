"""What an account can do for a transfer, and the servers it is bound to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from common.errors import ConfigurationError
from common.storage.s3 import S3Keys

_PORTS = {"http": 80, "https": 443}


class Account(Protocol):
    """An account as a transfer uses it. What it is not bound to it leaves as it is."""

    name: str
    """Empty: there is no account."""

    async def headers(self, url: str) -> dict[str, str]:
        """What to send to `url` besides the usual; nothing to a server the account is not bound to. Raises ThresherError."""
        ...

    async def signed(self, url: str) -> str:
        """`url` as it is to be asked for now. Raises ThresherError."""
        ...

    async def refused(self, url: str) -> bool:
        """After the server refused what was sent from this task (401, 403): whether asking again may end better. Raises ThresherError."""
        ...

    def shown_to(self, url: str) -> bool:
        """Whether it is bound to the server of `url`."""
        ...

    def keys(self, endpoint_url: str) -> S3Keys | None:
        """The keys for an S3 server (empty: Amazon's); None: those of the surroundings."""
        ...


class Origins:
    """Servers, as scheme, host and port; a host may be `*.domain`."""

    def __init__(self, texts: Sequence[str], key: str) -> None:
        """Raises ConfigurationError, naming the key, for what is no origin."""
        self._origins = [_origin(text, key) for text in texts]

    def hold(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            here = (parts.scheme.lower(), (parts.hostname or "").lower().rstrip("."), parts.port or _PORTS.get(parts.scheme.lower()))
        except ValueError:
            return False
        return any(
            here[0] == scheme and here[2] == port and (here[1] == host or (host.startswith("*.") and here[1].endswith(host[1:])))
            for scheme, host, port in self._origins
        )


class BoundAccount:
    """The parts of an account that do nothing."""

    def __init__(self, name: str, origins: Sequence[str]) -> None:
        self.name = name
        self._origins = Origins(origins, f"accounts.{name}.origins")

    async def headers(self, url: str) -> dict[str, str]:  # noqa: ARG002
        return {}

    async def signed(self, url: str) -> str:
        return url

    async def refused(self, url: str) -> bool:  # noqa: ARG002
        return False

    def shown_to(self, url: str) -> bool:
        return self._origins.hold(url)

    def keys(self, endpoint_url: str) -> S3Keys | None:  # noqa: ARG002
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


NO_ACCOUNT: Account = BoundAccount("", ())
"""Where none is needed."""


def _origin(text: str, key: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = (parts.hostname or "").lower()
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc or parts.path.strip("/") or "*" in host.removeprefix("*."):
        raise ConfigurationError(f"'{key}': '{text[:100]}' must be https://host or https://*.domain, with a port where it is not the usual")
    return parts.scheme, host, port or _PORTS[parts.scheme]
