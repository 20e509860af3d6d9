"""Buckets of customers: an S3 server and keys that somebody names in an order, never a way into a private network."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool

from common.config import S3Settings
from common.errors import StorageError, UserError
from common.storage.s3 import S3Keys, new_client
from common.urls import check_url, is_private, names_host, shown_url

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def foreign_client(endpoint_url: str, keys: S3Keys | None, allowed: Sequence[str], *, field: str = "endpoint_url") -> S3Client:
    """A client of its own, kept nowhere. Empty `endpoint_url`: Amazon's. Without keys it is anonymous: ours are nobody else's business.

    `allowed` are the prefixes of `limits.allowed_urls`. Where these do not name the host itself, a connection that leads into a private
    network is closed before anything is sent over it, whatever the host's name resolves to at that moment. Raises UserError naming `field`.
    """
    if endpoint_url:
        check_url(endpoint_url, allowed, field)
        if urlsplit(endpoint_url).scheme not in ("http", "https"):
            raise UserError(f"{shown_url(endpoint_url)} is not the address of an S3 server", field=field)
    client = new_client(S3Settings(endpoint_url=endpoint_url), anonymous=keys is None, keys=keys)
    if not endpoint_url or not names_host(endpoint_url, allowed):
        # botocore has no public way to choose the connections of a client.
        session = client._endpoint.http_session  # type: ignore[attr-defined]
        session._manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return client


class _HttpConnection(AWSHTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn())


class _HttpsConnection(AWSHTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn())


class _HttpPool(AWSHTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(AWSHTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


def _checked(connection: socket.socket) -> socket.socket:
    if is_private(connection.getpeername()[0]):
        connection.close()
        raise StorageError("the S3 server is in a private network: limits.allowed_urls must name it in full")
    return connection
