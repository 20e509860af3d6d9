"""The one place where STAC documents are read over HTTP: timeouts, retries with backoff, `Retry-After`, and errors in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import JsonValue
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from urllib3 import BaseHTTPResponse, Retry
from urllib3.exceptions import InvalidHeader

from common.errors import UpstreamError

_RETRIED = (429, 500, 502, 503, 504)
_LONGEST_WAIT_S = 60.0


class _PatientRetry(Retry):
    """Waits as long as the server asks, but not for ever; an unreadable `Retry-After` is as good as none."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        try:
            seconds = super().get_retry_after(response)
        except InvalidHeader:
            return None
        return None if seconds is None else min(seconds, _LONGEST_WAIT_S)


class _Reader(StacApiIO):
    def json_loads(self, txt: str, *_: Any, **__: Any) -> dict[str, Any]:
        """With the library's own parser, whichever is installed, one NaN in one item would cost the whole page."""
        document: dict[str, Any] = json.loads(txt)
        return document


def stac_io(timeout_s: float, retries: int) -> StacApiIO:
    """A reader with its own connection pool; `timeout_s` without a byte arriving. Searching is safe to repeat, hence POST is retried."""
    retry = _PatientRetry(
        total=retries,
        backoff_factor=0.5,
        backoff_max=30.0,
        backoff_jitter=0.3,
        status_forcelist=_RETRIED,
        allowed_methods=frozenset({"GET", "HEAD", "POST"}),
        raise_on_status=False,
    )
    return _Reader(timeout=timeout_s, max_retries=retry, headers={"User-Agent": "thresher"})


def read_document(reader: StacApiIO, url: str) -> dict[str, JsonValue]:
    """The JSON object at a URL; raises UpstreamError."""
    with upstream_errors(url):
        return _object(reader.request(url))


@contextmanager
def upstream_errors(where: str) -> Iterator[None]:
    """Whatever a server or the network may do inside becomes an UpstreamError of one line."""
    try:
        yield
    except APIError as error:
        status = getattr(error, "status_code", None)
        raise HttpError(f"{where}: {_one_line(error, status)}", status) from None
    except json.JSONDecodeError as error:
        kind = "HTML" if error.doc.lstrip()[:1] == "<" else "something else"
        raise HttpError(f"{where}: the answer is not JSON but {kind}: {error.doc.strip()[:80]!r}", 200) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise HttpError(f"{where}: the answer is not STAC: {error}", 200) from None


class HttpError(UpstreamError):
    """A server did not answer, or not with what was asked."""

    def __init__(self, message: str, status: int | None) -> None:
        self.status = status
        """HTTP status of the answer; None where there was none."""
        super().__init__(_without_secrets(message))

    @property
    def is_passing(self) -> bool:
        """Whether the trouble is the server's or the network's, not the document's."""
        return self.status is None or self.status in _RETRIED


def _without_secrets(message: str) -> str:
    """Without the user of a URL and its query, where passwords and keys may stand."""
    return re.sub(r"\?[^\s'\"]*=[^\s'\"]*", "?…", re.sub(r"(?<=//)[^/@\s]+@", "", message))


def _object(text: str) -> dict[str, JsonValue]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise TypeError("not a JSON object")
    return document


def _one_line(error: APIError, status: int | None) -> str:
    text = " ".join(re.sub(r"<[^>]*>", " ", str(error)).split())[:300]
    if status is not None:
        return f"HTTP {status}" + (f": {text}" if text else "")
    return text or "no answer"
