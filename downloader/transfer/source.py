"""What a file can be read from: its version, one answer to a request for a range of it, and the ways a request fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from common.errors import TemporaryError, ThresherError
from downloader.checksums import Checksum

Span = tuple[int, int]
"""Bytes [start, stop) of a file."""


@dataclass(frozen=True)
class Version:
    """What tells one content of a file from another."""

    size: int | None = None
    etag: str = ""
    """As the server writes it, with its quotes."""
    modified: str = ""
    """`Last-Modified`, as the server writes it."""

    @property
    def is_named(self) -> bool:
        """Whether a change would show."""
        return bool(self.etag or self.modified)

    @property
    def condition(self) -> str:
        """For `If-Range`: a strong ETag, else the date, else nothing."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def differs(self, other: Version) -> bool:
        """Whether what both say of themselves rules out that they are the same."""
        if None not in (self.size, other.size) and self.size != other.size:
            return True
        if self.etag and other.etag:
            return self.etag.removeprefix("W/") != other.etag.removeprefix("W/")
        return bool(self.modified and other.modified and self.modified != other.modified)


@dataclass(frozen=True)
class Answer:
    """Bytes on their way."""

    version: Version
    start: int
    stop: int | None
    """None: until the server ends."""
    is_range: bool
    """Else it is the whole file, whatever was asked for."""
    chunks: AsyncGenerator[bytes, None]
    checksums: tuple[Checksum, ...] = ()
    """Of the whole file, as the server knows it."""


class Line(Protocol):
    """A connection to the server of one file, used for one request after the other."""

    def open(self, span: Span | None, version: Version | None) -> AbstractAsyncContextManager[Answer]:
        """Ask for a span, or for the whole; with a `version`, for that one only.

        Raises, also while the chunks are read: ChangedError, RangesUnusableError, BusyError, RefusedError, else TemporaryError where
        another request may help, and ThresherError where it will hardly.
        """
        ...


class Source(Protocol):
    """One file of a server."""

    url: str
    """For messages and for `Access`; may hold secrets in its query."""

    def line(self) -> AbstractAsyncContextManager[Line]:
        """A connection of its own. It may be lost at any moment: then the block ends with TemporaryError."""
        ...


class ChangedError(Exception):
    """The file is no longer the one it was: start over."""


class RangesUnusableError(Exception):
    """The server ignores ranges or answers them wrongly: ask for the whole file."""


class BusyError(TemporaryError):
    """The server wants to be left alone."""

    def __init__(self, message: str, url: str, wait_s: float | None = None) -> None:
        """`wait_s` as it asked; None: it did not say."""
        self.url = url
        super().__init__(message, retry_after_s=wait_s)


class RefusedError(ThresherError):
    """The server wants other authorization."""

    def __init__(self, message: str, url: str, status: int) -> None:
        self.url = url
        self.status = status
        super().__init__(message)
