"""Signed links to TEMPORARY results: whoever has one may fetch the file until it expires, without a token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from common.errors import ConfigurationError
from common.sealing import Sealer

PATH = "/Downloads({item})/{name}"
"""Below `/odata/v1`."""


@dataclass(frozen=True)
class Links:
    """Makes links and knows them again, with the keys of this deployment."""

    sealer: Sealer

    def link(self, item: int, uri: str, expires_at: datetime, base: str) -> str:
        """The link to the file at `uri`, which is not told in it. Raises ConfigurationError where there is no key."""
        expires = int(expires_at.timestamp())
        path = PATH.format(item=item, name=quote(uri.rpartition("/")[2], safe=""))
        return f"{base.rstrip('/')}{path}?expires={expires}&signature={self.sealer.signature(_signed(item, uri, expires))}"

    def is_good(self, item: int, uri: str, expires: str, signature: str) -> bool:
        """Whether a link is ours, to this very file, and has not expired."""
        if not expires.isascii() or not expires.isdigit() or len(expires) > 12 or int(expires) <= datetime.now(UTC).timestamp():
            return False
        try:
            return self.sealer.is_signed(_signed(item, uri, int(expires)), signature)
        except ConfigurationError:
            return False


def _signed(item: int, uri: str, expires: int) -> str:
    return f"{item}\n{uri}\n{expires}"
