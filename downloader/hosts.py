"""What a transfer may do at a host: show it the account of the provider, open so many connections, leave it alone while it is busy."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from downloader.accounts import Account
from downloader.leases import Leases

AMAZON = "s3.amazonaws.com"


@dataclass(frozen=True)
class Allowance:
    """How many connections go to a group of hosts at once."""

    name: str
    limit: int | None
    """None: as many as one likes."""


class HostAccess:
    """The accounts and limits of one provider (an `Access` of the transfer engine)."""

    def __init__(
        self, account: Account, leases: Leases, limits: Mapping[str, int], *, of_account: int | None, endpoint_url: str = ""
    ) -> None:
        """`limits` by host pattern, `of_account` those of the account; `endpoint_url` is where `s3://` links lead."""
        self._account = account
        self._leases = leases
        self._limits = limits
        self._of_account = of_account
        self._s3_host = (urlsplit(endpoint_url).hostname or AMAZON) if endpoint_url else AMAZON

    async def link(self, url: str) -> str:
        return await self._account.signed(url)

    async def headers(self, url: str) -> Mapping[str, str]:
        return await self._account.headers(url)

    async def refused(self, url: str, status: int) -> bool:  # noqa: ARG002
        return await self._account.refused(url)

    def connection(self, url: str) -> AbstractAsyncContextManager[None]:
        allowance = self.allowance(url)
        if allowance.limit is None:
            return self._leases.patience(allowance.name)
        return self._leases.hold(allowance.name, allowance.limit)

    async def told_to_wait(self, url: str, seconds: float) -> None:
        await self._leases.pause(self.allowance(url).name, seconds)

    def allowance(self, url: str) -> Allowance:
        """What counts together with `url`, and how much of it there may be."""
        host = self._s3_host if url.startswith("s3://") else (urlsplit(url).hostname or "").lower()
        pattern = max((pattern for pattern in self._limits if fnmatchcase(host, pattern.lower())), key=len, default=None)
        if self._of_account is not None and (pattern is not None or self._account.shown_to(url)):
            return Allowance(f"{pattern or host} {self._account.name}", self._of_account)
        return Allowance(f"{pattern or host} {self._account.name}".strip(), self._limits[pattern] if pattern is not None else None)
