"""What the engine asks of accounts and limits: authorization for a host, and a permit for every connection to it.

For every connection the engine calls `link`, then for every hop of a redirect `connection` and in it `headers`, which is called again
for every further request over the connection at the end of the redirects. Nothing one hop was given travels to the next, and no permit
is asked for while one is held. Retries begin at the link the caller gave, so that what expires is made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol


class Access(Protocol):
    """Who may read from a host, and how often at once. `url` is `https://…`, or `s3://bucket/key` with keys the client has already."""

    async def link(self, url: str) -> str:
        """The link to use now in the place of `url`: signed for a while, or `url` itself. Of the first hop only; to be quick while a
        signature is valid.
        """
        ...

    async def headers(self, url: str) -> Mapping[str, str]:
        """Authorization for the very host of `url`, renewed before it expires; empty for any other host. Not called for S3."""
        ...

    async def refused(self, url: str, status: int) -> bool:
        """Told of a 401 or 403 from `url`. True: there is new authorization, try again. The engine asks at most three times in a row
        without bytes arriving in between.
        """
        ...

    def connection(self, url: str) -> AbstractAsyncContextManager[None]:
        """A permit for one connection to the host of `url`, waited for on entry and held until the connection is closed; that may take as
        long as a large file does.

        A permit that is lost while it is held ends the block as `asyncio.timeout` does: it cancels the task in it, and turns that
        cancellation into TemporaryError on exit. The engine closes the connection and asks for another permit.
        """
        ...

    async def told_to_wait(self, url: str, seconds: float) -> None:
        """The host said that it is busy: everybody who shares it leaves it alone for so long. Does not wait itself."""
        ...


class OpenAccess:
    """For hosts that ask for nothing and limit nobody."""

    async def link(self, url: str) -> str:
        return url

    async def headers(self, url: str) -> Mapping[str, str]:  # noqa: ARG002
        return {}

    async def refused(self, url: str, status: int) -> bool:  # noqa: ARG002
        return False

    def connection(self, url: str) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        return nullcontext()

    async def told_to_wait(self, url: str, seconds: float) -> None:
        pass


OPEN = OpenAccess()
