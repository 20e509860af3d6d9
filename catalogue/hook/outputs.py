"""What an item made goes to its customer: into their bucket (PRIVATE), or as one zip into our storage, for a limited time (TEMPORARY).

Delivery runs in the catalogue, so that the keys of a customer's bucket are opened in one place and never travel. Files go through a few
blocks of memory, in threads of their own, never through this machine's disk. Whatever died half-way begins again and writes the same bytes
under the same names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, cast

from pydantic import SecretStr

from catalogue.hook.links import Links
from catalogue.hook.orders import Delivered, ItemError, OrderItem, OutputFile, Secrets
from catalogue.hook.packages import Entry, entries_of, write_zip
from catalogue.hook.secrets import opened_options
from catalogue.hook.workflows import Workflow
from common.config import Settings
from common.errors import ErrorKind, MissingFileError, ThresherError
from common.sealing import Sealer
from common.storage import Storage, normal_root
from common.storage.foreign import foreign_client
from common.storage.s3 import S3Keys, s3_errors
from common.storage.streams import forward_config, presigned, write_stream
from common.threads import Stop, in_thread

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FOLDER = "on-demand"
"""In our storage: where TEMPORARY results lie."""
_SMALL = 8 * 2**20
_PRESIGNED_S = 600


@dataclass
class OrderDelivery:
    """`orders.Delivery`."""

    settings: Settings
    storage_of: Callable[[str], Storage]
    secrets: Secrets
    sealer: Sealer
    _places: asyncio.Semaphore = field(init=False)
    _links: Links = field(init=False)

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.settings.hook.deliveries)
        self._links = Links(self.sealer)

    async def deliver(self, item: OrderItem, workflow: Workflow, files: Sequence[OutputFile]) -> Delivered:
        """See `orders.Delivery.deliver`."""
        if not workflow.output:
            return Delivered("", 0)
        if not files:
            raise ItemError("the processing ended well but made no files")
        options = opened_options(item, self.secrets)
        async with self._places:
            if options.get("output_storage", "TEMPORARY").upper() == "PRIVATE":
                return await self._to_bucket(item, options, files)
            return await self._to_ours(item, files)

    def link(self, item: int, uri: str, expires_at: datetime, base: str) -> str:
        """See `orders.Delivery.link`."""
        return self._links.link(item, uri, expires_at, base)

    async def short_link(self, uri: str, name: str) -> str | None:
        """See `orders.Delivery.short_link`."""
        return await in_thread(lambda _: presigned(self.storage_of(uri), uri, name, _PRESIGNED_S))

    async def _to_ours(self, item: OrderItem, files: Sequence[OutputFile]) -> Delivered:
        if not self.sealer.is_able:
            raise ItemError("this service has no key to sign links with (secrets.keys): only results for buckets of your own are possible")
        storage = self.storage_of(normal_root(self.settings.storage))
        name = f"{_product(item)}.zip"
        key = f"{FOLDER}/{item.order.id}/{item.id}/{name}"

        def work(stop: Stop) -> int:
            return write_stream(storage, key, lambda out: write_zip(entries_of(files, self.storage_of, _product(item)), out), stop)

        size = await in_thread(work)
        return Delivered(name, size, storage.uri(key), datetime.now(UTC) + timedelta(days=self.settings.hook.temporary_days))

    async def _to_bucket(self, item: OrderItem, options: Mapping[str, str], files: Sequence[OutputFile]) -> Delivered:
        bucket, _, prefix = options.get("output_s3_path", "").removeprefix("s3://").partition("/")
        endpoint_url = options.get("output_s3_endpoint_url", "")
        access_key, secret_key = options.get("output_s3_access_key", ""), options.get("output_s3_secret_key", "")
        if not bucket or not access_key or not secret_key:
            raise ItemError("output_s3_path, output_s3_access_key and output_s3_secret_key are needed for PRIVATE output")
        folder = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

        def work(stop: Stop) -> int:
            keys = S3Keys(SecretStr(access_key), SecretStr(secret_key))
            client = foreign_client(endpoint_url, keys, self.settings.limits.allowed_urls, field="output_s3_endpoint_url")
            try:
                return sum(_upload(client, bucket, folder, entry, stop) for entry in entries_of(files, self.storage_of, _product(item)))
            finally:
                client.close()

        try:
            size = await in_thread(work)
        except ThresherError as error:
            if error.kind is ErrorKind.TEMPORARY or isinstance(error, MissingFileError):
                raise
            # The server is the customer's choice: what it answers may repeat what was sent.
            raise ItemError(str(error).replace(secret_key, "***").replace(access_key, "***")[:1000]) from None
        return Delivered(_product(item), size)


def _upload(client: S3Client, bucket: str, folder: str, entry: Entry, stop: Stop) -> int:
    """Put a file into a customer's bucket; its size."""
    key = folder + entry.path
    uri = f"s3://{bucket}/{key}"
    stop.check()
    with entry.open() as source, s3_errors(client, bucket, uri):
        if entry.size is not None and entry.size <= _SMALL:
            content = source.read()
            client.put_object(Bucket=bucket, Key=key, Body=content)
            return len(content)
        reader = _Forward(source, stop)
        client.upload_fileobj(cast("IO[bytes]", reader), bucket, key, Config=forward_config())
        return reader.size


class _Forward:
    """A file that is read once, in order: the end of a member of a zip is found by reading all of it."""

    def __init__(self, source: IO[bytes], stop: Stop) -> None:
        self._source = source
        self._stop = stop
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        self._stop.check()
        block = self._source.read(size)
        self.size += len(block)
        return block


def _product(item: OrderItem) -> str:
    """What the result is called."""
    name = item.product.strip().rpartition("/")[2]
    plain = "".join(letter for letter in name if letter.isascii() and (letter.isalnum() or letter in "_.-:"))[:200].lstrip(".-")
    return plain if plain and plain == name and plain != "noidentifier" else f"{item.order.workflow}-{item.id}"
