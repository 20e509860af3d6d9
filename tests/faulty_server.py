"""A file server on loopback, down to the sockets, that misbehaves in every way a test asks for, and counts every byte it sends."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

_BLOCK = 2**16
_REASONS = {200: "OK", 206: "Partial Content"}


class Content(Protocol):
    """The bytes of a file."""

    size: int

    def read(self, start: int, stop: int) -> bytes: ...


@dataclass
class Bytes:
    """Of a small file."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, start: int, stop: int) -> bytes:
        return self.content[start:stop]


class Generated:
    """Of a large file that need not be anywhere: no two of its mebibytes are the same."""

    _MIB = 2**20

    def __init__(self, size: int) -> None:
        self.size = size
        self._rest = os.urandom(self._MIB - 8)

    def read(self, start: int, stop: int) -> bytes:
        parts = []
        while start < stop:
            number, offset = divmod(start, self._MIB)
            block = number.to_bytes(8, "big") + self._rest
            parts.append(block[offset : offset + stop - start])
            start += len(parts[-1])
        return b"".join(parts)

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for start in range(0, self.size, self._MIB):
            digest.update(self.read(start, min(self.size, start + self._MIB)))
        return digest.hexdigest()


@dataclass(frozen=True)
class Asked:
    """A request."""

    number: int
    """From 1, of all since the start."""
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""

    @property
    def span(self) -> tuple[int, int] | None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2]) + 1) if found else None


@dataclass(frozen=True)
class Reply:
    """How to answer; as it is: well."""

    content: Content
    status: int | None = None
    """Instead of 200 or 206, without a body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str = '"one"'
    ranges: bool = True
    shifted: int = 0
    """The answer to a range says, and is, another one."""
    other: Content | None = None
    """The bytes come from here, whatever is said."""
    length: int | None = None
    """Announced instead of the true one."""
    total: int | None = None
    """Announced as the size of the file instead of the true one."""
    chunked: bool = False
    cut_after: int | None = None
    """Bytes of the body, then the connection is reset."""
    stall_after: int | None = None
    """Bytes of the body, then nothing more comes."""
    rate: float | None = None
    """Bytes a second."""
    delay: float = 0.0


Rule = Callable[[Asked, Reply], Reply]


class FaultyServer:
    """Answers every GET with `content`, as `rule` changes it."""

    def __init__(self, content: Content, rule: Rule = lambda _, reply: reply) -> None:
        self.content = content
        self.rule = rule
        self.asked: list[Asked] = []
        self.sent = 0
        """Bytes of bodies of 200 and 206."""
        self.at_once = 0
        """Connections, as the two that follow."""
        self.most_at_once = 0
        self.connections = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def spans(self) -> list[tuple[int, int] | None]:
        return [asked.span for asked in self.asked]

    async def __aenter__(self) -> FaultyServer:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is sent and lies in buffers when a client is killed counts as sent: let it be little.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**17)
        listening.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=listening)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/file"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.at_once += 1
        self.connections += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        writer.transport.set_write_buffer_limits(high=2**16)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
                    asked = Asked(len(self.asked) + 1, head[0].split()[1], headers)
                    self.asked.append(asked)
                    await self._answer(asked, self.rule(asked, Reply(self.content)), writer)
                    if headers.get("connection") == "close" or writer.transport.is_closing():
                        break
        finally:
            self.at_once -= 1
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, asked: Asked, reply: Reply, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(reply.delay)
        size = reply.content.size
        versions = (None, reply.etag, reply.headers.get("Last-Modified"))
        span = asked.span if reply.ranges and asked.headers.get("if-range") in versions else None
        lines: dict[str, str] = {**({"ETag": reply.etag} if reply.etag else {}), **reply.headers}
        if reply.status is not None:
            await self._send(writer, reply.status, {**lines, "Content-Length": "0"})
            return
        if span is not None and span[0] >= size:
            await self._send(writer, 416, {**lines, "Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        start, stop = (span[0], min(size, span[1])) if span else (0, size)
        start, stop = start + reply.shifted, min(size, stop + reply.shifted)
        if span is not None:
            lines["Content-Range"] = f"bytes {start}-{stop - 1}/{reply.total or size}"
        if reply.chunked:
            lines["Transfer-Encoding"] = "chunked"
        else:
            lines["Content-Length"] = str(stop - start if reply.length is None else reply.length)
        await self._send(writer, 206 if span else 200, lines)
        async for block in self._blocks(reply, start, stop):
            writer.write(b"%x\r\n%b\r\n" % (len(block), block) if reply.chunked else block)
            await writer.drain()
            self.sent += len(block)
        if reply.stall_after is not None:
            await asyncio.sleep(600)
        if reply.cut_after is not None:
            # What is on its way arrives first: the count stays exact.
            await asyncio.sleep(0.05)
            writer.transport.abort()
        elif reply.chunked:
            writer.write(b"0\r\n\r\n")
        elif reply.length is not None:
            writer.close()

    async def _blocks(self, reply: Reply, start: int, stop: int) -> AsyncIterator[bytes]:
        source = reply.other or reply.content
        limit = min((each for each in (reply.cut_after, reply.stall_after) if each is not None), default=stop - start)
        stop = min(stop, start + limit)
        loop = asyncio.get_running_loop()
        begun, first = loop.time(), start
        while start < stop:
            size = _BLOCK if reply.rate is None else max(1, min(_BLOCK, int(reply.rate / 20)))
            block = source.read(start, min(stop, start + size))
            start += len(block)
            yield block
            if reply.rate is not None:
                await asyncio.sleep(max(0.0, begun + (start - first) / reply.rate - loop.time()))

    async def _send(self, writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Whatever')}", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()


def only(number: int, **changes: object) -> Rule:
    """Answer well, but for the request of that number."""
    return lambda asked, reply: replace(reply, **changes) if asked.number == number else reply  # type: ignore[arg-type]


def always(**changes: object) -> Rule:
    return lambda _, reply: replace(reply, **changes)  # type: ignore[arg-type]


def first(count: int, **changes: object) -> Rule:
    """The first requests are answered like this, all others well."""
    return lambda asked, reply: replace(reply, **changes) if asked.number <= count else reply  # type: ignore[arg-type]
