"""Host names to addresses for HTTP clients that follow links of others: private networks stay closed but for the hosts that are named."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from common.errors import UserError
from common.urls import is_private


class GuardedResolver(AbstractResolver):
    """Resolves host names, and refuses private addresses but for the hosts in `trusted`."""

    def __init__(self, field: str) -> None:
        # Behind a proxy it is the proxy whose name is resolved.
        self.trusted = {host for proxy in getproxies().values() if (host := urlsplit(proxy).hostname)}
        self._field = field
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Raises UserError, naming the field, for a name that leads to a private address."""
        found = await self._resolver.resolve(host, port, family)
        if host not in self.trusted and any(is_private(entry["host"]) for entry in found):
            raise UserError(f"{host} is a private host: limits.allowed_urls must name it in full", field=self._field)
        return found

    async def close(self) -> None:
        await self._resolver.close()
