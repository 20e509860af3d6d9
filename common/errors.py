"""The one family of errors: each says who can mend it (the user, the operator, time) and carries a sentence for a person."""

from __future__ import annotations

import errno
from enum import StrEnum

PASSING_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.ENOMEM, errno.EAGAIN}
)
"""Of an OSError that time or room may mend."""


class ErrorKind(StrEnum):
    """What a failure means for the job that met it."""

    TEMPORARY = "temporary"
    """Time will mend it: retried with backoff, without using up the retries of the payload."""
    ERROR = "error"
    """It failed: tried again while retries are left."""
    FATAL = "fatal"
    """It will always fail: no retry."""


class ThresherError(Exception):
    """Something went wrong."""

    kind: ErrorKind = ErrorKind.ERROR
    retry_after_s: float | None = None
    """Of a temporary failure: trying earlier is known to be no use."""
    log: str = ""
    """URI of what the steps of a graph printed, where it is one of theirs."""


class UserError(ThresherError):
    """The request cannot be carried out as it is written; `field` names the part to mend."""

    kind = ErrorKind.FATAL
    status = 400

    def __init__(self, message: str, *, field: str | None = None) -> None:
        self.field = field
        self.detail = message
        super().__init__(f"{field}: {message}" if field else message)


class NotFoundError(UserError):
    """What was asked for does not exist."""

    status = 404


class ConflictError(UserError):
    """What was asked for contradicts what exists already."""

    status = 409


class ForbiddenTransitionError(UserError):
    """The state of the item does not allow this change."""

    status = 403


class UpstreamError(ThresherError):
    """An external catalogue or provider did not answer as it should (HTTP 502 to the person who asked)."""

    kind = ErrorKind.TEMPORARY


class ConfigurationError(ThresherError):
    """The configuration of the service is wrong; the message names the key."""

    kind = ErrorKind.FATAL


class TemporaryError(ThresherError):
    """A passing fault: network, a busy server, a full disk."""

    kind = ErrorKind.TEMPORARY

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class FatalError(ThresherError):
    """It will fail again however often it is tried."""

    kind = ErrorKind.FATAL


class StorageError(ThresherError):
    """A stored file could not be read or written."""


class MissingFileError(StorageError):
    """A stored file is not where it should be; `uri` names it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__(f"{uri} does not exist")


def kind_of(error: BaseException) -> ErrorKind:
    """What `error` means for a job; network and disk trouble is temporary, anything unknown a plain error."""
    if isinstance(error, ThresherError):
        return error.kind
    if isinstance(error, ConnectionError | TimeoutError) or (isinstance(error, OSError) and error.errno in PASSING_ERRNOS):
        return ErrorKind.TEMPORARY
    return ErrorKind.ERROR
