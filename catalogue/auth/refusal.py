"""Why somebody is not let in."""

from __future__ import annotations

from common.errors import ThresherError


class RefusedError(ThresherError):
    """The token is not accepted (HTTP 401). The message says why without telling what would be."""
