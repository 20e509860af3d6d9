"""Fixtures every suite shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

pytest_plugins = [
    "fixtures_containers",
    "fixtures_servers",
    "fixtures_s3",
    "fixtures_services",
    "fixtures_transfers",
    "fixtures_workflow",
    "fixtures_bad_input",
    "fixtures_annotations",
    "fixtures_stac_search",
    "fixtures_odata_search",
]

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test data (`THRESHER_TEST_DATA`, default `../shared/data` beside the repository)."""
    folder = Path(os.environ.get("THRESHER_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real test data is not at {folder} (set THRESHER_TEST_DATA)")
    return folder


def pytest_configure() -> None:
    """A shell without job control has its background jobs ignore Ctrl-C, and so would every process that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes may hold the time they were packed at: named after their argument, a test is called the same in every process."""
    return argname if isinstance(val, bytes) else None
