"""A process of its own that downloads a file, to be killed: `download_child.py URL SCRATCH TARGET [SHA256]`; prints how far it is."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config import Settings, WorkerSettings
from downloader.transfer import Expectation, Policy, Transfer, area_of


async def main(url: str, scratch: str, target: str, sha256: str = "") -> None:
    settings = Settings(worker=WorkerSettings(scratch=Path(scratch)))
    # What was written to the folder of a job goes with the worker; the area stays.
    async with Transfer("there", allowed=[url], s3=_none, area=area_of(settings), scope="scene", policy=Policy()) as transfer:
        await transfer.fetch(
            url,
            Path(target),
            expected=Expectation(checksum=f"1220{sha256}" if sha256 else None),
            progress=lambda done, total: print(done, total, flush=True),
        )


def _none() -> object:  # type: ignore[misc]
    raise AssertionError


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
