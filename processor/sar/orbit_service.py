"""Fetches orbit files from a public service: the listings of its folders say which there are, the best one is kept in a folder.

The service is configured by patterns, so that any server that lists names will do: a folder tree such as that of ESA's STEP
(`https://step.esa.int/auxdata/orbits/Sentinel-1/{KIND}/{MISSION}/{YEAR}/{MONTH}/`), or an open bucket
(`https://s1-orbits.s3.us-west-2.amazonaws.com/?list-type=2&prefix=AUX_{KIND}/{MISSION}_OPER_AUX_{KIND}_OPOD_{YEAR}{MONTH}`).
"""

from __future__ import annotations

import asyncio
import re
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin

import aiohttp

from common.errors import TemporaryError
from processor.sar.orbit_files import LARGEST, OrbitFile, best_of, find_orbit_file, named_in, unpacked

_KINDS = ("POEORB", "RESORB")
_DAYS = {"POEORB": (0, -1, 20, 21, 22), "RESORB": (0, -1, 1)}
"""Folders are named for the time of validity, which begins the day before, or for that of making, three weeks later for POEORB."""
_PART = re.compile(r"\{(KIND|MISSION|YEAR|MONTH|DAY|NAME)\}")
_LONGEST_LISTING = 16 * 2**20
_TIMEOUT = aiohttp.ClientTimeout(total=120, connect=20)


async def fetch_orbit_file(folder: Path, mission: str, start: datetime, stop: datetime, *, listing: str, file: str = "") -> Path | None:
    """The best orbit file of folder and service together; what is fetched stays in `folder`. None where neither has one.

    `listing`, `file`: URL patterns of the lists and, with `{NAME}`, of a file (empty: beside its list). The service is not asked where the
    folder has a POEORB file. Raises TemporaryError where the service does not answer and the folder has none.
    """
    have = await asyncio.to_thread(find_orbit_file, folder, mission, start, stop)
    if have is not None and "POEORB" in have.name:
        return have
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            for kind in _KINDS if have is None else _KINDS[:1]:
                for url in _listings(listing, kind, mission, start):
                    text = (await _get(session, url, _LONGEST_LISTING) or b"").decode("utf-8", errors="replace")
                    best = best_of((each for each in named_in(text) if each.kind == kind), mission, start, stop)
                    if best:
                        return await _keep(session, folder, best[0], url, file)
    except TemporaryError:
        if have is None:
            raise
    return have


def _listings(pattern: str, kind: str, mission: str, start: datetime) -> list[str]:
    days = [start + timedelta(days=day) for day in _DAYS[kind]]
    return list(dict.fromkeys(_fill(pattern, kind, mission, day) for day in days))


def _fill(pattern: str, kind: str, mission: str, day: datetime, name: str = "") -> str:
    parts = {"KIND": kind, "MISSION": mission, "YEAR": f"{day:%Y}", "MONTH": f"{day:%m}", "DAY": f"{day:%d}", "NAME": name}
    return _PART.sub(lambda match: parts[match[1]], pattern)


async def _keep(session: aiohttp.ClientSession, folder: Path, found: OrbitFile, listing: str, pattern: str) -> Path:
    url = _fill(pattern, found.kind, found.mission, found.start, found.name) if pattern else urljoin(listing, found.name)
    content = await _get(session, url, LARGEST)
    if content is None:
        raise TemporaryError(f"the orbit file {url} is listed, but is not there")
    unpacked(content, found.name)
    return await asyncio.to_thread(_write, folder, found.name, content)


def _write(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.{uuid.uuid4().hex[:8]}.part"
    try:
        part.write_bytes(content)
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)
    return folder / name


async def _get(session: aiohttp.ClientSession, url: str, limit: int) -> bytes | None:
    """The body, None for 404; raises TemporaryError."""
    try:
        async with session.get(url) as answer:
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise TemporaryError(f"the orbit service answers {answer.status} to {url}")
            content = bytearray()
            async for chunk in answer.content.iter_chunked(2**16):
                content += chunk
                if len(content) > limit:
                    raise TemporaryError(f"the orbit service sends more than {limit} bytes for {url}")
            return bytes(content)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise TemporaryError(f"the orbit service does not answer: {url}: {error or type(error).__name__}") from None
