"""An HTTP server that counts the connections that are open, also those on which nobody asks for anything; it takes its time to answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

CONTENT = bytes(range(256)) * 2000
_PIECES = 4


@dataclass
class CountingServer:
    """Answers `/{who}/{anything}` with `CONTENT`, in pieces over `seconds`, once so many connections as `full` were open together."""

    full: int = 1
    seconds: float = 0.2
    open: Counter[str] = field(default_factory=Counter)
    """Connections by who asked on them last; "" until then."""
    most: int = 0
    url: str = ""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> CountingServer:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def until(self, who: str) -> None:
        """Wait until somebody has asked for something and is not answered yet."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.open[who] > 0)


class _Connection(asyncio.Protocol):
    """Closed as soon as the other side closes it: what a process that was killed held open counts no longer."""

    def __init__(self, server: CountingServer) -> None:
        self._server = server
        self._who = ""
        self._received = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.open[""] += 1
        self._server.most = max(self._server.most, self._server.open.total())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._server.open[self._who] -= 1
        if self._answering is not None:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            asked, self._received = self._received.split(b" ")[1].decode().split("/")[1], b""
            self._server.open[self._who] -= 1
            self._server.open[asked] += 1
            self._who = asked
            self._answering = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        server = self._server
        async with server.changed:
            server.changed.notify_all()
            await server.changed.wait_for(lambda: server.most >= server.full)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT))
        step = len(CONTENT) // _PIECES
        for start in range(0, len(CONTENT), step):
            self._transport.write(CONTENT[start : start + step])
            await asyncio.sleep(server.seconds / _PIECES)
