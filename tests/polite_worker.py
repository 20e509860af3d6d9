"""A downloader reduced to its transfers, run as a process of its own: fetches files from a host that limits connections.

`polite_worker.py NATS_URL SERVER_URL NAME FILES FOLDER`; prints the files that are there.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from common.config import NatsSettings, ProviderSettings, Settings
from common.messaging import connect
from downloader.leases import SharedLeases
from downloader.shared import Shared
from downloader.tasks import gather_all
from downloader.transfer import Policy, Transfer

LIMIT = 4


async def main(nats_url: str, server_url: str, name: str, files: int, folder: Path) -> None:
    client = await connect(NatsSettings(url=nats_url), name)
    leases = SharedLeases(client, name)
    settings = Settings.model_validate({"limits": {"connections": {"127.0.0.1": LIMIT}, "allowed_urls": [server_url]}})
    access = Shared(settings, leases).access(ProviderSettings(type="url"))
    policy = Policy(connections=3, retries=20, backoff_s=0.05)
    async with Transfer(name, allowed=[server_url], s3=lambda: None, access=access, policy=policy) as transfer:  # type: ignore[arg-type, return-value]
        await gather_all(transfer.fetch(f"{server_url}{name}/{number}", folder / f"{name}-{number}") for number in range(files))
    await leases.close()
    await client.close()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(*arguments[:3], int(arguments[3]), Path(arguments[4])))
