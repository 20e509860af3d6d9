"""Downloads from the misbehaving server as tests make them: its content, the policy, and what counts as a failure."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_server import FaultyServer

from common.errors import ThresherError
from downloader.transfer import OPEN, Access, Area, Expectation, Policy, Transfer

MIB = 2**20
CONTENT = os.urandom(12 * MIB + 17)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KNOWN = Expectation(SIZE, f"1220{SHA256}")
POLICY = Policy(
    connections=4,
    smallest_piece=MIB,
    largest_piece=2 * MIB,
    first_piece=MIB,
    backoff_s=0.01,
    longest_backoff_s=0.05,
    retries=4,
    patience_s=20,
    timeout_s=1,
    slow_s=1,
    min_rate=1000,
)
ONE = replace(POLICY, connections=1)


def no_s3() -> object:  # type: ignore[misc]
    raise AssertionError


def transfer(server: FaultyServer, folder: Path, policy: Policy = POLICY, access: Access = OPEN, scope: str = "scene") -> Transfer:
    return Transfer("there", allowed=[server.url], s3=no_s3, area=Area(folder / "area"), policy=policy, access=access, scope=scope)


async def fetch(
    server: FaultyServer, folder: Path, expected: Expectation = KNOWN, policy: Policy = POLICY, access: Access = OPEN, query: str = ""
) -> bytes:
    async with transfer(server, folder, policy, access) as one:
        await one.fetch(server.url + query, folder / "target", expected=expected)
    content = (folder / "target").read_bytes()
    (folder / "target").unlink()
    return content


async def fails(server: FaultyServer, folder: Path, match: str, expected: Expectation = KNOWN, policy: Policy = POLICY) -> ThresherError:
    """Its error; nothing is stored."""
    with pytest.raises(ThresherError, match=match) as caught:
        await fetch(server, folder, expected, policy)
    assert [path.name for path in folder.iterdir() if path.name != "area"] == []
    return caught.value
